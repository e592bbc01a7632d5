"""Checks of the canaries that match the same requests: their lanes fit, and they know a unit alike."""

from itertools import combinations

from canary.config import build
from canary.config.salvage import Salvage
from canary.config.sections import CanarySection, FileSection
from routing.lanes import groups, sizes


def check_lanes(file: FileSection, found: Salvage) -> None:
    """Record two canaries of one name, and every problem and warning of lanes."""
    for (_, one), (index, other) in combinations(enumerate(file.canaries), 2):
        if one.name == other.name:
            message = f'two canaries are named "{one.name}"; rename this one'
            found.complain(("canaries", index, "name"), message)
    known = {each.name: (index, each) for index, each in enumerate(file.canaries)}
    canaries = [build.canary(section) for _, section in known.values()]
    for group in groups(canaries):
        members = [known[each.name] for each in group]
        _check_group(members, sizes(group), found)


def _check_group(members: list[tuple[int, CanarySection]], parts: dict[str, float], found: Salvage) -> None:
    _, first = members[0]
    declared = sum(each.lane or 0.0 for _, each in members)
    for index, each in members:
        if each.assignment == "header" and len(members) > 1:
            message = (
                "cannot be `header` where other canaries match the same requests: a request has one arm; "
                "separate them by models, paths, headers or tags"
            )
            found.complain(("canaries", index, "assignment"), message)
    for index, each in members[1:]:
        for key in ("unit", "no_unit"):
            if getattr(each, key) != getattr(first, key):
                message = f'differs from "{first.name}", which takes the same requests; both need the same'
                found.complain(("canaries", index, key), message)
    if declared > 1.0 + 1e-9:
        index = max(index for index, each in members if each.lane is not None)
        names = ", ".join(f'"{each.name}"' for _, each in members if each.lane is not None)
        found.complain(
            ("canaries", index, "lane"),
            f"the lanes of {names} add up to {declared:.4g}; they may have 1 in all",
        )
        return
    for index, each in members:
        path = ("canaries", index)
        others = ", ".join(f'"{other.name}"' for _, other in members if other is not each)
        if each.lane is None and parts[each.name] < 1e-6:
            found.complain(
                path,
                f"gets no lane: {others} take all units of the same requests; give it other requests, or "
                "make the lane of a canary that has not started smaller",
            )
        elif declared == 0.0:
            message = (
                f"takes the same requests as {others}: each gets a lane of its own, {parts[each.name]:.3g} "
                "of the units, if none of them has started. If this is meant, write `lane:` for those that "
                "have not started; else separate them by models, paths, headers or tags"
            )
            found.warn((*path, "match"), message)
