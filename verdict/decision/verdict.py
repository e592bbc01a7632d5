"""Judges a sample by a canary's terms and builds the report. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np

from common.interval import finite
from records.facts.metric import JUDGED, JUDGED_PREFERENCE
from records.outcome import THROTTLED
from routing.canary import Arm, ArmName
from verdict.decision.decide import Findings, decide, score
from verdict.decision.document import (
    ByUsers,
    LookLine,
    MetricLine,
    Report,
    ReportWindow,
    SampleRatioCheck,
    Units,
    models_of,
)
from verdict.decision.figures import (
    cache_hits,
    course,
    extra_cost,
    fading,
    failures,
    located,
    money,
    since_first,
    spreads,
    user_costs,
)
from verdict.decision.judged_figures import judge_against, judge_figures
from verdict.decision.offline import offline_rows
from verdict.decision.parts import Part, break_down, difference, parts_of
from verdict.decision.plan_course import PlanCourse, new_looks, row_courses
from verdict.details import (
    CacheHits,
    Details,
    EvaluationCost,
    MetricCourse,
    Money,
    SinceFirst,
    Throttled,
    too_many_unreached,
    unreached_worth_telling,
)
from verdict.rows.comparison import GATE, arm_sums
from verdict.rows.looks import NO_LOOKS, KeptLooks, Look
from verdict.rows.reading import MetricReading, read, unread
from verdict.rows.reasons import (
    CacheDiffers,
    CostsUnknown,
    DaysDecide,
    Detail,
    EffectFades,
    GroundMoved,
    InBothArms,
    LabelsWanted,
    NobodyRead,
    OneSided,
    OutageLeftOut,
    Reason,
    RowNotComputed,
    ShareChanged,
    SilenceDecides,
    TooFewEvents,
    Unreached,
    attempt,
    left_out,
)
from verdict.rows.row import (
    Row,
    busy_user,
    capped,
    condition,
    detectable,
    further_units,
    late_feedback,
    not_by_users,
    sessions_differ,
    sessions_end_early,
    traffic_differs,
    unequal_abandonment,
    unequal_response,
    units_not_users,
    unknown_costs,
    values_by_users,
)
from verdict.rows.row import decide as decide_row
from verdict.sample.judged import holding
from verdict.sample.observations import Observations, observe
from verdict.sample.sample import Sample
from verdict.statistics import sequence
from verdict.statistics.ratio import distinct
from verdict.statistics.sequence import Split
from verdict.statistics.types import Floats
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import is_cost, must_be_known
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

_MISMATCH = 0.001

_Detail = TypeVar("_Detail")
_Else = TypeVar("_Else")

OnDecided: TypeAlias = Callable[[Sample, Row, Observations], None]


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
    unmade: list[Reason] = []

    def detail(what: Detail, make: Callable[[], _Detail], otherwise: _Else) -> _Detail | _Else:
        return left_out(what, make, otherwise, unmade)

    def add_course(seen: Sample, row: Row, observed: Observations) -> None:
        def made() -> MetricCourse | None:
            return course(seen, row, observed, planned=canary.planned_units)

        found = left_out("over_time", made, None, unmade, metric=row.metric)
        courses.extend([found] if found is not None else [])

    findings = find(sample, canary, kept=kept, now=now, on_decided=add_course)
    verdict, reasons = decide(findings)
    said = detail("judge", lambda: judge_figures(sample, canary, findings.rows, now=now), None)
    of_money, evaluation = detail("money", lambda: _money(sample, canary), (None, EvaluationCost()))
    details = Details(
        over_time=tuple(courses),
        looks=detail("looks", lambda: row_courses(findings.rows), ()),
        spreads=detail("spreads", lambda: spreads(sample), ()),
        failures=detail("failures", lambda: failures(sample.recent), None),
        money=of_money,
        evaluation=evaluation,
        where=detail("where", lambda: located(sample), ()),
        unpriced=tuple(row.metric for row in findings.rows if isinstance(row.held, CostsUnknown)),
        unlabelled=tuple(row.metric for row in findings.rows if isinstance(row.held, LabelsWanted)),
        judged_worse=tuple(
            row.metric
            for row in findings.rows
            if isinstance(row.held, LabelsWanted) and row.held.against is not None
        ),
        unknown_costs=unknown_costs(canary.criteria, sample),
        cache_hits=findings.cache_hits,
        throttled=findings.throttled,
        since_first=findings.since_first,
        too_few=findings.parts.to_come(),
        offline=offline_rows(canary.offline, None),
    )
    report = Report(
        canary=canary.name,
        verdict=verdict,
        reasons=(*reasons, *findings.notes, *unmade),
        score=score(findings.rows),
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
    taken = [look for row in findings.rows for look in row.looks]
    return report, new_looks([*taken, *findings.parts.looks], kept)


def _money(sample: Sample, canary: JudgedCanary) -> tuple[Money | None, EvaluationCost]:
    """What a rollout would cost, and what the sample itself says of the evaluation's cost."""
    costs = user_costs(sample)
    evaluation = EvaluationCost(
        judge_usd=sum(each.cost_usd for each in sample.judged.exchanges),
        candidate_extra_usd=extra_cost(costs),
    )
    return money(costs, planned=canary.planned_units), evaluation


