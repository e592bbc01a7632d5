"""A canary's plan as of now: the looks that are due, and the data that each may see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Protocol, TypeAlias

from scipy import optimize

from common.interval import finite
from records.facts.metric import JUDGED
from verdict.decision.document import MetricLine, PlanLine
from verdict.decision.figures import since_first
from verdict.decision.parts import Part, in_part, parts_of
from verdict.details import LookPoint, RowCourse, SinceFirst
from verdict.rows.comparison import ArmSums
from verdict.rows.looks import KeptLooks, Look, RowPlan, looks_at, may_be_far_beyond
from verdict.rows.margins import Contrast, contrast
from verdict.rows.reading import MetricReading
from verdict.rows.reasons import LogEnds, NotExpected, PlanUsedUp, Reason, RiskTaken
from verdict.rows.row import Held, Row, decide
from verdict.sample.judged import holding
from verdict.sample.observations import Observations, observe
from verdict.sample.sample import Sample
from verdict.statistics.boundaries import boundaries, crossings
from verdict.statistics.types import Floats
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import Unit, source
from verdict.terms.plan import LIGHT_RISK, ShareChange, VerdictPlan, log_end, midnights
from verdict.terms.rubric import Bound, Criterion, parse_bound, scale_of, twice

_LARGE = 100_000
"""From so many rows on, only the samples of a few looks are kept in memory."""

_MOST = 2


def due(canary: JudgedCanary, candidate_at: Floats, kept: KeptLooks, *, now: float) -> Mapping[int, float]:
    """The moment of every look that is due by `now`, by day. `candidate_at` is as in `Sample.candidate_at`.

    A kept look stays where it was, whatever came or expired later. A run that is over has no look after its
    traffic.
    """
    if canary.plan is None:
        return {}
    if canary.over:
        now = min(now, log_end(float(candidate_at.max(initial=0.0))))
    found = midnights(candidate_at.tolist(), canary.plan.looks("refuse"), now=now)
    return {**found, **{day: look.at for (_, day), look in kept.items()}}


def cuts(canary: JudgedCanary, kept: KeptLooks, *, now: float) -> Callable[[Floats], Sequence[float]]:
    """From times of candidate traffic, the midnights up to which data are needed: those of the looks that
    are not kept, and the last one's."""
    plan = canary.plan
    rows = [] if plan is None else [each.name for row in canary.criteria for each in _rows(canary, plan, row)]

    def of(candidate_at: Floats) -> Sequence[float]:
        moments = due(canary, candidate_at, kept, now=now)
        open_ = [day for day in moments if any((name, day) not in kept for name in rows)]
        return sorted({moments[day] for day in (*open_, *sorted(moments)[-1:])})

    return of


