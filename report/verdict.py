"""Did it win: a sample and a rollout become a report. The whole decision is made here, purely."""

from collections.abc import Callable, Sequence

import numpy as np

from report.decision import Findings, decide
from report.details import Details, MetricCourse
from report.document import MetricLine, Report, ReportWindow, Srm, Units, finite
from report.failures import failures
from report.judge import Judged, detectable, further_units, judge
from report.judged_canary import JudgedCanary
from report.metrics import Observations, observe
from report.money import money
from report.over_time import course
from report.parts import Part, break_down, difference, parts_of
from report.reading import GATE, read
from report.rubric import Criterion, sha256
from report.sample import Sample
from report.score import score
from report.spread import spreads
from report.statistics import srm
from report.statistics.phases import distinct
from report.statistics.srm import Split
from report.statistics.types import Floats

DAY_S = 86400.0
_MISMATCH = 0.001


def build(sample: Sample, rollout: JudgedCanary, *, now: float) -> Report:
    """Judge the sample by the rollout's rubric as of `now`, UTC seconds.

    Raises metrics.UnknownMetric for a criterion whose metric is neither measured nor declared.
    """
    courses: list[MetricCourse] = []

    def beside(judged: Judged, seen: Observations) -> None:
        found = course(sample, judged, seen, planned=rollout.planned_units)
        courses.extend([found] if found is not None else [])

    findings = find(sample, rollout, now=now, beside=beside)
    verdict, reasons = decide(findings)
    return Report(
        canary=rollout.canary,
        verdict=verdict,
        reasons=reasons,
        score=score(findings.judged),
        rubric_sha256=findings.rubric_sha256,
        window=findings.window,
        units=_units(sample),
        srm=findings.srm,
        metrics=findings.lines,
        segments=findings.parts.segments,
        categories=findings.parts.categories,
        details=Details(
            over_time=tuple(courses),
            spreads=spreads(sample),
            failures=failures(sample.recent),
            money=money(sample, planned=rollout.planned_units),
        ),
    )


def find(
    sample: Sample,
    rollout: JudgedCanary,
    *,
    now: float,
    beside: Callable[[Judged, Observations], None] = lambda _judged, _seen: None,
) -> Findings:
    """All that the verdict rests on; `beside` gets each row's observations too, for what is only shown.

    Row by row, so that the values of one row only are in memory.
    """
    window = _window(sample, rollout, now)
    judged: list[Judged] = []
    lines: list[MetricLine] = []
    parts: list[Part] = []
    for criterion in rollout.criteria:
        seen = observe(sample, criterion.metric, rollout.metrics, now=now)
        one = judge(criterion, read(sample, seen, planned=rollout.planned_units))
        lines.append(_line(one, rollout, window))
        parts += parts_of(sample, rollout, criterion, seen)
        beside(one, seen)
        judged.append(one.without_units())
    return Findings(
        rollout=rollout,
        judged=tuple(judged),
        lines=tuple(lines),
        parts=break_down(parts, rollout),
        srm=_split(sample, rollout),
        window=window,
        days_elapsed=_elapsed(sample, now),
        rubric_sha256=sha256(rollout.criteria, planned_units=rollout.planned_units),
    )


def _line(judged: Judged, rollout: JudgedCanary, window: ReportWindow) -> MetricLine:
    reading, criterion = judged.reading, judged.criterion
    low, high = None, None
    if reading.comparison is not None and reading.measured:
        own = reading.comparison.contrast(0, 0)
        low, high = finite(own.low), finite(own.high)
    further = further_units(judged, gate=GATE, planned=rollout.planned_units)
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
        mde=detectable(judged),
        units_needed=further,
        days_needed=_days_needed(further, reading.candidate_units, window.days),
        question=criterion.question,
        matures_days=_matures_s([criterion], rollout) / DAY_S,
    )


def _days_needed(further: int | None, units: int, days: float) -> float | None:
    """At the rate at which candidate units have come so far; None where there is no rate to go by."""
    if further == 0:
        return 0.0
    if further is None or units == 0 or days <= 0:
        return None
    return round(further * days / units, 1)


def _window(sample: Sample, rollout: JudgedCanary, now: float) -> ReportWindow:
    done, required = whole_days(sample.candidate_at, now), _days_required(rollout)
    if len(sample.first_at) == 0:
        return ReportWindow(start=None, end=None, days=0.0, whole_days=done, days_required=required)
    start, end = float(sample.first_at[0]), float(min(sample.last_at.max(), now))
    days = round((end - start) / DAY_S, 2)
    return ReportWindow(start=start, end=end, days=days, whole_days=done, days_required=required)


def _units(sample: Sample) -> Units:
    """Distinct units by arm; one that moved into the candidate as the share rose was in both."""
    return Units(
        baseline=distinct(sample.unit[~sample.candidate]),
        candidate=distinct(sample.unit[sample.candidate]),
    )


def _split(sample: Sample, rollout: JudgedCanary) -> Srm:
    """Units by the arm and phase of their first exposure, against the share of that phase."""
    shares = {**rollout.shares, **sample.shares}
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
    """Days from the candidate's first exposure until `now`."""
    times = sample.candidate_at
    return max(0.0, (now - float(times.min())) / DAY_S) if len(times) else 0.0


def whole_days(times: Floats, now: float) -> int:
    """Whole 24-hour periods since the first of the candidate's `times` that are over and had some of them.

    A UTC day reaches into two such periods at most, so its first and its last time tell which had traffic.
    """
    if len(times) == 0:
        return 0
    start = times.min()
    periods = np.unique(np.floor((times - start) / DAY_S))
    return int(np.sum((periods + 1) * DAY_S <= now - start))


def _days_required(rollout: JudgedCanary) -> float:
    """The minimum, and the time the slowest metric takes to mature on top."""
    return rollout.minimum_days + _matures_s(rollout.criteria, rollout) / DAY_S


def _matures_s(criteria: Sequence[Criterion], rollout: JudgedCanary) -> float:
    """How long the slowest of these metrics takes to mature."""
    declared = (rollout.metrics.get(one.metric) for one in criteria)
    return max((metric.matures_after_s for metric in declared if metric is not None), default=0.0)