def find(
    sample: Sample,
    canary: JudgedCanary,
    *,
    now: float,
    kept: KeptLooks = NO_LOOKS,
    on_decided: OnDecided = lambda _sample, _row, _observed: None,
) -> Findings:
    """The basis of the verdict. `on_decided` gets each row with its observations and their sample.

    Works criterion by criterion, so that only one metric's values are in memory. A row of which nothing can
    be computed is open, and does not take the others along.
    """
    for criterion in canary.criteria:
        must_be_known(criterion.metric, canary.metrics)
    window = _window(sample, canary, now)
    planned = None
    if canary.plan is not None:
        planned = PlanCourse(sample=sample, canary=canary, plan=canary.plan, kept=kept, now=now)
    caveats: list[Reason | None] = [unequal_abandonment(sample, canary.criteria), traffic_differs(sample)]
    if planned is not None:
        caveats += [ShareChanged(change=change) for change in planned.late_changes()]
    caveats += _moved(canary, window)
    caveats += [OutageLeftOut(outage=sample.outage)] if sample.outage is not None else []
    rows = [
        _row(sample, canary, criterion, planned, window, now=now, on_decided=on_decided)
        for criterion in canary.criteria
    ]
    last = max(planned.due, default=None) if planned is not None else None
    days, lines = [each for row in rows for each in row.days], tuple(row.line for row in rows)
    unmade: list[Reason] = []
    hits = left_out("cache_hits", lambda: _cache_hits(sample, canary, lines), None, unmade)
    caveats += [
        *(each for row in rows for each in row.caveats),
        *_untold(fading(days), rows),
        sessions_end_early(sample, [row.row for row in rows], canary.metrics),
        _cache_differs(hits, canary),
    ]
    notes: list[Reason | None] = [
        _unread(sample),
        busy_user(sample),
        *unmade,
        *(note for row in rows for note in row.notes),
    ]
    (caveats if sample.too_many_flipped else notes).append(_flips(sample))
    units = units_not_users(sample, by_session=canary.by_session)
    (caveats if units is not None and units.understated else notes).append(units)
    return Findings(
        canary=canary,
        rows=tuple(found.row for found in rows),
        lines=lines,
        parts=break_down([part for row in rows for part in row.parts], canary, last),
        srm=_split(sample, canary),
        window=window,
        days_elapsed=_elapsed(sample, now),
        unreached=_unreached(sample),
        throttled=_throttled(sample),
        too_many_unreached=too_many_unreached(sample.unreached, sample.candidate_exchanges),
        rubric_sha256=canary.sha256,
        plan=planned.line() if planned is not None else None,
        caveats=tuple(caveat for caveat in caveats if caveat is not None),
        notes=tuple(note for note in notes if note is not None),
        since_first=tuple(days),
        cache_hits=hits,
    )


