"""Judges a sample by a canary's terms and builds the report. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

import numpy as np

from judge.agreement import with_people
from judge.figures import JudgeFigures
from records.facts.metric import JUDGED
from records.unreached import sentence, too_many
from report.arm_models import models_of
from report.arm_sums import GATE, arm_sums
from report.attempts import attempt, left_out
from report.benchmarked import offline_rows
from report.decision import Findings, decide
from report.details import Details, MetricCourse, SinceFirst
from report.document import MetricLine, Report, ReportWindow, Srm, Units, finite
from report.failures import failures
from report.judge import Judged, detectable, further_units, judge, not_computed
from report.judged_canary import JudgedCanary
from report.judged_figures import judge_figures
from report.judged_sample import holding
from report.kept_looks import NO_LOOKS, KeptLooks
from report.located import located
from report.look import Look
from report.measures import must_be_known
from report.metrics import Observations, observe
from report.missing_values import capped, unequal_abandonment, unequal_response
from report.money import money
from report.novelty import fading, since_first
from report.over_time import course
from report.parts import Part, break_down, difference, parts_of
from report.plan import DAY_S
from report.plan_course import PlanCourse, look_line, new_looks, row_courses
from report.plan_words import late_change
from report.reading import read, unread
from report.rubric import Criterion
from report.sample import Sample
from report.score import score
from report.spread import spreads
from report.statistics import srm
from report.statistics.phases import distinct
from report.statistics.srm import Split
from report.statistics.types import Floats
from report.unlabelled import labels_needed, unless_labelled
from report.unpriced import unknown_costs, unless_priced
from report.wording import title

_MISMATCH = 0.001

_Detail = TypeVar("_Detail")
_Else = TypeVar("_Else")

OnJudged: TypeAlias = Callable[[Sample, Judged, Observations], None]


def build(sample: Sample, canary: JudgedCanary, *, now: float) -> Report:
    """Judge the sample by the canary's rubric as of `now`, UTC seconds; all looks of its plan are taken anew.

    Raises metrics.UnknownMetric for a metric that is neither measured nor declared.
    """
    return build_with_looks(sample, canary, {}, now=now)[0]


def build_with_looks(
    sample: Sample, canary: JudgedCanary, kept: KeptLooks, *, now: float
) -> tuple[Report, list[Look]]:
    """Judge as `build` does, with the kept looks as they were; return the report and the looks to keep."""
    courses: list[MetricCourse] = []
    unmade: list[str] = []

    def detail(what: str, make: Callable[[], _Detail], otherwise: _Else) -> _Detail | _Else:
        return left_out(what, make, otherwise, unmade)

    def add_course(seen: Sample, judged: Judged, observed: Observations) -> None:
        def made() -> MetricCourse | None:
            return course(seen, judged, observed, planned=canary.planned_units)

        found = detail(f"{title(judged.criterion.metric)} over time", made, None)
        courses.extend([found] if found is not None else [])

    findings = find(sample, canary, kept=kept, now=now, on_judged=add_course)
    verdict, reasons = decide(findings)
    said = detail("What the judge says", lambda: _judge_figures(sample, canary), None)
    details = Details(
        over_time=tuple(courses),
        looks=detail("The course of the looks", lambda: row_courses(findings.judged), ()),
        spreads=detail("The spread of the times", lambda: spreads(sample), ()),
        failures=detail("The list of failures", lambda: failures(sample.recent), None),
        money=detail("The saving", lambda: money(sample, planned=canary.planned_units), None),
        where=detail("Where failures lie", lambda: located(sample), ()),
        unpriced=tuple(row.criterion.metric for row in findings.judged if row.unpriced is not None),
        unlabelled=tuple(row.criterion.metric for row in findings.judged if row.waits is not None),
        unknown_costs=unknown_costs(findings.judged, sample),
        since_first=findings.since_first,
        too_few=findings.parts.to_come(),
        offline=offline_rows(canary.offline, None),
    )
    report = Report(
        canary=canary.name,
        verdict=verdict,
        reasons=(*reasons, *findings.notes, *unmade),
        score=score(findings.judged),
        rubric_sha256=findings.rubric_sha256,
        window=findings.window,
        units=_units(sample),
        srm=findings.srm,
        models=models_of(canary.baseline, canary.candidate),
        metrics=findings.lines,
        segments=findings.parts.segments,
        categories=findings.parts.categories,
        plan=findings.plan,
        judge=said,
        details=details,
    )
    return report, new_looks(findings.judged, kept)


def _judge_figures(sample: Sample, canary: JudgedCanary) -> JudgeFigures | None:
    return judge_figures(sample, planned=canary.planned_units, labels_needed=labels_needed(canary.criteria))


def find(
    sample: Sample,
    canary: JudgedCanary,
    *,
    now: float,
    kept: KeptLooks = NO_LOOKS,
    on_judged: OnJudged = lambda _sample, _judged, _observed: None,
) -> Findings:
    """The basis of the verdict. `on_judged` gets each criterion with its observations and their sample.

    Works criterion by criterion, so that only one metric's values are in memory. A row of which nothing can
    be computed is open, and does not take the others along.
    """
    for criterion in canary.criteria:
        must_be_known(criterion.metric, canary.metrics)
    window = _window(sample, canary, now)
    planned = _course(sample, canary, kept, now)
    caveats = [unequal_abandonment(sample, canary.criteria)]
    if planned is not None:
        caveats += map(late_change, planned.late_changes())
    rows = [
        _row(sample, canary, criterion, planned, window, now=now, on_judged=on_judged)
        for criterion in canary.criteria
    ]
    days = [each for row in rows for each in row.days]
    caveats += [*(row.caveat for row in rows), *fading(days)]
    notes = [_unread(sample), *(note for row in rows for note in row.notes)]
    (caveats if sample.too_many_flipped else notes).append(sample.flips)
    return Findings(
        canary=canary,
        judged=tuple(row.judged for row in rows),
        lines=tuple(row.line for row in rows),
        parts=break_down([part for row in rows for part in row.parts], canary),
        srm=_split(sample, canary),
        window=window,
        days_elapsed=_elapsed(sample, now),
        unreached=sentence(sample.unreached, sample.candidate_exchanges),
        too_many_unreached=too_many(sample.unreached, sample.candidate_exchanges),
        rubric_sha256=canary.sha256,
        plan=planned.line() if planned is not None else None,
        caveats=tuple(caveat for caveat in caveats if caveat is not None),
        notes=tuple(note for note in notes if note is not None),
        since_first=tuple(since for _, since in days),
    )


@dataclass(frozen=True, kw_only=True)
class _RowFindings:
    """One criterion, judged, with what else is said of it."""

    judged: Judged
    line: MetricLine
    parts: Sequence[Part] = ()
    days: Sequence[tuple[Criterion, SinceFirst]] = ()
    caveat: str | None = None
    notes: Sequence[str | None] = ()


def _row(
    sample: Sample,
    canary: JudgedCanary,
    criterion: Criterion,
    planned: PlanCourse | None,
    window: ReportWindow,
    *,
    now: float,
    on_judged: OnJudged,
) -> _RowFindings:
    """The criterion, or that nothing can be computed of it and why."""

    def made() -> _RowFindings:
        seen = holding(sample, criterion.metric)
        observed = observe(seen, criterion.metric, canary.metrics, now=now)
        judged = _judged(sample, seen, canary, criterion, planned, observed)
        if planned is None:
            on_judged(seen, judged, observed)
        notes = [capped(observed, criterion)]
        told = criterion.metric not in JUDGED  # the judge's own figures have its categories
        return _RowFindings(
            line=_line(judged, canary, window),
            parts=_parts(planned, sample, canary, judged, observed) if told else (),
            days=_since_first(planned, sample, criterion, observed, notes) if told else (),
            caveat=unequal_response(seen, observed, judged),
            notes=notes,
            judged=judged.without_units(),
        )

    def unknown(why: str) -> _RowFindings:
        judged = not_computed(criterion, unread(*_responding(sample, criterion)), why)
        judged = judged if planned is None else planned.open(judged)
        return _RowFindings(judged=judged, line=_line(judged, canary, window))

    return attempt(f"the row on {criterion.metric}", made, unknown)


def _unread(sample: Sample) -> str | None:
    """That nobody has read what the candidate answered: no user, no judge and no labeller; None if anybody
    has, or nothing was answered."""
    rated = [each.row for each in sample.feedback.values()]
    since = float(sample.first_at.min(initial=np.inf))
    read = (
        any(sample.candidate[row].any() for row in rated)
        or (sample.recent is not None and any(each.candidate for each in sample.recent.ratings))
        or any(each.result for each in sample.judged.exchanges)
        or any(label.at >= since for label in sample.judged.labels)
    )
    if read or not sample.candidate.any():
        return None
    return (
        "Nobody has read the candidate's answers: text that refuses, wrong language, invention are not seen "
        "without feedback or a judge."
    )


def _judged(
    sample: Sample,
    seen: Sample,
    canary: JudgedCanary,
    criterion: Criterion,
    planned: PlanCourse | None,
    observed: Observations,
) -> Judged:
    sums = arm_sums(seen, observed)
    judged = judge(criterion, read(seen, observed, planned=canary.planned_units, sums=sums))
    if planned is not None:
        judged = planned.judge(judged, observed, sums)
    judged = unless_priced(judged, sample)
    if criterion.metric not in JUDGED:
        return judged
    return unless_labelled(judged, with_people(sample.judged))


def _responding(sample: Sample, criterion: Criterion) -> tuple[int, int]:
    """The candidate's and the baseline's units with a value of this metric, whatever the value."""
    of = sample.feedback.get(criterion.metric)
    rows = np.arange(len(sample.unit)) if of is None else of.row
    mine = sample.candidate[rows]
    return distinct(sample.unit[rows[mine]]), distinct(sample.unit[rows[~mine]])


def _parts(
    planned: PlanCourse | None,
    sample: Sample,
    canary: JudgedCanary,
    judged: Judged,
    observed: Observations,
) -> Sequence[Part]:
    """The row in every segment and category; nothing while too many costs are missing."""
    if judged.unpriced is not None:
        return ()
    if planned is not None:
        return planned.parts(judged.criterion, observed)
    return parts_of(sample, canary, judged.criterion, observed)


def _since_first(
    planned: PlanCourse | None,
    sample: Sample,
    criterion: Criterion,
    observed: Observations,
    notes: list[str | None],
) -> Sequence[tuple[Criterion, SinceFirst]]:
    """The row by day since a user's first exposure, if that is known."""

    def by_day() -> SinceFirst | None:
        if planned is not None:
            return planned.since_first(criterion)
        return since_first(sample, observed, criterion)

    since = left_out(f"{title(criterion.metric)} by day", by_day, None, notes)
    return [(criterion, since)] if since is not None else []


