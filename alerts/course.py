"""A canary's course in one run: both arms' figures at a second for ten minutes, at a minute for a day, at an
hour for the run. For display: no rule reads them.

Times are UTC seconds at which requests ended, so the course goes on after a restart and on another machine.
An arm takes at most 28 bytes a slot. Only slots that have not ended hold their times and users; of what comes
later, numbers are exact, and the p95 is that of the larger part.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import nsmallest
from struct import Struct
from typing import Any, Literal
from zlib import crc32

from alerts.evidence.statistics import Slice
from records.facts.counts import Alike
from routing.canary import ArmName

ChartSpan = Literal["10min", "24h", "run"]
GRAINS: tuple[tuple[int, int], ...] = ((1, 600), (60, 1_440), (3_600, 2_160))
"""The width of a slot in seconds, and how many are kept. Of a run of more than 90 days the first are not."""
LATE_S = 3
"""Seconds for which a second that is over waits for what arrives late."""
USERS = 256
"""Of more users in a slot, only so many are remembered, and their number is an estimate within 6 %."""
_HASHES = 2.0**32
_SLOT = Struct("<7f")


@dataclass(slots=True)
class OpenSlot:
    """A slot that has not ended. `times` has all requests, `over` of them the errors. `users` are hashes."""

    times: Slice = field(default_factory=Slice)
    faults: int = 0
    priced: int = 0
    cost_usd: float = 0.0
    users: set[int] = field(default_factory=set)
    many: bool = False

    def merge(self, part: "OpenSlot") -> None:
        """Add another slot."""
        self.times.merge(part.times)
        self.faults += part.faults
        self.priced += part.priced
        self.cost_usd += part.cost_usd
        self.users |= part.users
        self.many |= part.many
        self.trim()

    def trim(self) -> None:
        """Forget users if there are many."""
        if len(self.users) > 2 * USERS:
            self.users, self.many = set(nsmallest(USERS, self.users)), True

    def slot(self) -> "Slot":
        """The figures."""
        users = float(len(self.users))
        if self.many:
            users = (USERS - 1) * _HASHES / max(nsmallest(USERS, self.users))
        p95_s = self.times.quantile(0.95)
        return Slot(
            self.times.count, self.times.over, self.faults, self.priced, self.cost_usd, users, p95_s or 0.0
        )


@dataclass(slots=True)
class Slot:
    """The figures of one arm in one slot. `cost_usd` sums what `priced` requests cost."""

    requests: float = 0.0
    errors: float = 0.0
    faults: float = 0.0
    priced: float = 0.0
    cost_usd: float = 0.0
    users: float = 0.0
    p95_s: float = 0.0

    def joined(self, other: "Slot") -> "Slot":
        """Both together: of users the more, of p95s that of more requests."""
        larger = self if self.requests >= other.requests else other
        return Slot(
            self.requests + other.requests,
            self.errors + other.errors,
            self.faults + other.faults,
            self.priced + other.priced,
            self.cost_usd + other.cost_usd,
            max(self.users, other.users),
            larger.p95_s,
        )


@dataclass(slots=True)
class SlotRing:
    """The ended slots of one arm and width, packed, from slot number `first` on; and those still open."""

    first: int = 0
    ended: bytearray = field(default_factory=bytearray)
    open: dict[int, OpenSlot] = field(default_factory=dict)

    def end(self, number: int, most: int) -> OpenSlot:
        """End an open slot, and keep its figures with the newest `most`."""
        done = self.open.pop(number)
        size = len(self.ended) // _SLOT.size
        if not size or number - self.first >= size + most:
            self.first, self.ended, size = number, bytearray(), 0
        place = number - self.first
        if place >= 0:
            self.ended += bytes(_SLOT.size * max(0, place + 1 - size))
            found = self._at(place).joined(done.slot())
            _SLOT.pack_into(self.ended, place * _SLOT.size, *_fields(found))
            beyond = max(0, len(self.ended) // _SLOT.size - most)
            del self.ended[: beyond * _SLOT.size]
            self.first += beyond
        return done

    def slot(self, number: int, still: OpenSlot | None) -> Slot:
        """The figures of a slot, of which `still` has not ended."""
        place = number - self.first
        known = self._at(place) if 0 <= place < len(self.ended) // _SLOT.size else Slot()
        return known if still is None else known.joined(still.slot())

    def _at(self, place: int) -> Slot:
        return Slot(*_SLOT.unpack_from(self.ended, place * _SLOT.size))


def _fields(slot: Slot) -> tuple[float, ...]:
    return (*(slot.requests, slot.errors, slot.faults, slot.priced, slot.cost_usd, slot.users, slot.p95_s),)


def _rings() -> dict[ArmName, list[SlotRing]]:
    return {"baseline": [SlotRing() for _ in GRAINS], "candidate": [SlotRing() for _ in GRAINS]}


@dataclass(slots=True)
class Course:
    """Both arms' slots of each width, JSON-able. The first request ended at UTC second `begun`."""

    arms: dict[ArmName, list[SlotRing]] = field(default_factory=_rings)
    begun: float | None = None

    def add(self, measured: Alike) -> None:
        """Add requests that are alike and ended in an answer or an error."""
        one = measured[0]
        ring, newest = self.arms[one.arm][0], 0
        for each in measured:
            latency_s = each.latency_s or 0.0
            number = int(each.at + latency_s)
            newest = max(newest, number)
            self.begun = min(self.begun or math.inf, number)
            slot = ring.open.get(number)
            if slot is None:
                slot = ring.open[number] = OpenSlot()
            slot.times.add([latency_s], over=one.failed, binned=True)
            slot.users.add(crc32(each.unit.encode()))
            slot.faults += bool(one.faults)
            if each.cost_usd is not None:
                slot.priced += 1
                slot.cost_usd += each.cost_usd
            slot.trim()
        if len(ring.open) > LATE_S + 1:
            self._settle(self.arms[one.arm], newest - LATE_S)

    def document(self, span: ChartSpan, now: float, *, since: float = 0.0) -> dict[str, Any]:
        """Both arms in slots of `slice_s`, of which the newest `keeps` are kept: from the one that begins at
        `start` to the one of `now`, or from `since` on. The run has the narrowest slots of which enough are
        kept.

        Of each arm: `requests`, `errors`, `faults`, `users`, the mean `cost_usd`, `p95_s`; null is unknown.
        """
        for rings in self.arms.values():
            self._settle(rings, int(now) - LATE_S)
        begun = now if self.begun is None else self.begun
        grain = {"10min": 0, "24h": 1}.get(span, _grain_of_run(now - begun))
        width, most = GRAINS[grain]
        last = int(now / width)
        first = max(last - most + 1, int(since / width), 0 if span == "10min" else int(begun / width))
        return {
            "span": span,
            "slice_s": width,
            "keeps": most,
            "start": first * width,
            "arms": {
                arm: _columns(_slots(rings, grain, range(first, last + 1)))
                for arm, rings in self.arms.items()
            },
        }

    def _settle(self, rings: list[SlotRing], before: int) -> None:
        """End the slots that end before this second, and add each to the wider slot in which it lies."""
        for place, (width, most) in enumerate(GRAINS):
            ring = rings[place]
            for number in sorted(each for each in ring.open if (each + 1) * width <= before):
                done = ring.end(number, most)
                if place + 1 < len(GRAINS):
                    wider = number * width // GRAINS[place + 1][0]
                    rings[place + 1].open.setdefault(wider, OpenSlot()).merge(done)


