"""The demo provider's log of received requests and their endings, as the reference for tests."""

from dataclasses import dataclass, field
from typing import Literal

import msgspec

from demo.behaviour import Fault
from demo.connection import Headers, Request

Ending = Literal["open", "complete", "broken", "caller_left"]


@dataclass(slots=True, kw_only=True)
class Received:
    """One request. It is filled in while the answer runs, so unlike a record it is not frozen.

    `mono` is CLOCK_MONOTONIC at the request's last byte, `left_mono` when the caller closed before the answer
    ended, `ended_mono` at the answer's last byte or the break. `broken` is a break by the provider itself.
    """

    method: str
    target: str
    headers: Headers
    body: bytes
    model: str
    mono: float
    fault: Fault | None = None
    status: int | None = None
    sent_bytes: int = 0
    ending: Ending = "open"
    left_mono: float | None = None
    ended_mono: float | None = None

    @property
    def credentials(self) -> dict[str, str]:
        """Every credential of the request: headers by name, and `key` from the query."""
        names = ("authorization", "x-api-key", "x-goog-api-key", "api-key")
        found = {name: value for name, value in self.headers if name in names}
        key = Request(method="", target=self.target, headers=(), body=b"", keep_alive=False, mono=0.0).query(
            "key"
        )
        return found if key is None else {**found, "key": key}

    @property
    def json(self) -> dict[str, object]:
        """The body as a JSON object."""
        return msgspec.json.decode(self.body, type=dict[str, object])

    @property
    def left_after_s(self) -> float | None:
        """Seconds from the request's last byte until the caller closed early."""
        return None if self.left_mono is None else self.left_mono - self.mono


@dataclass(slots=True)
class Log:
    """The requests in order of arrival. Beyond `limit` (None: no limit) the oldest are dropped."""

    limit: int | None = None
    entries: list[Received] = field(default_factory=list)
    total: int = 0

    def add(self, entry: Received) -> None:
        """Append a request. Drops the older half at the limit, so that long runs stay cheap."""
        self.entries.append(entry)
        self.total += 1
        if self.limit is not None and len(self.entries) >= 2 * self.limit:
            del self.entries[: -self.limit]

    def of(self, model: str) -> list[Received]:
        """The entries of one model."""
        return [entry for entry in self.entries if entry.model == model]

    def clear(self) -> None:
        """Delete all entries."""
        self.entries.clear()
        self.total = 0
