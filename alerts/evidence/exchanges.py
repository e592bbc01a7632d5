"""The exchanges that count as evidence: which of a unit's, those in flight, and the baseline's recent ones.

A unit's exchanges of one minute tend to fail together, so only one counts. Counting the first that *fails* or
*ends* would convict healthy arms, because refused requests end sooner. Which exchange started first is known
only when the earlier-started ones have ended, so each exchange waits until `until` passes its end, and an
earlier-started one that ends meanwhile replaces it. The wait also merges several workers' files into one
order.
"""

import heapq
import math
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from records.outcome import Fault, InFlight, Outcome, blames_arm
from routing.states import request_kind

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
class FirstStartedExchanges:
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


FORGOTTEN_AFTER_S = 700.0
"""No exchange lasts longer, so its outcome is lost."""
MOST = 20_000

_SILENT = "silent"

WorkerId = tuple[str, int, int]
"""(replica, slot, pid), as in `control.feed.events`."""


@lru_cache(maxsize=256)
def _kind(operation: str, stream: bool) -> str:
    return request_kind(operation, stream=stream)


class ExchangeTime(NamedTuple):
    """One exchange's time in seconds, by CLOCK_MONOTONIC.

    `latency_s` is None unless the exchange ended by itself, `ttft_s` is None while no first token has come.
    `waited_s` is how long it took at least. `failed`: the arm failed. `silent_s`: after how long the arm was
    given up because nothing came; 0.0 if it was not. `begun`: something of a stream came.
    """

    started: float
    unit: str
    candidate: bool
    share: float
    operation: str
    stream: bool
    latency_s: float | None
    ttft_s: float | None
    waited_s: float
    failed: bool = False
    silent_s: float = 0.0
    begun: bool = False

    @property
    def kind(self) -> str:
        """Operation and kind, such as `chat/stream`."""
        return _kind(self.operation, self.stream)


def timed_outcome(outcome: Outcome, started: float) -> ExchangeTime:
    """The time of an exchange that has ended. `latency_s` of one that its caller left says nothing."""
    latency_s = None if outcome.outcome == "aborted" else outcome.latency_s
    return ExchangeTime(
        started,
        outcome.unit,
        outcome.arm == "candidate",
        outcome.share,
        outcome.operation,
        outcome.stream,
        latency_s,
        outcome.ttft_s,
        outcome.latency_s or 0.0,
        outcome.failed,
        _silent_s(outcome),
        outcome.stream and outcome.ttfb_s is not None,
    )


def _silent_s(outcome: Outcome) -> float:
    nothing = outcome.outcome == "fallback" or outcome.ttft_s is None
    if outcome.error_type != "provider_timeout" or not nothing:
        return 0.0
    return (outcome.attempts[0].latency_s if outcome.attempts else outcome.latency_s) or 0.0


class EndedExchange(NamedTuple):
    """One outcome as rules take it in, at monotonic `at`. `counted` are the rules for which it has counted
    already; `sample` is None unless it is evidence. `held`: only its session may use it."""

    outcome: Outcome
    at: float
    timed: ExchangeTime
    counted: Collection[str]
    sample: GuardrailSample | None
    held: bool = False


@dataclass(slots=True)
class RunningExchange:
    """An exchange in flight, its worker, and the rules (by state key) for which it has counted already."""

    worker: WorkerId
    started: float
    record: InFlight
    counted: list[str] = field(default_factory=list)

    def timed(self, now: float) -> ExchangeTime:
        """The exchange's time at monotonic `now`."""
        record = self.record
        return ExchangeTime(
            self.started,
            record.unit,
            record.arm == "candidate",
            record.share,
            record.operation,
            record.stream,
            None,
            record.ttft_s,
            now - self.started,
            begun=record.begun,
        )


@dataclass(slots=True)
class RunningExchanges:
    """The exchanges in flight by exchange id, JSON-able.

    `silences`: for each kind, how long the candidate was silent until it was given up, and when that exchange
    started. The baseline may be waited for longer, so where both arms hang, only the candidate's hangs end.
    """

    exchanges: dict[str, RunningExchange] = field(default_factory=dict)
    silences: dict[str, tuple[float, float]] = field(default_factory=dict)

    def begin(
        self, worker: WorkerId, record: InFlight, *, started: float, now: float
    ) -> GuardrailSample | None:
        """Add an exchange in flight, or its news. Returns its failure if the other arm answers for it."""
        before = self.exchanges.pop(record.exchange_id, None)
        counted = before.counted if before is not None else []
        self.exchanges[record.exchange_id] = RunningExchange(worker, started, record, counted)
        if len(self.exchanges) > MOST:
            del self.exchanges[next(iter(self.exchanges))]
        self._learn_silence(record, now - started, started)
        if record.error_type == "breaker_open" or not blames_arm(record.error_type):
            return None
        return _failure(record, started, started)

    def end(self, outcome: Outcome, *, started: float) -> Collection[str]:
        """Remove an exchange that has ended. Returns the rules for which it has counted."""
        if outcome.error_type is not None:
            silent_s = outcome.attempts[0].latency_s if outcome.attempts else None
            self._learn_silence(outcome, silent_s, started)
        running = self.exchanges.pop(outcome.exchange_id, None)
        return running.counted if running is not None else ()

    def leave(self, exchange_id: str) -> None:
        """Remove an exchange that says nothing about its arm any more."""
        self.exchanges.pop(exchange_id, None)

    def forget(self, *, gone: WorkerId | None = None, now: float | None = None) -> None:
        """Forget the exchanges of a worker that is gone, and those that are too old at `now`."""
        oldest = float("-inf") if now is None else now - FORGOTTEN_AFTER_S
        self.exchanges = {
            exchange_id: each
            for exchange_id, each in self.exchanges.items()
            if each.worker != gone and each.started >= oldest
        }

    def silent_baselines(self, now: float) -> Iterator[tuple[RunningExchange, GuardrailSample]]:
        """The baseline's exchanges that are silent for longer than the candidate may be, as failures."""
        for each in self.exchanges.values():
            record, exchange = each.record, each.timed(now)
            silent_s, known_at = self.silences.get(exchange.kind, (0.0, float("-inf")))
            silent = record.arm == "baseline" and record.ttft_s is None and exchange.waited_s > silent_s
            if silent and _SILENT not in each.counted and now - known_at < FORGOTTEN_AFTER_S:
                each.counted.append(_SILENT)
                yield each, _failure(record, each.started, each.started + silent_s)

    def _learn_silence(self, record: InFlight | Outcome, silent_s: float | None, started: float) -> None:
        if record.arm != "candidate" or record.error_type != "provider_timeout":
            return
        kind = request_kind(record.operation, stream=record.stream)
        newest = started >= self.silences.get(kind, (0.0, started))[1]
        if silent_s is not None and newest and 0.0 < silent_s < FORGOTTEN_AFTER_S:
            self.silences[kind] = silent_s, started


