"""What the console needs of the admin process: facts to show, and orders to pass on."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

Order = Literal["start", "pause", "resume", "rollback", "promote", "ramp"]
ORDERS: tuple[Order, ...] = ("start", "pause", "resume", "rollback", "promote", "ramp")


class BadOrder(Exception):
    """An order that cannot be carried out; `status` is the HTTP status, the message what would be legal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Control(Protocol):
    """The admin process, as its console sees it."""

    def degraded(self) -> Sequence[str]:
        """What does not work at the moment, in plain words; empty when all does."""
        ...

    def status(self) -> Mapping[str, Any]:
        """The contract's `canary status -o json` document."""
        ...

    def explain(self, unit: str) -> Mapping[str, Any]:
        """Which arm this unit would get in every canary, and why."""
        ...

    async def report(self, canary: str, form: str) -> str:
        """The canary's report as "json", "markdown" or "html". BadOrder (404) for an unknown name."""
        ...

    async def order(
        self, canary: str, order: Order, *, who: str, reason: str, share: float | None
    ) -> Mapping[str, Any]:
        """Carry out one order: stored, audited, published. BadOrder when it is not legal."""
        ...

    async def audit(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest audit entries, newest first. BadOrder (503) while the store is down."""
        ...