def _course(sample: Sample, canary: JudgedCanary, kept: KeptLooks, now: float) -> PlanCourse | None:
    if canary.plan is None:
        return None
    return PlanCourse(sample=sample, canary=canary, plan=canary.plan, kept=kept, now=now)


def _line(judged: Judged, canary: JudgedCanary, window: ReportWindow) -> MetricLine:
    reading, criterion = judged.reading, judged.criterion
    low, high = None, None
    if reading.comparison is not None and reading.measured:
        own = reading.comparison.contrast(0, 0)
        low, high = finite(own.low), finite(own.high)
    further = further_units(judged, gate=GATE, planned=canary.planned_units)
    mde, days_needed = _to_tell(judged, further, window)
    return MetricLine(
        metric=criterion.metric,
        baseline=finite(reading.baseline),
        candidate=finite(reading.candidate),
        candidate_interval=(low, high),
        difference=difference(reading),
        state=judged.state,
        acceptable=criterion.acceptable.text,
        ideal=criterion.ideal.text,
        weight=criterion.weight,
        units=reading.candidate_units,
        mde=mde,
        units_needed=further,
        days_needed=days_needed,
        question=criterion.question,
        matures_days=canary.days_to_mature(criterion),
        look=look_line(judged),
    )


def _to_tell(judged: Judged, further: int | None, window: ReportWindow) -> tuple[float | None, float | None]:
    """The distance that is detectable and the days needed; None while the row is held open, which no days
    change."""
    if judged.held:
        return None, None
    if judged.standing is not None:
        return judged.standing.detectable, judged.standing.days_needed
    return detectable(judged), _days_needed(further, judged.reading.candidate_units, window.days)


