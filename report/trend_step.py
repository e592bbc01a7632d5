"""What one run of a canary changed, from its archived evaluations."""

from collections.abc import Sequence
from dataclasses import dataclass

from records.facts.metric import parse_bound
from records.interval import Range
from report.archive import Evaluation
from report.document import MetricLine, Report
from report.measures import Unit, source, unit_of

COST, LATENCY = "cost_per_request", "latency_p95"

ACCURACY = "task_completed"
FAULTS = ("answer_faults", "invalid_output", "empty", "refused", "cut_off", "error_rate")
"""What stands for accuracy where users say nothing of it, in this order at equal weights."""

_BUSINESS = frozenset({"revenue", "conversion", "churn", "compliance_violation"})
_JUDGED = "judged_"
"""Metrics of a judge, which is no user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Candidate minus baseline with its interval. An end is None if unbounded or unknown."""

    low: float | None
    estimate: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendStep:
    """The changes in one run. `accuracy` is that of `accuracy_metric`, in the metric's own unit (`share`: a
    fraction); cost and latency (p95) are relative to the baseline. None without such a rubric row or without
    data.

    `shipped`: whether the candidate was promoted, or decided to ship, last; None if nobody decided.
    `saving_usd_month` is the report's forecast for all users. `key` is the newest evaluation's. `unpriced`:
    too many costs were unknown, so there is neither a change of the cost nor a saving. `judged` is the share
    of pairs of which a judge preferred the candidate's answer, ties as half; None without a judge.
    `variant`: both arms have one model, and their requests alone differ. `accuracy_of_users` is the
    candidate's value of `accuracy_metric`, of a share in which users or canary see what goes well, 0 to 1.
    """

    key: str
    at: float
    canary: str
    run: int
    vendor: str
    baseline: str | None
    candidate: str | None
    verdict: str
    decision: str | None
    score: float | None
    synthetic: float | None
    accuracy: Change | None
    accuracy_metric: str | None
    accuracy_unit: Unit
    cost: Change | None
    latency: Change | None
    saving_usd_month: Change | None
    shipped: bool | None
    unpriced: bool = False
    judged: Range | None = None
    variant: bool = False
    accuracy_of_users: float | None = None


def step_of(run: Sequence[Evaluation]) -> TrendStep:
    """A run's changes, from its evaluations, oldest first: those of the newest, and what was decided."""
    evaluation = run[-1]
    report = evaluation.report
    lines = {line.metric: line for line in report.metrics}
    unpriced = report.details.unknown_costs is not None
    quality = quality_line(report.metrics)
    return TrendStep(
        key=evaluation.key,
        at=evaluation.at,
        canary=evaluation.canary,
        run=evaluation.run,
        vendor=evaluation.family,
        baseline=evaluation.baseline.label if evaluation.baseline else None,
        candidate=evaluation.candidate.label if evaluation.candidate else None,
        variant=evaluation.is_variant,
        accuracy_of_users=_accuracy(quality),
        verdict=report.verdict,
        decision=report.decision.decision if report.decision else None,
        score=report.score.estimate,
        synthetic=evaluation.synthetic,
        accuracy=_change(quality, 1.0),
        accuracy_metric=quality.metric if quality is not None else None,
        accuracy_unit=unit_of(quality.metric, quality.acceptable) if quality is not None else "share",
        cost=None if unpriced else _relative(lines.get(COST)),
        latency=_relative(lines.get(LATENCY)),
        saving_usd_month=_saving(report),
        shipped=_shipped(run),
        unpriced=unpriced,
        judged=report.judge.judged_preference if report.judge is not None else None,
    )


def quality_line(lines: Sequence[MetricLine]) -> MetricLine | None:
    """The row that stands for accuracy: task_completed; else the row on feedback with the highest weight, but
    none on business; else the one of FAULTS with the highest weight. At equal weights the first."""
    exact = [line for line in lines if line.metric == ACCURACY]
    feedback = [line for line in lines if _of_users(line.metric)]
    faults = [line for name in FAULTS for line in lines if line.metric == name]
    found = exact or feedback or faults
    return max(found, key=lambda line: line.weight) if found else None


def _accuracy(line: MetricLine | None) -> float | None:
    """The candidate's share of what went well; None for another metric than a share, or without data."""
    if line is None or line.candidate is None or unit_of(line.metric, line.acceptable) != "share":
        return None
    return line.candidate if parse_bound(line.acceptable).higher_is_better else 1.0 - line.candidate


def _of_users(metric: str) -> bool:
    return source(metric) is None and metric not in _BUSINESS and not metric.startswith(_JUDGED)


def _change(line: MetricLine | None, scale: float) -> Change | None:
    if line is None or line.difference.estimate is None:
        return None
    low, high = (None if end is None else end * scale for end in (line.difference.low, line.difference.high))
    return Change(low=low, estimate=line.difference.estimate * scale, high=high)


def _relative(line: MetricLine | None) -> Change | None:
    return _change(line, 1 / line.baseline) if line is not None and line.baseline else None


def _saving(report: Report) -> Change | None:
    """The cost change with its sign reversed: −$50,000 is a saving of $50,000. None while too many costs are
    unknown."""
    money = report.details.money
    if money is None or report.details.unknown_costs is not None:
        return None
    found = money.difference_usd
    return Change(low=_negative(found.high), estimate=-found.estimate, high=_negative(found.low))


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _shipped(run: Sequence[Evaluation]) -> bool | None:
    """What the newest promotion, rollback or decision says; an end says nothing."""
    for evaluation in reversed(run):
        if evaluation.event in ("promoted", "rolled_back"):
            return evaluation.event == "promoted"
        if evaluation.event == "decided" and evaluation.report.decision is not None:
            return evaluation.report.decision.decision == "ship"
    return None
