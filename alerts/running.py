"""Exchanges in flight, and what is known of one exchange's time, whether or not it has ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from alerts.selection import GuardrailSample
from records.outcome import InFlight, Outcome, blames_arm

FORGOTTEN_AFTER_S = 700.0
"""No exchange lasts longer, so its outcome is lost."""
MOST = 20_000

WorkerId = tuple[str, int, int]
"""(replica, slot, pid), as in `control.events`."""


class Timed(NamedTuple):
    """One exchange's time in seconds, by CLOCK_MONOTONIC.

    `latency_s` is None unless the exchange ended by itself, `ttft_s` is None while no first token has come.
    `waited_s` is how long it took at least. `failed`: the arm failed.
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

    @property
    def kind(self) -> str:
        """Operation and kind, such as `chat/stream`."""
        return f"{self.operation}/{'stream' if self.stream else 'json'}"


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
    )


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


def note(running: dict[str, RunningExchange], worker: WorkerId, record: InFlight, *, started: float) -> None:
    """Add an exchange in flight, or the news that its first token has come."""
    before = running.pop(record.exchange_id, None)
    counted = before.counted if before is not None else []
    running[record.exchange_id] = RunningExchange(worker, started, record, counted)
    if len(running) > MOST:
        del running[next(iter(running))]


def failure_of(record: InFlight, started: float, serial: int) -> GuardrailSample | None:
    """The failure of an arm whose exchange still runs, because the other arm answers; None if it has not
    failed. Its outcome, which started at the same time, is not counted again."""
    if record.error_type == "breaker_open" or not blames_arm(record.error_type):
        return None
    candidate = record.arm == "candidate"
    return GuardrailSample(started, serial, started, record.unit, candidate, record.share, True, None, None)


def still_running(
    running: Mapping[str, RunningExchange], *, now: float | None = None, gone: WorkerId | None = None
) -> dict[str, RunningExchange]:
    """Without the exchanges of the worker that is gone, and without those that are too old at `now`."""
    oldest = float("-inf") if now is None else now - FORGOTTEN_AFTER_S
    return {
        exchange_id: each
        for exchange_id, each in running.items()
        if each.worker != gone and each.started >= oldest
    }
