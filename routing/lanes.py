"""Shares the units of canaries that match the same requests among them, by lanes. Pure.

a canary of the group       its lane
none has started            as declared; those without `lane:` have equal parts of the rest. Cut anew when
                            the file changes
has started                 fixed; a canary that started alone keeps every unit
waits, others have started  as it was cut; a new one gets its part of what no lane has, or is refused
ended                       free; given to a new canary only after the units that never had a lane
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from routing.canary import Canary
from routing.cohort import SPACE
from routing.lane import Lane, Span
from routing.plan import State

WHOLE: Sequence[Span] = ((0, SPACE),)


@dataclass(frozen=True, slots=True)
class Allotment:
    """The lanes of canaries that wait, by name, and why a canary gets none."""

    lanes: dict[str, Lane] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def groups(canaries: Iterable[Canary]) -> list[list[Canary]]:
    """The canaries that share lanes: those that match the same requests, directly or by way of others, and
    those alone with a lane of their own."""
    found: list[list[Canary]] = []
    for canary in canaries:
        near = [group for group in found if any(canary.meets(each) for each in group)]
        rest = [group for group in found if group not in near]
        found = [*rest, [*(each for group in near for each in group), canary]]
    return [group for group in found if len(group) > 1 or group[0].lane is not None]


def sizes(group: Sequence[Canary]) -> dict[str, float]:
    """The part of the units that each canary of a group wants, in [0, 1]: equal parts of what is left."""
    declared = sum(each.lane for each in group if each.lane is not None)
    equal = (1.0 - declared) / max(1, sum(each.lane is None for each in group))
    return {each.name: equal if each.lane is None else each.lane for each in group}


def allot(canaries: Iterable[Canary], states: Mapping[str, State]) -> Allotment:
    """The lanes of the canaries that have not started. A canary alone, or refused, gets none."""
    result = Allotment()
    for group in groups(canaries):
        _allot(group, states, result)
    return result


def taker(names: Iterable[str], states: Mapping[str, State], place: int) -> str | None:
    """The first of these canaries whose lane has this place; None where no lane has it."""
    for name in names:
        state = states.get(name)
        if state is not None and any(start <= place < end for start, end in _held(state)):
            return name
    return None


def _held(state: State) -> Sequence[Span]:
    """The places that a canary has: all where it started alone, none where it has ended or waits for some."""
    if state.state == "ended":
        return ()
    if state.lane is not None:
        return state.lane.spans
    return () if state.state == "waiting" else WHOLE


def _allot(group: Sequence[Canary], states: Mapping[str, State], result: Allotment) -> None:
    known = {each.name: states[each.name] for each in group if each.name in states}
    started = {name for name, state in known.items() if state.state != "waiting"}
    laned = {name: state.lane for name, state in known.items() if state.lane is not None}
    fixed = {lane.group for name, lane in laned.items() if name in started}
    waiting = [each for each in group if each.name not in started]
    if not started:
        cut, at = sizes(group), 0.0
        for each in waiting:
            span = (round(at * SPACE), round(min(1.0, at + cut[each.name]) * SPACE))
            result.lanes[each.name] = Lane(group=group[0].name, spans=(span,), baseline=each.baseline)
            at += cut[each.name]
        return
    if len(fixed) > 1:
        for each in waiting:
            result.refused[each.name] = (
                f"canary {each.name!r} gets no lane: it would join the lanes of {_listed(sorted(fixed))}, "
                "which share no requests. Narrow its match"
            )
        return
    name = next(iter(fixed), group[0].name)
    kept = [each for each in waiting if _keeps(each, known.get(each.name), name)]
    taken = [span for each in started for span in _held(known[each])]
    taken += [span for each in kept for span in _held(known[each.name])]
    for each in kept:
        lane = known[each.name].lane
        if lane is not None:
            result.lanes[each.name] = lane
    lanes = [state.lane for state in states.values() if state.lane is not None]
    before = [span for lane in lanes if lane.group == name for span in lane.spans]
    for each in waiting:
        if each not in kept:
            wanted = round((1.0 / len(group) if each.lane is None else each.lane) * SPACE)
            fresh = _free([*taken, *before])
            free = [*fresh, *_free([*taken, *fresh])]
            spans = _cut(wanted, free)
            if spans is None:
                result.refused[each.name] = _no_room(each, wanted, sum(end - start for start, end in free))
            else:
                result.lanes[each.name] = Lane(group=name, spans=spans, baseline=each.baseline)
                taken += spans


def _keeps(canary: Canary, state: State | None, group: str) -> bool:
    """True when a waiting canary's lane was cut before another one started, and is as the file has it."""
    if state is None or state.lane is None or state.lane.group != group:
        return False
    return canary.lane is None or round(canary.lane * SPACE) == round(state.lane.size * SPACE)


def _free(taken: Sequence[Span]) -> list[Span]:
    """The places that no span has."""
    free, at = [], 0
    for start, end in sorted(taken):
        if start > at:
            free.append((at, start))
        at = max(at, end)
    return [*free, (at, SPACE)] if at < SPACE else free


def _cut(size: int, free: Sequence[Span]) -> Sequence[Span] | None:
    """Spans of this size from the free ones, in their order; None where they do not suffice."""
    found: list[Span] = []
    for start, end in free:
        part = min(end - start, size)
        if part > 0:
            found.append((start, start + part))
            size -= part
    return tuple(sorted(found)) if found and size <= _ROUNDING else None


_ROUNDING = 64
"""Places that may be missing from a lane: those that rounding has taken from equal parts."""


def _no_room(canary: Canary, wanted: int, free: int) -> str:
    if free <= _ROUNDING:
        return (
            f"canary {canary.name!r} gets no lane: the canaries that started before it have all units of "
            "these requests. End one of them, or give this one a match of its own"
        )
    return (
        f"canary {canary.name!r} gets no lane: it wants {wanted / SPACE:.1%} of the units, and "
        f"{free / SPACE:.1%} are left. Set `lane: {100 * free / SPACE:.4g}%` or less"
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(repr(name) for name in names)
