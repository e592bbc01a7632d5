"""Archived evaluations, without the runs behind them."""

from dataclasses import replace

from common.interval import Range
from verdict.archive.evaluations import Evaluation, Event, Model
from verdict.decision.document import (
    Decided,
    Difference,
    MetricLine,
    Report,
    ReportWindow,
    SampleRatioCheck,
    Score,
    Units,
)
from verdict.details import Details, Money
from verdict.rows.reasons import StoredReason

DAY_S = 86400.0


def a_line(metric: str, baseline: float, difference: Difference) -> MetricLine:
    """One row of a report, which passes."""
    return MetricLine(
        metric=metric,
        baseline=baseline,
        candidate=baseline + (difference.estimate or 0.0),
        candidate_interval=(None, None),
        difference=difference,
        state="PASS",
        acceptable="< 1",
        ideal="< .5",
        weight=1,
        units=500,
        mde=None,
        units_needed=0,
        days_needed=0.0,
        question="?",
    )


def _money() -> Money:
    return Money(
        days=9.0,
        users=6000,
        requests_a_month=1000,
        priced=1.0,
        baseline_usd=500_000.0,
        candidate_usd=450_000.0,
        change=Range(low=-0.12, estimate=-0.1, high=-0.08),
        difference_usd=Range(low=-60_000.0, estimate=-50_000.0, high=None),
    )


def an_evaluation(number: int = 1, *, score: float = 80.0, synthetic: float | None = None) -> Evaluation:
    """A run of the canary c{number} that was decided to ship."""
    report = Report(
        canary=f"c{number}",
        verdict="ship",
        reasons=(StoredReason(words="all well"),),
        score=Score(low=70, estimate=score, high=90),
        rubric_sha256="ab" * 32,
        window=ReportWindow(start=0.0, end=9 * DAY_S, days=9.0, whole_days=9, days_required=7.0),
        units=Units(baseline=5400, candidate=600),
        srm=SampleRatioCheck(p_value=0.4, blocked=False),
        metrics=(
            a_line("task_completed", 0.9, Difference(low=-0.04, estimate=-0.02, high=0.0, p_value=0.2)),
            a_line("cost_per_request", 0.05, Difference(low=-0.006, estimate=-0.005, high=-0.004, p_value=0)),
        ),
        segments=(),
        categories=(),
        decision=Decided(decision="ship", by="jane", reason="r", at=10 * DAY_S),
        details=Details(money=_money()),
    )
    return Evaluation(
        canary=f"c{number}",
        run=1,
        at=10 * DAY_S + number,
        event="decided",
        who="jane",
        reason="r",
        baseline=Model.of("openai", "gpt-4o-2024-08-06"),
        candidate=Model.of("openai", "gpt-4o-2024-11-20"),
        report=report,
        synthetic=synthetic,
    )


def a_release(number: int, *, cost: float = -0.005, event: Event = "promoted", run: int = 1) -> Evaluation:
    """A release of its own, whose cost changed by `cost` of 0.05."""
    one = an_evaluation(number)
    lines = (
        one.report.metrics[0],
        a_line("cost_per_request", 0.05, Difference(low=cost, estimate=cost, high=cost, p_value=0)),
    )
    report = replace(one.report, metrics=lines, decision=None)
    candidate = Model.of("openai", f"gpt-{number}")
    return replace(one, candidate=candidate, report=report, event=event, run=run, at=one.at + run)