def _moved(canary: JudgedCanary, window: ReportWindow) -> list[GroundMoved]:
    """The models that changed under their names during the run."""
    arms: dict[ArmName, Arm | None] = {"baseline": canary.baseline, "candidate": canary.candidate}
    start, end = window.start, window.end
    if start is None or end is None:
        return []
    return [
        GroundMoved(arm=arm, change=change, day=1 + int((change.since - start) // DAY_S))
        for arm, known in arms.items()
        for change in canary.model_changes
        if known is not None and change.model == f"{known.provider}/{known.model}"
        if start < change.since <= end
    ]


def _untold(found: Sequence[EffectFades], rows: "Sequence[_RowFindings]") -> list[EffectFades]:
    """The caveats of rows that do not stay open for the same reason."""
    open_ = {
        row.line.metric
        for row in rows
        if isinstance(row.row.held, DaysDecide) and row.row.held.found.kind in ("fades", "late")
    }
    return [each for each in found if each.since.metric not in open_]


def _cache_differs(found: CacheHits | None, canary: JudgedCanary) -> CacheDiffers | None:
    """The caveat of the rows on costs; None if the arms' shares do not differ."""
    if found is None or not found.different:
        return None
    metrics = [row.metric for row in canary.criteria if is_cost(row.metric, canary.metrics)]
    return CacheDiffers(metrics=tuple(metrics), hits=found)


def _cache_hits(sample: Sample, canary: JudgedCanary, lines: Sequence[MetricLine]) -> CacheHits | None:
    costs = [line for line in lines if is_cost(line.metric, canary.metrics)]
    return cache_hits(sample, costs, canary.candidate_price)


@dataclass(frozen=True, kw_only=True)
class _RowFindings:
    """One row, decided, with what else is found of it."""

    row: Row
    line: MetricLine
    parts: Sequence[Part] = ()
    days: Sequence[SinceFirst] = ()
    caveats: Sequence[Reason | None] = ()
    notes: Sequence[Reason] = ()


def _row(
    sample: Sample,
    canary: JudgedCanary,
    criterion: Criterion,
    planned: PlanCourse | None,
    window: ReportWindow,
    *,
    now: float,
    on_decided: OnDecided,
) -> _RowFindings:
    """The criterion, or that nothing can be computed of it and why."""

    def made() -> _RowFindings:
        seen = holding(sample, criterion, canary.metrics, now=now)
        observed = observe(seen, criterion.metric, canary.metrics, now=now)
        sums = arm_sums(seen, observed)
        reading = read(seen, observed, planned=canary.planned_units, sums=sums)
        enough = reading.enough(criterion.acceptable)
        held = condition(criterion, sample, observed, canary.metrics, enough=enough, events=sums.events)
        if isinstance(held, LabelsWanted) and criterion.metric == JUDGED_PREFERENCE:
            held = replace(held, against=judge_against(sample, criterion, planned=canary.planned_units))
        if planned is None:
            row = decide_row(criterion, reading, held=held)
            on_decided(seen, row, observed)
        else:
            row = planned.row(criterion, reading, held, observed, sums)
        own = replace(row, criterion=replace(criterion, assisted=False))
        if criterion.assisted:  # parts, days and who responds are those of the ratings themselves
            seen, observed = sample, observe(sample, criterion.metric, canary.metrics, now=now)
        said = capped(observed, criterion), late_feedback(observed, criterion)
        unequal = None if isinstance(row.held, SilenceDecides) else unequal_response(seen, observed, row)
        notes: list[Reason] = [each for each in said if each is not None]
        told = criterion.metric not in JUDGED  # the judge's own figures have its categories
        return _RowFindings(
            line=_line(row, canary, window),
            parts=_parts(planned, sample, canary, own, observed) if told else (),
            days=_since_first(planned, sample, own.criterion, observed, notes) if told else (),
            caveats=(
                unequal,
                not_by_users(sums.sample, reading, row, sums, rows=len(canary.criteria)),
                sessions_differ(criterion, sums, canary.metrics),
            ),
            notes=notes,
            row=row.without_units(),
        )

    def unknown(why: str) -> _RowFindings:
        held = RowNotComputed(metric=criterion.metric, why=why)
        reading = unread(*_responding(sample, criterion))
        if planned is None:
            row = decide_row(criterion, reading, held=held)
        else:
            row = planned.without_looks(criterion, reading, held)
        return _RowFindings(row=row, line=_line(row, canary, window))

    return attempt(f"the row on {criterion.metric}", made, unknown)


def _unread(sample: Sample) -> NobodyRead | None:
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
    return None if read or not sample.candidate.any() else NobodyRead()


def _flips(sample: Sample) -> InBothArms | None:
    """The units that were given both arms; None without one."""
    return InBothArms(users=sample.flipped, of=sample.had_candidate) if sample.flipped else None


def _unreached(sample: Sample) -> Unreached | None:
    """The candidate's exchanges that did not reach it, but for those over its provider's quota; None if they
    are hardly any."""
    found, of = dict(sample.unreached), sample.candidate_exchanges
    found.pop(THROTTLED, None)
    return Unreached(found=found, of=of) if unreached_worth_telling(found, of) else None


def _throttled(sample: Sample) -> Throttled | None:
    """Both arms' requests over their provider's rate or quota; None without one."""
    mine = sample.unreached.get(THROTTLED, 0)
    if not mine and not sample.baseline_throttled:
        return None
    return Throttled(
        candidate=mine,
        candidate_of=sample.candidate_exchanges,
        baseline=sample.baseline_throttled,
        baseline_of=sample.baseline_exchanges,
    )


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
    row: Row,
    observed: Observations,
) -> Sequence[Part]:
    """The row in every segment and category; nothing while its values cannot decide it at all."""
    if isinstance(row.held, CostsUnknown | OneSided | TooFewEvents):
        return ()
    if planned is not None:
        return planned.parts(row.criterion, observed)
    return parts_of(sample, canary, row.criterion, observed)


def _since_first(
    planned: PlanCourse | None,
    sample: Sample,
    criterion: Criterion,
    observed: Observations,
    notes: list[Reason],
) -> Sequence[SinceFirst]:
    """The row by day since a user's first exposure, if that is known."""

    def by_day() -> SinceFirst | None:
        if planned is not None:
            return planned.since_first(criterion)
        return since_first(sample, observed, criterion)

    since = left_out("by_day", by_day, None, notes, metric=criterion.metric)
    return [since] if since is not None else []


def _line(row: Row, canary: JudgedCanary, window: ReportWindow) -> MetricLine:
    reading, criterion = row.reading, row.criterion
    low, high, candidate = None, None, reading.candidate
    if reading.comparison is not None and reading.measured:
        own = reading.comparison.contrast(0, 0)
        if criterion.metric == JUDGED_PREFERENCE:
            own = own.within(0.0, 1.0)
            candidate = own.estimate
        low, high = finite(own.low), finite(own.high)
    further = further_units(row, gate=GATE, planned=canary.planned_units)
    mde, days_needed = _to_tell(row, further, window)
    metric = canary.metrics.get(criterion.metric)
    return MetricLine(
        metric=criterion.metric,
        baseline=finite(reading.baseline),
        candidate=finite(candidate),
        candidate_interval=(low, high),
        difference=difference(reading),
        state=row.state,
        acceptable=criterion.acceptable.text,
        ideal=criterion.ideal.text,
        weight=criterion.weight,
        units=reading.candidate_units,
        mde=mde,
        units_needed=further,
        days_needed=days_needed,
        question=criterion.question,
        matures_days=canary.days_to_mature(criterion),
        look=_look_line(row),
        kind=metric.kind if metric is not None and not metric.cost_per else None,
        per=metric.per if metric is not None and not metric.cost_per else None,
        cost_per=metric.cost_per if metric is not None else "",
        by_users=_by_users(reading),
    )


def _by_users(reading: MetricReading) -> ByUsers | None:
    candidate, baseline = values_by_users(reading)
    if candidate is None:
        return None
    return ByUsers(candidate=finite(candidate), baseline=finite(baseline))


def _look_line(row: Row) -> LookLine | None:
    """What the looks say of a row; None without a plan, open ends and no chance while the row is held."""
    found = row.standing
    if found is None:
        return None
    line = LookLine(
        day=found.day,
        low=finite(found.acceptable.low),
        high=finite(found.acceptable.high),
        p=found.p,
        risk=found.risk,
        boundary=found.boundary,
        chance=found.chance,
        halfway=found.halfway,
    )
    held = row.state == "NODATA" or row.held is not None
    if not held:
        return line
    return replace(line, low=None, high=None, p=None, boundary=None, chance=None, halfway=None)


def _to_tell(row: Row, further: int | None, window: ReportWindow) -> tuple[float | None, float | None]:
    """The distance that is detectable and the days needed; None while the row is held open, which no days
    change."""
    if row.held is not None:
        return None, None
    if row.standing is not None:
        return row.standing.detectable, row.standing.days_needed
    return detectable(row), _days_needed(further, row.reading.candidate_units, window.days)


def _days_needed(further: int | None, units: int, days: float) -> float | None:
    """The days at the rate of candidate units so far; None without a rate."""
    if further == 0:
        return 0.0
    if further is None or units == 0 or days <= 0:
        return None
    return round(further * days / units, 1)


def _window(sample: Sample, canary: JudgedCanary, now: float) -> ReportWindow:
    # The slowest metric takes its time to mature.
    done, required = whole_days(sample.candidate_at, now), canary.minimum_days + canary.matures_days
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


def _split(sample: Sample, canary: JudgedCanary) -> SampleRatioCheck:
    """Check the units' first arm, by phase, against the phase's share; not where a flag system assigns."""
    if canary.assigned_outside:
        return SampleRatioCheck(p_value=None, blocked=False, off=True)
    shares = {**canary.shares, **sample.shares}
    first = sample.first_rows
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
    p = sequence.chi_square(splits)
    mismatch = (p is not None and p < _MISMATCH) or sequence.split_evidence(splits) >= sequence.ALARM
    return SampleRatioCheck(p_value=p, blocked=mismatch)


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