def _days_needed(further: int | None, units: int, days: float) -> float | None:
    """The days at the rate of candidate units so far; None without a rate."""
    if further == 0:
        return 0.0
    if further is None or units == 0 or days <= 0:
        return None
    return round(further * days / units, 1)


def _window(sample: Sample, canary: JudgedCanary, now: float) -> ReportWindow:
    done, required = whole_days(sample.candidate_at, now), _days_required(canary)
    if len(sample.first_at) == 0:
        return ReportWindow(start=None, end=None, days=0.0, whole_days=done, days_required=required)
    start, end = float(sample.first_at[0]), float(min(sample.last_at.max(), now))
    days = round((end - start) / DAY_S, 2)
    return ReportWindow(start=start, end=end, days=days, whole_days=done, days_required=required)


def _units(sample: Sample) -> Units:
    """Distinct units by arm. A unit that moved to the candidate counts in both."""
    return Units(
        baseline=distinct(sample.unit[~sample.candidate]),
        candidate=distinct(sample.unit[sample.candidate]),
    )


def _split(sample: Sample, canary: JudgedCanary) -> Srm:
    """Check the units' first arm, by phase, against the phase's share; not where a flag system assigns."""
    if canary.assigned_outside:
        return Srm(p_value=None, blocked=False, off=True)
    shares = {**canary.shares, **sample.shares}
    first = sample.first_rows()
    phase, candidate = sample.phase[first], sample.candidate[first]
    splits = [
        Split(
            candidate=int(np.sum(candidate & (phase == k))),
            baseline=int(np.sum(~candidate & (phase == k))),
            share=shares[k],
        )
        for k in np.unique(phase).tolist()
        if 0 < shares.get(k, 0.0) < 1
    ]
    p = srm.chi_square(splits)
    mismatch = (p is not None and p < _MISMATCH) or srm.log_evidence(splits) >= srm.ALARM
    return Srm(p_value=p, blocked=mismatch)


def _elapsed(sample: Sample, now: float) -> float:
    """Days from the candidate's first exposure to `now`."""
    times = sample.candidate_at
    return max(0.0, (now - float(times.min())) / DAY_S) if len(times) else 0.0


def whole_days(times: Floats, now: float) -> int:
    """The number of finished 24-hour periods since the first of the candidate's `times` that contain any.

    A UTC day overlaps at most two such periods, so its first and last time show which had traffic.
    """
    if len(times) == 0:
        return 0
    start = times.min()
    periods = np.unique(np.floor((times - start) / DAY_S))
    return int(np.sum((periods + 1) * DAY_S <= now - start))


def _days_required(canary: JudgedCanary) -> float:
    """The minimum days, plus the time that the slowest metric takes to mature."""
    return canary.minimum_days + canary.matures_days
