"""Selects the exchanges that count: each unit's first-started per minute, in order of completion.

A unit's exchanges of one minute tend to fail together, so only one counts. Counting the first that *fails* or
*ends* would convict healthy arms, because refused requests end sooner. Which exchange started first is known
only when the earlier-started ones have ended, so each exchange waits until `until` passes its end, and an
earlier-started one that ends meanwhile replaces it. The wait also merges several workers' files into one
order.
"""

import heapq
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from records.outcome import Fault

MINUTE_S = 60.0
MINUTES = 12
"""The minutes for which a unit's counted minutes are stored: longer than the longest exchange (600 s)."""
UNITS = 100_000
PENDING = 20_000


class GuardrailSample(NamedTuple):
    """The part of one exchange that guardrails read. Seconds and dollars; times are CLOCK_MONOTONIC.

    Samples sort by `completed`; `serial` breaks ties. None is unknown. `read`, `checked`: the answer was
    read for faults, and its tool calls and JSON were checked.
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
    phase: int = 0
    faults: tuple[Fault, ...] = ()
    read: bool = False
    checked: bool = False


@dataclass(slots=True)
class FirstStarted:
    """The queue of undecided exchanges, and each unit's counted minutes.

    `minutes` holds, per unit, the latest counted minute and a bit for each of the twelve minutes up to it,
    packed into one integer. `earliest` holds the (start, serial) of the first-started exchange still queued.
    """

    pending: list[GuardrailSample] = field(default_factory=list)
    minutes: dict[str, int] = field(default_factory=dict)
    earliest: dict[str, dict[int, tuple[float, int]]] = field(default_factory=dict)

    def offer(self, sample: GuardrailSample) -> None:
        """Queue one exchange, unless it cannot be its unit's first in that minute."""
        minute = int(sample.started // MINUTE_S)
        if self._counted(sample.unit, minute):
            return
        first = self.earliest.get(sample.unit)
        if first is None:
            first = self.earliest[sample.unit] = {}
        known = first.get(minute)
        if known is not None and known[0] <= sample.started:
            return
        first[minute] = (sample.started, sample.serial)
        heapq.heappush(self.pending, sample)

    def release(self, until: float) -> Iterator[GuardrailSample]:
        """Remove and yield, in order of completion, the counted exchanges that ended by `until`."""
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
        """Drop the units without a counted minute in the last twelve."""
        oldest = int(now // MINUTE_S) - MINUTES << MINUTES
        self.minutes = {unit: packed for unit, packed in self.minutes.items() if packed >= oldest}


SLOTS = 1 << 14
WARM_S = 60.0


def unit_slot(unit: str) -> int:
    """The unit's place among the SLOTS of `UnitsMet`, the same in every process."""
    return zlib.crc32(unit.encode()) % SLOTS


@dataclass(slots=True)
class UnitsMet:
    """Which units have been met in the run, in two kilobytes: one bit for all units of a slot.

    A unit that shares its slot with one met before is not met at all, whatever its exchange was. Nor are
    units in the first minute of a ramp's phase: exchanges that end early come first then, and the slower
    arm's others are missing. `phase` is the newest one, which began at monotonic `since`.
    """

    bits: bytearray = field(default_factory=bytearray)
    phase: int = -1
    since: float = 0.0

    def lacks(self, slot: int, at: float) -> bool:
        """False when no unit of this slot will be met at monotonic `at`."""
        if at - self.since < WARM_S:
            return False
        return not self.bits or not self.bits[slot >> 3] >> (slot & 7) & 1

    def meet(self, slot: int, *, phase: int, at: float) -> bool:
        """True if this is a unit's first exchange, at monotonic `at`."""
        if phase > self.phase:
            self.phase, self.since = phase, at
        if phase < self.phase or not self.lacks(slot, at):
            return False
        if not self.bits:
            self.bits = bytearray(SLOTS >> 3)
        self.bits[slot >> 3] |= 1 << (slot & 7)
        return True