def _rows(canary: JudgedCanary, plan: VerdictPlan, criterion: Criterion) -> list[RowPlan]:
    """The criterion's row under the plan, then that in each critical part: the parts share one risk of a
    refusal. The judge's own figures have the judge's categories, so they have no parts.
    """
    row = RowPlan(criterion=criterion, plan=plan, rows=len(canary.criteria))
    places = () if criterion.metric in JUDGED else canary.critical_parts
    equal = criterion.acceptable.as_baseline
    far = twice(criterion.acceptable, scale_of(criterion.metric, canary.metrics)) or equal
    inside = replace(criterion, acceptable=far, ideal=equal, assisted=False)
    of_part = replace(row, criterion=inside, rows=row.rows * max(len(places), 1))
    return [row, *(replace(of_part, part=place) for place in places)]


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One row of the rubric as of one moment. `sums` are those of the observations, if they are known,
    `opinions` those that they are estimated from."""

    metric: str
    sample: Sample
    moment: float
    observed: Observations
    sums: ArmSums | None = None
    opinions: tuple[Sample, Observations] | None = None

    def covers(self, metric: str, sample: Sample, moment: float) -> bool:
        """True if the row is the same at that moment: feedback matures even while nothing else comes."""
        same = self.metric == metric and self.sample is sample
        return same and (self.moment == moment or source(metric) is not None)

    @cached_property
    def contrast(self) -> Contrast | None:
        return contrast(self.sample, self.observed, self.sums, self.opinions)


@dataclass(slots=True)
class PlanCourse:
    """The looks of one canary's plan on a sample."""

    sample: Sample
    canary: JudgedCanary
    plan: VerdictPlan
    kept: KeptLooks
    now: float
    due: Mapping[int, float] = field(init=False)
    _samples: dict[float, Sample] = field(init=False, default_factory=dict)
    _looks: dict[str, Mapping[str, tuple[Look, ...]]] = field(init=False, default_factory=dict)
    _latest: "_Seen | None" = field(init=False, default=None)
    """What was seen last of a row: its standing, its looks and its parts share it."""

    def __post_init__(self) -> None:
        self.due = due(self.canary, self.sample.candidate_at, self.kept, now=self.now)

    def row(
        self,
        criterion: Criterion,
        reading: MetricReading,
        held: Held | None,
        observed: Observations,
        sums: ArmSums,
    ) -> Row:
        """The row by its looks, from its observations of now and their sums."""
        if not criterion.assisted:
            self._latest = _Seen(
                metric=criterion.metric, sample=sums.sample, moment=self.now, observed=observed, sums=sums
            )
        plan, looks = self._row(criterion), self.looks(criterion)
        return decide(criterion, reading, held=held, plan=plan, looks=looks)

    def without_looks(self, criterion: Criterion, reading: MetricReading, held: Held) -> Row:
        """A row of which nothing can be computed: no look of it is taken."""
        return decide(criterion, reading, held=held, plan=self._row(criterion))

    def looks(self, criterion: Criterion) -> tuple[Look, ...]:
        """The criterion's looks that are due: those that are kept, the others taken now."""
        return self.all_looks(criterion)[criterion.metric]

    def rows(self, criterion: Criterion) -> Sequence[RowPlan]:
        """The criterion's row, then that in each critical part."""
        return _rows(self.canary, self.plan, criterion)

    def all_looks(self, criterion: Criterion) -> Mapping[str, tuple[Look, ...]]:
        """The same, by the row's name, with those at the row in every critical part."""
        if criterion.metric not in self._looks:
            rows = looks_at(self.rows(criterion), self.due, self.kept, self._measure)
            self._looks[criterion.metric] = rows
        return self._looks[criterion.metric]

    def sample_until(self, moment: float) -> Sample:
        if moment not in self._samples:
            if len(self.sample.unit) >= _LARGE and len(self._samples) >= _MOST:
                del self._samples[next(iter(self._samples))]
            self._samples[moment] = self.sample.until(moment)
        return self._samples[moment]

    def parts(self, criterion: Criterion, observed: Observations) -> list[Part]:
        """This row in every segment and category, at the latest look's data."""
        if not self.due:
            return parts_of(self.sample, self.canary, criterion, observed)
        taken, rows = self.all_looks(criterion), self.rows(criterion)[1:]
        looks = {row.part: taken[row.name] for row in rows}
        far = {row.part for row in rows if may_be_far_beyond(row, taken[row.name])}
        seen = self._seen(criterion, max(self.due.values()))
        return [
            replace(part, looks=looks.get(part.where, ()), may_be_far_beyond=part.where in far)
            for part in parts_of(seen.sample, self.canary, criterion, seen.observed)
        ]

    def since_first(self, criterion: Criterion) -> SinceFirst | None:
        """This row by day since a user's first exposure, at the latest look's data; None before a look."""
        if not self.due:
            return None
        seen = self._seen(criterion, max(self.due.values()))
        return since_first(seen.sample, seen.observed, criterion)

    def late_changes(self) -> list[ShareChange]:
        """The changes of the share by hand since the first look that could ship."""
        first = self.due.get(self.plan.first_day)
        return [change for change in self.canary.share_changes if first is not None and change.at >= first]

    def line(self) -> PlanLine:
        """The plan for the report."""
        made = tuple(sorted(self.due))
        return PlanLine(
            planned_days=self.plan.days,
            minimum_days=self.canary.minimum_days,
            risk=self.plan.risk,
            first_look=self.plan.first_day,
            looks=made,
            next_look=None if self.canary.over else self.plan.next_look(made[-1] if made else 0),
            spent_before=self.canary.spent_before,
        )

    def _row(self, criterion: Criterion) -> RowPlan:
        return self.rows(criterion)[0]

    def _measure(self, row: RowPlan, moment: float) -> Contrast | None:
        seen = self._seen(row.criterion, moment)
        if row.part is None:
            return seen.contrast
        inside = in_part(seen.sample, seen.observed, *row.part)
        return None if inside is None else contrast(seen.sample, inside)

    def _seen(self, criterion: Criterion, moment: float) -> "_Seen":
        """The row as of a look."""
        metric, metrics, whole = criterion.metric, self.canary.metrics, self.sample_until(moment)
        sample = holding(whole, criterion, metrics, now=moment)
        if self._latest is None or not self._latest.covers(metric, sample, moment):
            said = (whole, observe(whole, metric, metrics, now=moment)) if criterion.assisted else None
            observed = observe(sample, metric, metrics, now=moment)
            self._latest = _Seen(
                metric=metric, sample=sample, moment=moment, observed=observed, opinions=said
            )
        return self._latest


def row_courses(rows: Sequence[Row]) -> tuple[RowCourse, ...]:
    """Each row's looks that had enough units."""
    found = [RowCourse(metric=row.metric, points=_points(row.looks)) for row in rows]
    return tuple(each for each in found if each.points)


def _points(looks: Sequence[Look]) -> tuple[LookPoint, ...]:
    return tuple(
        LookPoint(
            day=look.day,
            date=datetime.fromtimestamp(look.at, UTC).date().isoformat(),
            units=look.units,
            low=finite(look.seen.acceptable.low),
            estimate=look.seen.acceptable.estimate,
            high=finite(look.seen.acceptable.high),
        )
        for look in looks
        if look.seen is not None
    )


def new_looks(taken: Sequence[Look], kept: KeptLooks) -> list[Look]:
    """The looks that are not kept yet."""
    return [look for look in taken if (look.metric, look.day) not in kept]


