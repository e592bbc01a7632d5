"""Exchanges in flight, and what is known of one exchange's time, whether or not it has ended."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

from alerts.selection import GuardrailSample
from records.outcome import InFlight, Outcome, blames_arm
from routing.plan import request_kind

FORGOTTEN_AFTER_S = 700.0
"""No exchange lasts longer, so its outcome is lost."""
MOST = 20_000

_SILENT = "silent"

WorkerId = tuple[str, int, int]
"""(replica, slot, pid), as in `control.events`."""


@lru_cache(maxsize=256)
def _kind(operation: str, stream: bool) -> str:
    return request_kind(operation, stream=stream)


class Timed(NamedTuple):
    """One exchange's time in seconds, by CLOCK_MONOTONIC.

    `latency_s` is None unless the exchange ended by itself, `ttft_s` is None while no first token has come.
    `waited_s` is how long it took at least. `failed`: the arm failed. `silent_s`: after how long the arm was
    given up because nothing came; 0.0 if it was not.
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

    @property
    def kind(self) -> str:
        """Operation and kind, such as `chat/stream`."""
        return _kind(self.operation, self.stream)


def timed_outcome(outcome: Outcome, started: float) -> Timed:
    """The time of an exchange that has ended. `latency_s` of one that its caller left says nothing."""
    latency_s = None if outcome.outcome == "aborted" else outcome.latency_s
    return Timed(
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
    )


def _silent_s(outcome: Outcome) -> float:
    nothing = outcome.outcome == "fallback" or outcome.ttft_s is None
    if outcome.error_type != "provider_timeout" or not nothing:
        return 0.0
    return (outcome.attempts[0].latency_s if outcome.attempts else outcome.latency_s) or 0.0


class EndedExchange(NamedTuple):
    """One outcome as rules take it in, at monotonic `at`. `counted` are the rules for which it has counted
    already; `sample` is None unless it is evidence."""

    outcome: Outcome
    at: float
    timed: Timed
    counted: Collection[str]
    sample: GuardrailSample | None


@dataclass(slots=True)
class RunningExchange:
    """An exchange in flight, its worker, and the rules (by state key) for which it has counted already."""

    worker: WorkerId
    started: float
    record: InFlight
    counted: list[str] = field(default_factory=list)

    def timed(self, now: float) -> Timed:
        """The exchange's time at monotonic `now`."""
        record = self.record
        return Timed(
            self.started,
            record.unit,
            record.arm == "candidate",
            record.share,
            record.operation,
            record.stream,
            None,
            record.ttft_s,
            now - self.started,
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
