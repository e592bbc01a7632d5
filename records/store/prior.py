"""Totals of what units did outside any run: before a canary began, or without one. No I/O.

Reports use the values from before a run to take the units' own differences out of both arms. Only exchanges
that a provider answered or failed are included, by `Outcome.measured`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter

from records.outcome import Outcome
from records.rows import Row, text

WEEK_S = 7 * 86400
MOST_ROWS = 5_000_000
"""With more, the oldest weeks are deleted."""

_UNTREATED = frozenset({"", "stopped", "no_plan"})


def prior_weeks(outcomes: Iterable[Outcome]) -> list[Row]:
    """Return rows of `tables.prior_weeks` in key order. A week is a UTC day number // 7."""
    found: dict[Row, _UnitWeek] = {}
    for outcome in outcomes:
        if outcome.unit and is_prior(outcome) and outcome.measured:
            key = (int(outcome.at // WEEK_S), outcome.provider, text(outcome.model_requested), outcome.unit)
            week = found.get(key)
            if week is None:
                week = found[key] = _UnitWeek()
            week.add(outcome)
    return [(*key, *week.row()) for key, week in sorted(found.items(), key=itemgetter(0))]


def is_prior(outcome: Outcome) -> bool:
    """True for a real exchange without a canary, or of a canary that never had a share yet (phase 0)."""
    return outcome.phase == 0 and outcome.reason in _UNTREATED and not outcome.mirror


@dataclass(slots=True)
class _UnitWeek:
    """What this batch adds to one row of prior_weeks."""

    last_at: float = 0.0
    counted: int = 0
    failed: int = 0
    latency_n: int = 0
    latency_sum: float = 0.0
    ttft_n: int = 0
    ttft_sum: float = 0.0
    cost_n: int = 0
    cost_sum: float = 0.0
    tokens_n: int = 0
    tokens_sum: float = 0.0

    def add(self, outcome: Outcome) -> None:
        self.last_at = max(self.last_at, outcome.at)
        self.counted += 1
        self.failed += outcome.failed
        if outcome.latency_s is not None:
            self.latency_n += 1
            self.latency_sum += outcome.latency_s
        if outcome.ttft_s is not None:
            self.ttft_n += 1
            self.ttft_sum += outcome.ttft_s
        usage = outcome.usage
        if outcome.cost_usd is not None and not usage.estimated:
            self.cost_n += 1
            self.cost_sum += outcome.cost_usd
        if usage.input_tokens is not None and usage.output_tokens is not None:
            self.tokens_n += 1
            self.tokens_sum += usage.input_tokens + usage.output_tokens

    def row(self) -> Row:
        return (
            self.last_at,
            self.counted,
            self.failed,
            self.latency_n,
            self.latency_sum,
            self.ttft_n,
            self.ttft_sum,
            self.cost_n,
            self.cost_sum,
            self.tokens_n,
            self.tokens_sum,
        )
