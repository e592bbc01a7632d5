"""Which arm a unit gets in every canary, and why. Asks and changes nothing."""

from collections.abc import Mapping
from typing import Any

from control.settings import CanarySettings
from control.states.rollouts import Rollouts, laneless, redefinition
from routing.assign import Assignment, assign
from routing.canary import definition
from routing.cohort import SPACE, bucket
from routing.lanes import holds
from routing.states import State, lane_place


def explanation(
    canaries: Mapping[str, CanarySettings], rollouts: Rollouts, unit: str, key: bytes
) -> dict[str, Any]:
    """The document of `/api/explain`. `key`: the assignment key."""
    refused = laneless(canaries, rollouts.states)
    return {
        "canaries": [
            _of(each, canaries, rollouts, unit, key, refused.get(name)) for name, each in canaries.items()
        ]
    }


def _of(
    wanted: CanarySettings,
    canaries: Mapping[str, CanarySettings],
    rollouts: Rollouts,
    unit: str,
    key: bytes,
    without_lane: str | None,
) -> dict[str, Any]:
    """One canary's entry. `arm` is None where a flag system decides. A unit of another lane has the reason
    `no_lane`, and so has every unit for a canary that gets no lane; `without_lane` says why."""
    canary, name = wanted.canary, wanted.canary.name
    held, place = rollouts.state(name), lane_place(key, unit)
    mine = without_lane is None and (held is None or held.lane is None or held.lane.has(place))
    state = rollouts.plan.state_of(name, definition(canary))
    # Given the candidate, a unit gets it exactly where the flag system decides: the state wins over it.
    found = assign(canary, state, key=key, unit=unit, given="candidate" if canary.assigned_outside else None)
    promoted = state is not None and state.state == "promoted"
    by_flag = canary.assigned_outside and found.reason == "cohort" and not promoted
    assignment = found if mine else Assignment(arm="baseline", reason="no_lane", share=found.share)
    at, refused = bucket(key, name, unit) / SPACE, redefinition(canary, held) or without_lane
    hashed = (
        f"its hash falls at {at:.2%}, the candidate gets those below {assignment.share:.2%}; "
        f"reason: {assignment.reason}"
    )
    whatever = _in_spite_of_flag(state, found) if canary.assigned_outside else hashed
    arms = _BY_FLAG if by_flag else whatever
    return {
        "canary": name,
        "arm": None if by_flag and mine else assignment.arm,
        "reason": assignment.reason,
        "share": assignment.share,
        "bucket": at,
        "lane": _lane(held, place, mine),
        "refused": refused,
        "sentence": refused or (arms if mine else _elsewhere(wanted, canaries, rollouts, place)),
        "request": {
            "baseline": canary.baseline.request.document(),
            "candidate": canary.candidate.request.document() if refused is None else {},
        },
    }


_BY_FLAG = (
    "the flag system decides: its arm comes with each request, signed, in x-canary-assignment, and a request "
    "without one gets the baseline"
)


def _in_spite_of_flag(state: State | None, found: Assignment) -> str:
    """Why the state of a canary decides, and not the flag system."""
    name = state.state.replace("_", " ") if state is not None else "not known yet"
    return (
        f"the canary is {name} and its share is {found.share:.2%}: everybody gets the {found.arm}, whatever "
        f"the flag system says; reason: {found.reason}"
    )


def _lane(state: State | None, place: int, mine: bool) -> dict[str, Any] | None:
    """The canary's lane, and whether it has the unit; None without one."""
    if state is None or state.lane is None:
        return None
    return {"size": state.lane.part, "place": place / SPACE, "mine": mine}


def _elsewhere(
    wanted: CanarySettings, canaries: Mapping[str, CanarySettings], rollouts: Rollouts, place: int
) -> str:
    """Who serves a unit that this canary's lane does not have."""
    known = {name: state for name in rollouts.states if (state := rollouts.state(name)) is not None}
    for name, other in canaries.items():
        if other.canary.meets(wanted.canary) and holds(known.get(name), place):
            return f"not its lane: the unit is in the lane of canary {name!r}"
    ended = [(state.changed_at or 0.0, name) for name, state in known.items() if _had(state, wanted, place)]
    if ended:
        return f"not its lane: that of {max(ended)[1]!r}, which has ended and whose baseline serves the unit"
    return "not its lane: the unit is in no lane. A baseline serves it, outside every canary"


def _had(state: State, wanted: CanarySettings, place: int) -> bool:
    lane = state.lane
    return state.state == "ended" and lane is not None and lane.meets(wanted.canary) and lane.has(place)
