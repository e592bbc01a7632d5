"""A report of a canary with a plan of 14 days, as made up for tests of what people read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from pages.words.reasons import sentences
from verdict.decision.document import (
    Difference,
    LookLine,
    MetricLine,
    PlanLine,
    Report,
    ReportWindow,
    SampleRatioCheck,
    Score,
    Units,
)
from verdict.details import Details, LookPoint, RowCourse
from verdict.rows.reasons import StoredReason
from verdict.rows.row import State

START = datetime(2026, 11, 2, tzinfo=UTC)


def look_line(
    day: int,
    low: float | None,
    high: float | None,
    p: float = 0.2,
    chance: float = 0.4,
    halfway: float = 0.6,
) -> LookLine:
    return LookLine(day=day, low=low, high=high, p=p, risk=0.05, boundary=2.4, chance=chance, halfway=halfway)


def metric_line(look: LookLine, state: State = "INCONCLUSIVE", metric: str = "task_completed") -> MetricLine:
    bounds = {"task_completed": (">= 85%", ">= 90%"), "latency_p95": ("< 2s", "< 1s")}[metric]
    candidate = {"task_completed": 0.86, "latency_p95": 1.4}[metric]
    return MetricLine(
        metric=metric,
        baseline=candidate,
        candidate=candidate,
        candidate_interval=(0.9 * candidate, 1.1 * candidate),
        difference=Difference(low=-0.05, estimate=0.0, high=0.05, p_value=1.0),
        state=state,
        acceptable=bounds[0],
        ideal=bounds[1],
        weight=50,
        units=400,
        mde=0.02,
        units_needed=300,
        days_needed=3 if state == "INCONCLUSIVE" else 0,
        question="?",
        look=look,
    )


def planned_report(*lines: MetricLine, day: int, ended: timedelta = timedelta(hours=12)) -> Report:
    """A report on a plan of 14 days after the look of this day; `ended`: the last request, since then."""
    next_look = day + 1 if day < 14 else 21 if day < 21 else 28 if day < 28 else None
    points = tuple(
        LookPoint(
            day=each,
            date=(START + timedelta(days=each)).date().isoformat(),
            units=50 * each,
            low=None if each < 7 else -0.04,
            estimate=0.01,
            high=0.3 / each,
        )
        for each in range(1, day + 1)
    )
    courses = tuple(RowCourse(metric=line.metric, points=points) for line in lines) if points else ()
    end = (START + timedelta(days=day) + ended).timestamp()
    return Report(
        canary="support-nov",
        verdict="extend",
        reasons=(StoredReason(words="Open."),),
        score=Score(low=20.0, estimate=60.0, high=90.0),
        rubric_sha256="0" * 64,
        window=ReportWindow(
            start=START.timestamp(), end=end, days=day + 0.5, whole_days=day, days_required=7
        ),
        units=Units(baseline=4000, candidate=400),
        srm=SampleRatioCheck(p_value=0.5, blocked=False),
        metrics=lines,
        segments=(),
        categories=(),
        plan=PlanLine(
            planned_days=14,
            minimum_days=7.0,
            risk=0.05,
            first_look=7,
            looks=tuple(range(1, day + 1)),
            next_look=next_look,
        ),
        details=Details(looks=courses),
    )


def as_told(report: Report) -> Report:
    """The report as it comes back from its document: with its reasons in words."""
    return replace(report, reasons=tuple(StoredReason(words=each) for each in sentences(report)))
