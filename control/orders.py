"""Turns an operator's order into a transition. `routing.transitions` says which are legal."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

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


def outweighed(found: Sequence[Mapping[str, Any]], despite: Sequence[str]) -> list[Mapping[str, Any]]:
    """The misses, each with its `name`, that a decision to ship outweighs. Raises BadOrder (409, 400) unless
    it names exactly these."""
    names = list(dict.fromkeys(str(miss["name"]) for miss in found))
    if unnamed := [name for name in names if name not in despite]:
        raise BadOrder(
            409,
            f"not decided: this run misses {', '.join(names)}. To ship all the same, name each miss: "
            f"--despite {','.join(names)} (not named: {', '.join(unnamed)})",
        )
    if unknown := [name for name in despite if name not in names]:
        missed = f"the misses are {', '.join(names)}" if names else "this run misses nothing"
        raise BadOrder(400, f"not decided: {', '.join(unknown)} is no miss of this run; {missed}")
    return list(found)


def cannot_outweigh(state: State, split: str) -> str:
    """What keeps the verdict at don't ship whatever a person decides, in a sentence; "" for nothing. `split`
    says what is wrong with the users' split, if anything."""
    why = "the run was rolled back" if state.state == "rolled_back" else split
    return f"The verdict stays don't ship: {why}, and no decision outweighs that." if why else ""
