"""Turns an operator's order into a transition. `routing.transitions` says which are legal."""

from collections.abc import Callable, Sequence
from typing import Literal

from routing import transitions
from routing.canary import Step
from routing.plan import State

Order = Literal["start", "pause", "resume", "rollback", "promote", "ramp"]
ORDERS: tuple[Order, ...] = ("start", "pause", "resume", "rollback", "promote", "ramp")


class BadOrder(Exception):
    """An order that cannot be carried out. `status` is the HTTP status, the message says what is legal."""

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
"""The operator's word for each action. Only the config ends a canary."""


def transition_for(
    order: Order, steps: Sequence[Step], *, reason: str, share: float | None, now: float, hard: bool = False
) -> Callable[[State], State]:
    """The transition that carries out an order. Raises BadOrder (400) when the order is incomplete."""
    if order == "ramp":
        if share is None:
            raise BadOrder(400, 'ramp needs "share", for example 0.1 for 10 %')
        wanted = share
        return lambda state: transitions.set_share(state, steps, wanted, now=now)
    if order in ("promote", "resume") and not reason.strip():
        raise BadOrder(400, f'{order} needs "reason": it stands in the audit log')
    if hard and order != "rollback":
        raise BadOrder(400, f'only rollback may be "hard", not {order}')
    changes: dict[Order, Callable[[State], State]] = {
        "start": lambda state: transitions.start(state, steps, now=now),
        "pause": lambda state: transitions.pause(state, reason=reason, now=now),
        "resume": lambda state: transitions.resume(state, steps, reason=reason, now=now),
        "rollback": lambda state: transitions.rollback(state, reason=reason, now=now, hard=hard),
        "promote": lambda state: transitions.promote(state, reason=reason, now=now),
    }
    return changes[order]