def _grain_of_run(lasts_s: float) -> int:
    """The narrowest width of which enough slots are kept."""
    wide = (place for place, (width, most) in enumerate(GRAINS) if lasts_s < width * (most - 1))
    return next(wide, len(GRAINS) - 1)


def _slots(rings: list[SlotRing], grain: int, numbers: Iterable[int]) -> list[Slot]:
    """The figures of slots of one width, with what has not ended of narrower ones."""
    still: dict[int, OpenSlot] = {}
    for (width, _), ring in zip(GRAINS[: grain + 1], rings, strict=False):
        for number, part in ring.open.items():
            still.setdefault(number * width // GRAINS[grain][0], OpenSlot()).merge(part)
    return [rings[grain].slot(number, still.get(number)) for number in numbers]


def _columns(found: list[Slot]) -> dict[str, list[Any]]:
    return {
        "requests": [round(each.requests) for each in found],
        "errors": [round(each.errors) for each in found],
        "faults": [round(each.faults) for each in found],
        "users": [round(each.users) for each in found],
        "cost_usd": [_digits(each.cost_usd / each.priced) if each.priced else None for each in found],
        "p95_s": [_digits(each.p95_s) if each.requests else None for each in found],
    }


def _digits(value: float) -> float:
    """The value in four significant digits."""
    return 0.0 if value == 0.0 else round(value, 3 - math.floor(math.log10(abs(value))))
