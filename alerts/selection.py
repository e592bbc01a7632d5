"""Which exchanges are evidence: the first-started of each unit in each minute, in order of completion.

A unit's exchanges of one minute fail together, so only one of them counts; taking the first that *fails* or
the first that *ends* would convict healthy arms, because what is refused ends sooner. Whether an exchange was
the first to start is known only when those that started before it have ended: so each waits until `until`
has passed its end, and an earlier-started one that ends meanwhile takes its place. It also brings the files
of several workers into one order.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MINUTE_S = 60.0
MINUTES = 12
"""How many minutes back a unit's counted minutes are known: longer than the longest exchange (600 s)."""
UNITS = 100_000
PENDING = 20_000


class GuardrailSample(NamedTuple):
    """What the guardrails read of one exchange. Seconds and dollars; times are CLOCK_MONOTONIC.

    It sorts by `completed`; `serial` breaks ties. None is unknown.
    """

    completed: float
    serial: int
    started: float
    unit: str
    candidate: bool
    share: float
    failed: bool
    latency_s: float | None
    cost_usd: float | None


@dataclass(slots=True)
class FirstStarted:
    """The queue of exchanges not yet decided on, and the minutes of each unit that were.

    `minutes` holds, per unit, the latest counted minute and a bit for each of the twelve up to it, packed
    into one integer; `earliest` the (start, serial) of the first-started one still in the queue.
    """

    pending: list[GuardrailSample] = field(default_factory=list)
    minutes: dict[str, int] = field(default_factory=dict)
    earliest: dict[str, dict[int, tuple[float, int]]] = field(default_factory=dict)

    def offer(self, sample: GuardrailSample) -> None:
        """Put one exchange in, unless it can no longer be its unit's first of that minute."""
        minute = int(sample.started // MINUTE_S)
        if self._counted(sample.unit, minute):
            return
        first = self.earliest.setdefault(sample.unit, {})
        if minute in first and first[minute][0] <= sample.started:
            return
        first[minute] = (sample.started, sample.serial)
        heapq.heappush(self.pending, sample)

    def release(self, until: float) -> Iterator[GuardrailSample]:
        """Take out, in order of completion, the exchanges that ended by `until` and count."""
        while self.pending and (self.pending[0].completed <= until or len(self.pending) > PENDING):
            sample = heapq.heappop(self.pending)
            minute = int(sample.started // MINUTE_S)
            first = self.earliest.get(sample.unit, {})
            if first.get(minute) != (sample.started, sample.serial):
                continue
            del first[minute]
            if not first:
                del self.earliest[sample.unit]
            self._count(sample.unit, minute)
            yield sample

    def _counted(self, unit: str, minute: int) -> bool:
        packed = self.minutes.get(unit)
        if packed is None:
            return False
        back = (packed >> MINUTES) - minute
        return back >= MINUTES or (back >= 0 and bool(packed >> back & 1))

    def _count(self, unit: str, minute: int) -> None:
        packed = self.minutes.get(unit, minute << MINUTES)
        latest, bits = packed >> MINUTES, packed & ((1 << MINUTES) - 1)
        if minute > latest:
            bits = bits << min(minute - latest, MINUTES) & ((1 << MINUTES) - 1)
            latest = minute
        self.minutes[unit] = latest << MINUTES | bits | 1 << (latest - minute)
        if len(self.minutes) > 2 * UNITS:
            self.minutes = dict(heapq.nlargest(UNITS, self.minutes.items(), key=lambda item: item[1]))

    def forget_before(self, now: float) -> None:
        """Drop units that have had no counted minute for as long as minutes are known."""
        oldest = int(now // MINUTE_S) - MINUTES << MINUTES
        self.minutes = {unit: packed for unit, packed in self.minutes.items() if packed >= oldest}