# What is to be expected of a plan: whether it gets there, and what its risk lets pass.


HOPELESS = 0.1
"""Below this chance by the last look, even halfway between the bounds, a plan decides in nobody's favour."""

_SELDOM = 0.05


def end_of(plan: PlanLine) -> int:
    """The day of the look that chances are told for: the planned one, and after it the extension's last."""
    last = plan.looks[-1] if plan.looks else 0
    return plan.planned_days if last < plan.planned_days else 2 * plan.planned_days


def may_ship(plan: PlanLine) -> bool:
    """True once a look has been made that may ship."""
    return bool(plan.looks) and plan.looks[-1] >= plan.first_look


def outlook(plan: PlanLine | None, lines: Sequence[MetricLine]) -> list[Reason]:
    """That the plan is used up, or will not decide in the candidate's favour; nothing otherwise. That is no
    test: to say it spends no risk."""
    open_ = [line for line in lines if line.state in ("INCONCLUSIVE", "NODATA")]
    if plan is None or not open_:
        return []
    if plan.looks and plan.looks[-1] >= 2 * plan.planned_days:
        return [PlanUsedUp(open=tuple(line.metric for line in open_))]
    chances = [
        (line.look.halfway, line.metric) for line in open_ if line.look and line.look.halfway is not None
    ]
    if not chances or not may_ship(plan):
        return []
    least, metric = min(chances)
    return [NotExpected(metric=metric, chance=least)] if least < HOPELESS else []


def look_left_out(plan: PlanLine | None, whole_days: int, last_at: float) -> list[Reason]:
    """Of a log: that a day is over, but not the UTC day of its look, because the log ends before; nothing
    otherwise. `last_at` is the log's last exchange, UTC seconds."""
    due = None if plan is None else plan.next_look
    if due is None or whole_days < due or log_end(last_at) > last_at:
        return []
    return [LogEnds(at=last_at, day=due)]


def often_missed(plan: VerdictPlan, risk: float) -> float:
    """The miss of a bound, in standard errors of day D, at which a candidate still ships 1 time in 20."""
    days = [float(day) for day in plan.looks("ship") if day <= plan.days]
    bounds = boundaries([plan.spent("ship", int(day), risk) for day in days], days)

    def beyond(miss: float) -> float:
        return sum(crossings(bounds, days, -miss)) - _SELDOM

    if beyond(0.0) <= 0:
        return 0.0
    root: Any = optimize.brentq(beyond, 0.0, 5.0, xtol=1e-4)
    return float(root)


def taken_risk(canary: JudgedCanary, rows: Sequence[Row] = ()) -> list[Reason]:
    """The caveat of rows whose risk is high: what was accepted beforehand. `rows` give the misses in the
    metrics' units, as far as they have data."""
    plan = canary.plan
    if plan is None:
        return []
    by_risk: dict[float, list[str]] = {}
    for row in canary.criteria:
        risk = plan.risk if row.risk is None else row.risk
        if risk >= LIGHT_RISK:
            by_risk.setdefault(risk, []).append(row.metric)
    return [_taken(plan, risk, metrics, rows) for risk, metrics in by_risk.items()]


def _taken(plan: VerdictPlan, risk: float, metrics: Sequence[str], rows: Sequence[Row]) -> RiskTaken:
    miss = often_missed(plan, risk)
    misses = tuple(
        (row.metric, row.criterion.acceptable.text, miss * row.standing.planned_se)
        for row in rows
        if row.metric in metrics and row.standing and row.standing.planned_se is not None
    )
    return RiskTaken(risk=risk, metrics=tuple(metrics), miss=miss, day=plan.days, misses=misses)


# What the looks of a plan leave possible, as values of the metric instead of margins to its bound.


Ends: TypeAlias = tuple[float | None, float | None]
"""The lowest and the highest value; None if open."""

NOT_NEGATIVE = ("share", "s")


class Margins(Protocol):
    """The margin to the acceptable bound, 0 or more keeping it; None if open."""

    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def value_at(margin: float | None, bound: Bound, baseline: float | None) -> float | None:
    """The metric's value with this margin to its bound; None if open, or without a baseline to relate to."""
    if margin is None or (bound.relative and baseline is None):
        return None
    at = bound.at(baseline or 0.0)
    return at + margin if bound.higher_is_better else at - margin


def possible(margins: Margins, line: MetricLine) -> Ends:
    """The values of the line's metric within these margins, none that the metric cannot have."""
    bound, unit = parse_bound(line.acceptable), line.unit
    ends = [value_at(end, bound, line.baseline) for end in (margins.low, margins.high)]
    low, high = ends if bound.higher_is_better else reversed(ends)
    return _inside(low, unit), _inside(high, unit)


def look_ends(line: MetricLine) -> Ends:
    """The values that the looks leave possible; both open without a look."""
    return (None, None) if line.look is None else possible(line.look, line)


def _inside(value: float | None, unit: Unit) -> float | None:
    if value is None or unit not in NOT_NEGATIVE:
        return value
    return max(0.0, min(value, 1.0) if unit == "share" else value)
