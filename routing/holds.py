"""Who keeps an arm through a change of share, so that no conversation changes its model. Pure.

a change by                      units whose arm it changes
ramp, order, resume, promotion   those active in the last `settle` keep the state before it until they have
                                 been idle that long, and no longer than `settle_at_most`
rollback, end                    none keeps anything, not even by an earlier change

A change adds a `Hold` to the state: the places between both shares, and the state before. Workers look a
unit up only at such a place. What units did last says which ones a hold keeps: `hold_of`.

A start (or a resume after a rollback) holds whoever is active, whatever arm is to come: otherwise the
baseline alone would count those who were there at the start and never came back.
"""

from dataclasses import replace
from math import ceil

from routing.canary import ArmName, Canary
from routing.cohort import SPACE
from routing.states import Hold, Span, State

WHOLE: Span = (0, SPACE)


def keep(canary: Canary, before: State, after: State) -> State:
    """The state after a change, with the hold of the units that it would move."""
    now = after.changed_at
    if after.phase == before.phase or after.effective_share == 0.0 or now is None:
        return after
    living = tuple(each for each in after.holds if now < each.until)
    span = moved(canary, before, after)
    if span is None or canary.settle_s <= 0.0:
        return replace(after, holds=living)
    kept = replace(before, holds=(), lane=None, configured="", definition="", reason="")
    known = None if canary.assigned_outside and after.state != "promoted" else after.effective_share
    hold = Hold(span=span, before=kept, share=known, until=now + canary.settle_at_most_s)
    return replace(after, holds=(*living, hold))


def moved(canary: Canary, before: State, after: State) -> Span | None:
    """The places of the units that a change may hold; None for none.

    A promotion moves whoever the baseline serves: the candidate's units that use provider-side state, and
    those that a flag system gave the baseline, too.
    """
    if (before.state == "promoted") != (after.state == "promoted"):
        return WHOLE
    shares = before.effective_share, after.effective_share
    if shares[0] == 0.0:
        return WHOLE
    if canary.assigned_outside:
        return None
    span = ceil(min(shares) * SPACE), ceil(max(shares) * SPACE)
    return span if span[0] < span[1] else None


def hold_of(state: State, *, place: int | None, phase: int, arm: ArmName) -> Hold | None:
    """The hold that has a unit at this place, None if unknown, last served in this phase by this arm; None
    for a unit that has moved, or that no change touches."""
    for hold in state.holds:
        if phase <= hold.before.phase and (place is None or _has(hold, place, arm)):
            return hold
    return None


def release(state: State, over: frozenset[int], *, now: float) -> State:
    """The state without the holds that are over: those of these phases, which keep no unit any more, and
    those whose time is up."""
    left = tuple(each for each in state.holds if each.before.phase not in over and now < each.until)
    return state if left == state.holds else replace(state, holds=left)


def moves(hold: Hold, place: int, arm: ArmName) -> bool:
    """True when the change gives a unit at this place, which has this arm, the other one, as far as the hash
    tells."""
    return hold.share is None or arm != ("candidate" if place < hold.share * SPACE else "baseline")


def _has(hold: Hold, place: int, arm: ArmName) -> bool:
    started = hold.before.effective_share == 0.0
    return hold.has(place) and (started or moves(hold, place, arm))
