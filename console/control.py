"""What the console needs of the admin process: facts to show, and orders to pass on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from alerts.frozen import RolledBack
from records.capture import Capture
from records.decisions import Choice
from records.labels import Label, Right

Order = Literal["start", "pause", "resume", "rollback", "promote", "ramp"]
ORDERS: tuple[Order, ...] = ("start", "pause", "resume", "rollback", "promote", "ramp")


class BadOrder(Exception):
    """An order that cannot be carried out; `status` is the HTTP status, the message what would be legal."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlabelled:
    """A pair that waits for a label, None when none does; `labelled` pairs have one."""

    pair: tuple[Capture, Capture] | None
    labelled: int


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

    async def decide(
        self, canary: str, choice: Choice, *, who: str, reason: str, compensating: str | None
    ) -> Mapping[str, Any]:
        """Keep what a person decided of the canary's run: stored for good, audited. BadOrder when not."""
        ...

    def recent(self, canary: str) -> Mapping[str, Any]:
        """The last ten minutes of both arms (`alerts.pulse`). BadOrder (404) for no such canary."""
        ...

    async def rollbacks(self, canary: str, limit: int) -> Sequence[RolledBack]:
        """Every rollback of the canary, by rules and by persons, newest first: why, and the state before and
        after. BadOrder (404, or 503 while the store is down and none waits for it)."""
        ...

    async def pairs(
        self, canary: str, *, since: float, until: float, category: str | None, limit: int
    ) -> Sequence[tuple[Capture, Capture]]:
        """(captured exchange, the candidate's answer to a copy of it) by time, the first `limit` of those at
        UTC seconds `since` ≤ at < `until`. BadOrder (404, or 503 while the store is down)."""
        ...

    async def unlabelled(self, canary: str, category: str | None) -> Unlabelled:
        """The oldest captured pair without a label, and how many have one. BadOrder (404, or 503 while the
        store is down)."""
        ...

    async def labels(self, canary: str) -> Mapping[str, Label]:
        """The labels of the canary's pairs that count, by exchange id. BadOrder as `unlabelled`."""
        ...

    async def label(self, canary: str, exchange_id: str, right: Right, *, who: str) -> None:
        """Keep a label of a pair. BadOrder as `unlabelled`."""
        ...

    async def evaluations(self) -> Sequence[Mapping[str, Any]]:
        """Every kept evaluation's document, oldest first. BadOrder (503) while the store is down."""
        ...

    async def audit(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest audit entries, newest first. BadOrder (503) while the store is down."""
        ...