def _failure(record: InFlight, started: float, completed: float) -> GuardrailSample:
    """An exchange in flight as a failure. Its outcome, which started with it, is not scored again."""
    candidate = record.arm == "candidate"
    return GuardrailSample(
        completed, 0, started, record.unit, candidate, record.share, True, None, None, record.phase
    )


LAST = 50
FEWEST = 20
REACH_S = 600.0
NEWEST = 10
SUDDEN = ((5, 2), (NEWEST, 3))
"""Of so many newest outcomes so many bad ones are a failure that has just begun."""
VALUES = 2_000
FEWEST_VALUES = 30
"""Fewer of the baseline's values say too little of its mean."""
PSEUDO = 0.5
"""How much a made-up worst value weighs: without it, 30 fives would be certain."""
REACH = 2.0
"""Standard errors from the baseline's mean to its cautious one."""


@dataclass(slots=True)
class RecentShare:
    """The bad share of the baseline's last 50 outcomes of the past 10 minutes. `last` holds (end, bad)."""

    last: list[tuple[float, bool]] = field(default_factory=list)
    bad: int = 0

    def add(self, at: float, bad: bool) -> None:
        """Add a baseline outcome that ended at `at`."""
        self.last.append((at, bad))
        self.bad += bad
        if len(self.last) > LAST:
            self._drop()

    def share(self, now: float) -> float | None:
        """In [0, 1]; None with fewer than 20 outcomes."""
        self._forget(now)
        return self.bad / len(self.last) if len(self.last) >= FEWEST else None

    def cautious_share(self, now: float, *, fewest: int) -> float | None:
        """The highest share that is likely: 1 while it has just begun to fail, and more than the plain share
        of fewer than 20 outcomes. None with less than `fewest`."""
        self._forget(now)
        count = len(self.last)
        if count < fewest:
            return None
        bad = [bad for _, bad in self.last[-NEWEST:]]
        if any(sum(bad[-newest:]) >= most for newest, most in SUDDEN):
            return 1.0
        plain = self.bad / count if count >= FEWEST else (self.bad + 1) / (count + 2)
        return max(plain, sum(bad) / NEWEST) if sum(bad) > 1 else plain

    def later_than(self, at: float, count: int) -> bool:
        """True when `count` outcomes ended after `at`."""
        return len(self.last) >= count and self.last[-count][0] > at

    def _forget(self, now: float) -> None:
        while self.last and self.last[0][0] < now - REACH_S:
            self._drop()

    def _drop(self) -> None:
        _, bad = self.last.pop(0)
        self.bad -= bad


@dataclass(slots=True)
class RecentMean:
    """The mean of the baseline's last 2,000 values, in a ring buffer."""

    values: list[float] = field(default_factory=list)
    place: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Add a baseline value."""
        if len(self.values) < VALUES:
            self.values.append(value)
            self.total += value
            self.squares += value * value
            return
        old, self.values[self.place] = self.values[self.place], value
        self.total += value - old
        self.squares += value * value - old * old
        self.place = (self.place + 1) % VALUES
        if self.place == 0:
            self.total, self.squares = sum(self.values), sum([each * each for each in self.values])

    @property
    def is_known(self) -> bool:
        """True with 30 values."""
        return len(self.values) >= FEWEST_VALUES

    def numbers(self) -> dict[str, float]:
        """How many values there are, and how many it takes, as figures behind a status."""
        return {
            "baseline_values": float(len(self.values)),
            "baseline_values_needed": float(FEWEST_VALUES),
        }

    @property
    def largest(self) -> float:
        """The largest value; there must be one."""
        return max(self.values)

    def cautious(self, *, upward: bool, worst: float | None = None) -> float | None:
        """The mean, moved two standard errors up or down; None with fewer than 30 values. `worst`, the end
        of a bounded scale, counts as half a value beside the others."""
        if not self.is_known:
            return None
        count, total, squares = float(len(self.values)), self.total, self.squares
        if worst is not None:
            count, total, squares = (
                count + PSEUDO,
                total + PSEUDO * worst,
                squares + PSEUDO * worst * worst,
            )
        mean = total / count
        error = math.sqrt(max(squares / count - mean * mean, 0.0) / (count - 1.0))
        return mean + REACH * error if upward else mean - REACH * error
