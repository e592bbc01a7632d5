"""A canary's plan as of now: the looks that are due, and the data that each may see."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from report.arm_sums import ArmSums
from report.contrast import Contrast, contrast, estimates
from report.details import LookPoint, RowCourse, SinceFirst
from report.document import PlanLine, finite
from report.judged_canary import JudgedCanary
from report.judged_sample import holding
from report.kept_looks import KeptLooks
from report.look import Look, RowPlan, looks_at
from report.measures import source
from report.metrics import Observations, observe
from report.novelty import since_first
from report.parts import Part, parts_of
from report.plan import ShareChange, VerdictPlan, log_end, midnights
from report.reading import MetricReading
from report.row import Held, Row, decide
from report.rubric import Criterion
from report.sample import Sample
from report.statistics.types import Floats

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

    def of(candidate_at: Floats) -> Sequence[float]:
        moments = due(canary, candidate_at, kept, now=now)
        rows = [row.metric for row in canary.criteria]
        open_ = [day for day in moments if any((metric, day) not in kept for metric in rows)]
        return sorted({moments[day] for day in (*open_, *sorted(moments)[-1:])})

    return of


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """One row of the rubric as of one moment. `sums` are those of the observations, if they are known."""

    metric: str
    sample: Sample
    moment: float
    observed: Observations
    sums: ArmSums | None = None

    def covers(self, metric: str, sample: Sample, moment: float) -> bool:
        """True if the row is the same at that moment: feedback matures even while nothing else comes."""
        same = self.metric == metric and self.sample is sample
        return same and (self.moment == moment or source(metric) is not None)

    @cached_property
    def contrast(self) -> Contrast | None:
        return contrast(self.sample, self.observed, self.sums)


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
        self._latest = _Seen(
            metric=criterion.metric, sample=sums.sample, moment=self.now, observed=observed, sums=sums
        )
        now = self._estimates(criterion, reading, sums)
        plan, looks = self._row(criterion), self.looks(criterion)
        return decide(criterion, reading, held=held, plan=plan, looks=looks, now=now)

    def without_looks(self, criterion: Criterion, reading: MetricReading, held: Held) -> Row:
        """A row of which nothing can be computed: no look of it is taken."""
        return decide(criterion, reading, held=held, plan=self._row(criterion))

    def looks(self, criterion: Criterion) -> tuple[Look, ...]:
        """The criterion's looks that are due: those that are kept, the others taken now."""
        metric = criterion.metric
        kept = {day: self.kept[metric, day] for day in self.due if (metric, day) in self.kept}
        return looks_at(self._row(criterion), self.due, kept, lambda moment: self._measure(criterion, moment))

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
        seen = self._seen(criterion, max(self.due.values()))
        return parts_of(seen.sample, self.canary, criterion, seen.observed)

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
        )

    def _row(self, criterion: Criterion) -> RowPlan:
        return RowPlan(criterion=criterion, plan=self.plan, rows=len(self.canary.criteria))

    def _measure(self, criterion: Criterion, moment: float) -> Contrast | None:
        return self._seen(criterion, moment).contrast

    def _seen(self, criterion: Criterion, moment: float) -> "_Seen":
        """The row as of a look."""
        metric = criterion.metric
        sample = holding(self.sample_until(moment), metric)
        if self._latest is None or not self._latest.covers(metric, sample, moment):
            observed = observe(sample, metric, self.canary.metrics, now=moment)
            self._latest = _Seen(metric=metric, sample=sample, moment=moment, observed=observed)
        return self._latest

    def _estimates(self, criterion: Criterion, reading: MetricReading, found: ArmSums) -> tuple[float, float]:
        """The margins' estimates of now; nothing is known of them without enough data."""
        if reading.comparison is None or not reading.enough(criterion.acceptable):
            return float("nan"), float("nan")
        bounds = (criterion.acceptable, criterion.ideal)
        by_category = len(self.sample.category.names) > 1
        acceptable, ideal = estimates(found, reading.comparison, bounds, categories=by_category)
        return acceptable, ideal


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


def new_looks(rows: Sequence[Row], kept: KeptLooks) -> list[Look]:
    """The looks that are not kept yet."""
    return [look for row in rows for look in row.looks if (look.metric, look.day) not in kept]
