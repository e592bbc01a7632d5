"""Assignment: (canary, state, unit) → (arm, reason). Pure."""

from collections.abc import Callable

from routing.assignment import Assignment, Given, Reason
from routing.canary import ArmName, Canary
from routing.cohort import SPACE, bucket
from routing.sessions import SessionArm
from routing.states import State

__all__ = ["Assignment", "Given", "Held", "Reason", "assign", "everybody", "may_have_begun"]

Held = Callable[[str, int, str], bool]
"""(canary, phase, unit) → whether the unit keeps the state of this phase. Asked at the places of a hold."""


def everybody(canary: str, phase: int, unit: str) -> bool:
    """While nobody knows who is in the middle of something, everybody may be."""
    return True


def assign(
    canary: Canary,
    state: State | None,
    *,
    key: bytes,
    unit: str | None,
    stateful: bool = False,
    missed: bool = False,
    pin: ArmName | None = None,
    draw: int = 0,
    given: Given | None = None,
    held: Held = everybody,
    session: SessionArm | None = None,
    now: float = 0.0,
) -> Assignment:
    """Choose the arm for one request.

    `unit`: the raw sticky identity, None when the caller gave none.
    `stateful`: the request names or creates provider-side state that only one arm has. Until the candidate
    is promoted, that is the baseline.
    `missed`: an arm has a prompt of its own, and the request not the text in whose place that stands. It goes
    as it came, to the baseline until the candidate is promoted.
    `pin`: an override that has already been authorised. It wins over everything but a missing state.
    `draw`: a random integer in [0, 2³²), used only by canaries with `no_unit: random`.
    `given`: what a flag system says of the unit, for canaries with `assignment: header`; None: the hash
    decides. The candidate has every unit once it is promoted, and every request without one.
    `held`: who keeps the state before a change of share (`routing.holds`).
    `session`: what is known of the request's session at UTC second `now`. It has the place of the unit that
    began it, and its own arm before all of the above but a pin and `missed`.
    A canary that is not running assigns the baseline.
    """
    if state is None:
        return Assignment(arm="baseline", reason="no_plan")
    if session is not None:
        place = session.place
        kept = None if pin is not None or missed else session.assignment(canary, state, now)
        if kept is not None:
            return kept
    else:
        place = None if unit is None else bucket(key, canary.name, unit)
    if state.holds and unit is not None and place is not None:
        state = _kept(canary.name, state, unit, place, held)
    share = state.effective_share
    arm: ArmName = "baseline"
    reason: Reason
    if pin is not None:
        arm, reason = pin, "pinned"
    elif share <= 0.0:
        reason = "stopped"
    elif missed:
        arm, reason = "candidate" if state.state == "promoted" else "baseline", "prompt_missed"
    elif stateful and state.state != "promoted":
        reason = "stateful"
    elif unit is not None and given is not None and state.state != "promoted":
        if given == "baseline" or given == "candidate":
            arm, reason = given, "cohort"
        else:
            reason = given
    elif place is not None:
        arm, reason = "candidate" if place < share * SPACE else "baseline", "cohort"
    elif state.state == "promoted":
        arm, reason = "candidate", "no_unit"
    elif canary.random_without_unit:
        arm, reason = "candidate" if draw < share * SPACE else "baseline", "random"
    else:
        reason = "no_unit"
    return Assignment(arm=arm, reason=reason, run=state.run, phase=state.phase, share=share, place=place)


def _kept(canary: str, state: State, unit: str, place: int, held: Held) -> State:
    """The state that this unit has: an earlier one while it is held."""
    for hold in state.holds:
        if hold.has(place) and held(canary, hold.before.phase, unit):
            return hold.before
    return state


def may_have_begun(canary: Canary, state: State | None, place: int | None) -> bool:
    """True when the candidate may have begun conversations of the unit at this place, and may be asked to go
    on with them.

    A unit's arms are known from the highest share that the candidate has had; where a flag system gave them,
    they are not, and any unit may have had the candidate. Requests without a unit (no place) may have only
    while the canary draws their arm, or is promoted.
    """
    if state is None or not state.recallable:
        return False
    if place is None:
        return state.state == "promoted" or (canary.random_without_unit and state.effective_share > 0.0)
    return canary.assigned_outside or place < max(state.highest_share, state.effective_share) * SPACE
