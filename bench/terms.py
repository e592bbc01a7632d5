"""The config's terms for a candidate: the rubric's rows that a benchmark measures, critical categories."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.judge_settings import CRITERIA
from records.bound import Bound
from records.offline_metric import is_offline

MARGIN = 0.05
"""Without a row that says more, the share by which a candidate may fall behind the current model."""

COMPLETION = "task_completed"
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
COSTS = ("cost_per_request", "cost_total")


@dataclass(frozen=True, slots=True, kw_only=True)
class RubricRow:
    """One row of a rubric, without its weight, which counts in a canary's score only."""

    metric: str
    acceptable: Bound
    ideal: Bound
    question: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTerms:
    """The rows and the critical categories by which a candidate is judged, and what counts for a judge of its
    answers."""

    rows: tuple[RubricRow, ...] = ()
    critical: frozenset[str] = frozenset()
    criteria: str = CRITERIA

    @property
    def decides(self) -> bool:
        """True with a row or a category that may decide."""
        return bool(self.rows or self.critical)

    def margin(self, baseline: float) -> float:
        """The share by which the candidate may fall behind a current model of this completion."""
        bounds = [row.acceptable for row in self.rows if row.metric == COMPLETION]
        return min((baseline - each.at(baseline) for each in bounds if each.relative), default=MARGIN)


NO_TERMS = BenchTerms()


def measurable(metric: str) -> bool:
    """True for a metric that a benchmark measures."""
    return metric in (COMPLETION, "tokens", *COSTS) or latency_level(metric) is not None or is_offline(metric)


def latency_level(metric: str) -> float | None:
    """.95 for latency_p95; None for another metric."""
    stem, _, level = metric.rpartition("_")
    return QUANTILES.get(level) if stem == "latency" else None


def joined(terms: Iterable[BenchTerms]) -> BenchTerms:
    """Several canaries' terms together. Rows with the same metric and bounds are one. The criteria are the
    last that a canary states."""
    listed = list(terms)
    rows = {(row.metric, row.acceptable.text, row.ideal.text): row for each in listed for row in each.rows}
    critical = frozenset(name for each in listed for name in each.critical)
    criteria = [each.criteria for each in listed if each.criteria != CRITERIA] or [CRITERIA]
    return BenchTerms(rows=tuple(rows.values()), critical=critical, criteria=criteria[-1])
