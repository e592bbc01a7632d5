"""The time that all replicas share, which is Redis's. Clocks of machines differ, and are set while they run.

The wall clock of a machine that is half a minute slow would make its records look older than everything that
the leader has told (`control/feed/stream.py`). So a replica dates its records by Redis's clock, carried on by
CLOCK_MONOTONIC, which nobody sets.
"""

import time
from collections.abc import Callable, Sequence

from msgspec import structs
from redis.asyncio import Redis

from common.clock import wrong_clock
from records.outcome import Feedback, InFlight, Outcome, Record
from records.shared.states_channel import answering

STEADY_S = 0.25
"""A measurement that differs by less changes nothing, so that both readers of a spool date a record alike."""

AGREES_S = 1.0
"""A record that is dated as exactly as this stays as it was written."""

_SLOWEST_S = 0.1
"""An answer that took longer measures too little."""


class FleetClock:
    """Redis's time on this machine; before Redis has answered, the machine's own. Any thread may read it."""

    def __init__(
        self,
        redis: Redis,
        *,
        mono: Callable[[], float] = time.monotonic,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self._redis, self._mono, self._utc = redis, mono, utc
        self._lead_s: float | None = None  # Redis's UTC seconds minus CLOCK_MONOTONIC

    async def ask(self) -> None:
        """Ask Redis for the time. May raise SharedDown."""
        began = self._mono()
        with answering():
            seconds, micros = await self._redis.time()
        self.hear(seconds + micros / 1e6, began, self._mono())

    def hear(self, at: float, began: float, ended: float) -> None:
        """Redis said UTC second `at` between two moments of CLOCK_MONOTONIC."""
        lead_s = at - (began + ended) / 2
        known = self._lead_s
        if known is None or (ended - began < _SLOWEST_S and abs(lead_s - known) > STEADY_S):
            self._lead_s = lead_s

    @property
    def offset_s(self) -> float | None:
        """Seconds by which this machine's clock is fast, negative where it is slow; None while unknown."""
        return None if self._lead_s is None else self._utc() - self._mono() - self._lead_s

    def now(self) -> float:
        """UTC seconds."""
        return self._utc() if self._lead_s is None else self._mono() + self._lead_s

    def dated(self, records: Sequence[Record]) -> list[Record]:
        """Records of this boot with their times by the fleet's clock. What a sender dates keeps its date."""
        lead_s = self._lead_s
        if lead_s is None:
            return [*records]
        return [_dated(each, each.mono + lead_s) for each in records]

    @property
    def trouble(self) -> str | None:
        """Why this machine's clock should be set; None where it need not be."""
        return wrong_clock("this machine's clock", self.offset_s)


def _dated(record: Record, at: float) -> Record:
    """The record with `at` as the moment at which it was written down, where its own differs."""
    if type(record) is Feedback and record.posted_at is not None:
        off = abs(record.posted_at - at) > AGREES_S
        return structs.replace(record, posted_at=at) if off else record
    if type(record) in (Outcome, Feedback, InFlight) and abs(record.at - at) > AGREES_S:
        return structs.replace(record, at=at)
    return record
