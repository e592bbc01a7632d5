"""Turns an operator's order into a transition. What is legal, `routing.transitions` knows."""

from collections.abc import Callable, Sequence
from typing import Literal

from routing import transitions
from routing.canary import Step
from routing.plan import State

Order = Literal["start", "pause", "resume", "rollback", "promote", "ramp"]
ORDERS: tuple[Order, ...] = ("start", "pause", "resume", "rollback", "promote", "ramp")


class BadOrder(Exception):
    """An order that cannot be carried out; `status` is the HTTP status, the message what would be legal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


ORDER_OF: dict[transitions.Action, Order] = {
    "start": "start",
    "ramp": "ramp",
    "pause": "pause",
    "resume": "resume",
    "rollback": "rollback",
    "promote": "promote",
}
"""How an operator calls what may be done to a state. `end` is the config's alone."""


def transition_for(
    order: Order, steps: Sequence[Step], *, reason: str, share: float | None, now: float
) -> Callable[[State], State]:
    """The transition that carries out an order. BadOrder (400) when it lacks what it needs."""
    if order == "ramp":
        if share is None:
            raise BadOrder(400, 'ramp needs "share", as 0.1 for 10 %')
        wanted = share
        return lambda state: transitions.set_share(state, steps, wanted, now=now)
    if order in ("promote", "resume") and not reason.strip():
        raise BadOrder(400, f'{order} needs "reason": it stands in the audit log')
    changes: dict[Order, Callable[[State], State]] = {
        "start": lambda state: transitions.start(state, steps, now=now),
        "pause": lambda state: transitions.pause(state, reason=reason, now=now),
        "resume": lambda state: transitions.resume(state, steps, reason=reason, now=now),
        "rollback": lambda state: transitions.rollback(state, reason=reason, now=now),
        "promote": lambda state: transitions.promote(state, reason=reason, now=now),
    }
    return changes[order]
