"""Shares the units of canaries that match the same requests among them, by lanes. Pure.

a canary                             its lane
matches requests that none other has none: it has every unit, unless it declares a lane
none of its group has started        as declared; those without `lane:` have equal parts of the rest. Cut anew
                                     when the file changes
has started                          fixed; a canary that started without a lane keeps every unit
waits, another one has started       as it was cut; a new one gets its part of what no lane has, or is refused
has ended                            free; given to a new canary only after the units that never had a lane

A group are the canaries that match the same requests, directly or by way of others. Only lanes of canaries
that match the same requests directly are disjoint.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from routing.canary import Canary
from routing.cohort import SPACE
from routing.states import Lane, Span, State

WHOLE: Sequence[Span] = ((0, SPACE),)
_ROUNDING = 64
"""Places that may be missing from a lane: those that rounding has taken from equal parts."""


@dataclass(frozen=True, slots=True)
class LaneAllotment:
    """The lane of each canary that has not started, by name, None for every unit; and why one gets none."""

    lanes: dict[str, Lane | None] = field(default_factory=dict)
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


def allot(canaries: Iterable[Canary], states: Mapping[str, State]) -> LaneAllotment:
    """The lanes of the canaries that have not started."""
    living = [each for each in canaries if each.name not in states or states[each.name].state != "ended"]
    result = LaneAllotment(lanes={each.name: None for each in living if not _started(each, states)})
    for group in groups(living) if result.lanes else ():
        waiting = [each for each in group if not _started(each, states)]
        taken = {each.name: list(_taken(each, group, states)) for each in waiting}
        if any(taken.values()):
            _join(waiting, taken, sizes(group), states, result)
        else:
            _cut_anew(waiting, sizes(group), result)
    return result


def holds(state: State | None, place: int) -> bool:
    """True when the canary of this state has the units at this place."""
    return state is not None and any(start <= place < end for start, end in _held(state))


def part_of(state: State) -> float:
    """The part of the units of its requests that a canary takes, in [0, 1]; 0 once it has ended."""
    if state.state == "ended":
        return 0.0
    return 1.0 if state.lane is None else state.lane.part


def _held(state: State) -> Sequence[Span]:
    """The places that a canary has: all where it started alone, none where it has ended or waits for some."""
    if state.state == "ended":
        return ()
    if state.lane is not None:
        return state.lane.spans
    return () if state.state == "waiting" else WHOLE


def _started(canary: Canary, states: Mapping[str, State]) -> bool:
    return canary.name in states and states[canary.name].state != "waiting"


def _taken(canary: Canary, group: Sequence[Canary], states: Mapping[str, State]) -> Iterator[Span]:
    """The places of started canaries that match the same requests, also if the file no longer says so."""
    for state in states.values():
        if state.state != "waiting" and state.lane is not None and state.lane.meets(canary):
            yield from _held(state)
    for each in group:
        if _started(each, states) and states[each.name].lane is None and each.meets(canary):
            yield from _held(states[each.name])


def _cut_anew(group: Sequence[Canary], wanted: Mapping[str, float], result: LaneAllotment) -> None:
    at = 0.0
    for each in group:
        end = min(1.0, at + wanted[each.name])
        result.lanes[each.name] = _lane(each, ((round(at * SPACE), round(end * SPACE)),))
        at = end


def _join(
    waiting: Sequence[Canary],
    taken: Mapping[str, list[Span]],
    wanted: Mapping[str, float],
    states: Mapping[str, State],
    result: LaneAllotment,
) -> None:
    """Give lanes beside those of started canaries: first to those that keep theirs."""
    kept = {each.name: lane for each in waiting if (lane := _kept(each, taken[each.name], states))}
    for each in waiting:
        if each.name in kept:
            result.lanes[each.name] = replace(kept[each.name], baseline=each.baseline)
    for each in waiting:
        if each.name not in kept:
            beside = [lane for lane in result.lanes.values() if lane is not None and lane.meets(each)]
            full = [*taken[each.name], *(span for lane in beside for span in lane.spans)]
            _give(each, round(wanted[each.name] * SPACE), full, states, result)


def _kept(canary: Canary, taken: Sequence[Span], states: Mapping[str, State]) -> Lane | None:
    """The lane that a waiting canary keeps: cut before another one started, and still as the file has it."""
    lane = states[canary.name].lane if canary.name in states else None
    if lane is None or lane.match != canary.match or lane.baseline.provider != canary.baseline.provider:
        return None
    if canary.lane is not None and round(canary.lane * SPACE) != round(lane.size * SPACE):
        return None
    crossed = any(start < end_ and start_ < end for start, end in lane.spans for start_, end_ in taken)
    return None if crossed else lane


def _give(
    canary: Canary, size: int, full: Sequence[Span], states: Mapping[str, State], result: LaneAllotment
) -> None:
    """Give a new canary places that nobody has, at first those that never had a lane."""
    lanes = [state.lane for state in states.values() if state.state == "ended" and state.lane is not None]
    before = [span for lane in lanes if lane.meets(canary) for span in lane.spans]
    fresh = _free([*full, *before])
    free = [*fresh, *_free([*full, *fresh])]
    spans = _cut(size, free)
    if spans is None:
        result.refused[canary.name] = _no_room(canary, size, sum(end - start for start, end in free))
    else:
        result.lanes[canary.name] = _lane(canary, spans)


def _lane(canary: Canary, spans: tuple[Span, ...]) -> Lane:
    return Lane(spans=spans, match=canary.match, baseline=canary.baseline)


def _free(taken: Sequence[Span]) -> list[Span]:
    """The places that no span has."""
    free, at = [], 0
    for start, end in sorted(taken):
        if start > at:
            free.append((at, start))
        at = max(at, end)
    return [*free, (at, SPACE)] if at < SPACE else free


def _cut(size: int, free: Sequence[Span]) -> tuple[Span, ...] | None:
    """Spans of this size from the free ones, in their order; None where they do not suffice."""
    found: list[Span] = []
    for start, end in free:
        part = min(end - start, size)
        if part > 0:
            found.append((start, start + part))
            size -= part
    return tuple(sorted(found)) if found and size <= _ROUNDING else None


def _no_room(canary: Canary, wanted: int, free: int) -> str:
    if free <= _ROUNDING:
        return (
            f"canary {canary.name!r} gets no lane: the canaries that started before it have all units of "
            "these requests. Remove one of them from the file, or give this one a match of its own"
        )
    return (
        f"canary {canary.name!r} gets no lane: it wants {wanted / SPACE:.1%} of the units, and "
        f"{free / SPACE:.1%} are left. Set `lane: {100 * free / SPACE:.4g}%` or less"
    )
