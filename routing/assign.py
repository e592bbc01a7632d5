"""(canary, state, unit) → arm and reason. The whole decision, with nothing else in it."""

from typing import Literal

import msgspec

from routing.canary import ArmName, Canary
from routing.cohort import SPACE, in_cohort
from routing.plan import State

Reason = Literal["cohort", "no_unit", "random", "stateful", "pinned", "no_plan", "stopped"]


class Assignment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which arm serves, why, and where the canary stood when it was decided."""

    arm: ArmName
    reason: Reason
    run: int = 0
    phase: int = 0
    share: float = 0.0


def assign(
    canary: Canary,
    state: State | None,
    *,
    key: bytes,
    unit: str | None,
    stateful: bool = False,
    pin: ArmName | None = None,
    draw: int = 0,
) -> Assignment:
    """Choose the arm for one request.

    `unit` is the raw sticky identity (None: the caller gave none), `stateful` says that the request names or
    creates provider-side state that only the baseline has, `pin` is an already authorised override, `draw` a
    random integer in [0, 2³²) for canaries that opted in to a draw per request. A pin wins over everything
    but a missing state; a canary that is not running serves the baseline.
    """
    if state is None:
        return Assignment(arm="baseline", reason="no_plan")
    share = state.effective_share

    def to(arm: ArmName, reason: Reason) -> Assignment:
        return Assignment(arm=arm, reason=reason, run=state.run, phase=state.phase, share=share)

    if pin is not None:
        return to(pin, "pinned")
    if share <= 0.0:
        return to("baseline", "stopped")
    if stateful:
        return to("baseline", "stateful")
    if unit is not None:
        return to("candidate" if in_cohort(key, canary.name, unit, share) else "baseline", "cohort")
    if canary.random_without_unit:
        return to("candidate" if draw < share * SPACE else "baseline", "random")
    return to("baseline", "no_unit")
