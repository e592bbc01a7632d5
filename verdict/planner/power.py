"""The power of a rubric before the run: how likely it ships a good candidate at this traffic.

It rests on stated assumptions about users, which only the run can check.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy import special

from records.facts.metric import BUILT_IN, Metric
from verdict.planner.assumptions import (
    Assumptions,
    BelievedMetric,
    ExpectedTraffic,
    Exposure,
    ValuesPerUser,
    believed,
    events_per_user,
    is_opinion,
    is_share,
    part_names,
    values_per_user,
)
from verdict.rows.comparison import ALPHA, FEW, FEWEST_EVENTS, GATE
from verdict.rows.reading import least_silence
from verdict.statistics import sequence
from verdict.statistics.boundaries import Shape, boundaries, crossings
from verdict.statistics.sequence import CountLook, chance_of_fewer, chance_of_more
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import DAY_S, VerdictPlan
from verdict.terms.rubric import DEFAULT_PLANNED_UNITS, Criterion, MetricRange, scale_of, twice

SURE = 0.995
"""From this chance on, 100 in 100 as it is told, nothing needs to be said."""

_SAME = 0.999
"""From this ratio of information on, a look tells nothing new and is no look of its own."""


_LABEL_SPREAD = 0.4
"""The standard deviation of a label beyond what a judge of usual worth predicts; people tie in a fifth."""


def labels_to_ship(row: Criterion, prefers: float, *, risk: float) -> int | None:
    """The labels of randomly drawn pairs at which one look lets the row pass in four of five runs, if people
    prefer the candidate in this share; None for a share that does not keep the bound. `risk` is that of a row
    without its own."""
    distance = prefers - row.acceptable.value
    if distance <= 0:
        return None
    risk = risk if row.risk is None else row.risk
    return math.ceil(((float(special.ndtri(1 - risk)) + sequence.POWER_Z) * _LABEL_SPREAD / distance) ** 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """One criterion's chance to pass by the end, and the number of candidate units behind it. `unseen`: of an
    opinion under a plan, the part of the candidate's that may be missing by the end without being seen 4
    times in 5."""

    metric: str
    units: int
    power: float
    unseen: float | None = None


USUAL_PART = 0.1
"""The share of users that a critical part is taken to have, where nobody said and nothing was recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartChance:
    """What a critical part's users can decide, in which the candidate is taken to be as everywhere.

    `name` is `category:refund` or `segment:plan=enterprise`. `share` is its part of all users. `metric` is
    the row with the fewest values, and `units` the expected users with one in the smaller arm. `enough` is
    the chance of a look at every row, and `settled` the chance that these rule out that a bound is missed by
    twice its room; `doubtful` is the row that least likely does, "" where none has to.
    """

    name: str
    share: float
    metric: str
    units: float
    enough: float
    settled: float = 1.0
    doubtful: str = ""

    @property
    def chance(self) -> float:
        """The chance that it has enough users for both."""
        return self.enough * self.settled

    @property
    def words(self) -> str:
        """The part in words: category refund."""
        return self.name.replace(":", " ", 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """The chance that all criteria pass and all critical `parts` have enough users, as if these were
    independent, and the chance of each."""

    ship: float
    criteria: tuple[Chance, ...]
    parts: tuple[PartChance, ...] = ()

    @property
    def weakest(self) -> Chance:
        """The criterion with the lowest chance."""
        return min(self.criteria, key=lambda chance: chance.power)

    @property
    def scarcest(self) -> PartChance | None:
        """The critical part that least likely has enough users; None where that is certain enough."""
        return min(
            (part for part in self.parts if part.chance < SURE), key=lambda part: part.chance, default=None
        )

    def among(self, parts: Sequence[PartChance]) -> "Power":
        """The same with critical parts."""
        return replace(self, ship=self.ship * math.prod(part.chance for part in parts), parts=tuple(parts))


def power_of_plan(
    criteria: Sequence[Criterion],
    plan: VerdictPlan,
    course: ExpectedTraffic,
    *,
    assumptions: Assumptions | None = None,
    metrics: Mapping[str, Metric] = BUILT_IN,
    until: int | None = None,
) -> Power:
    """The chance that this rubric ships a candidate with the assumed true values at a look of the plan, up to
    the day `until` (None: the planned days, without the extension)."""
    end = plan.days if until is None else until
    rows = _rows(criteria, course.requests, assumptions or Assumptions(), metrics)
    return _product([_of_plan(row, plan, course, end) for row in rows])


def power_of_sequence(
    criteria: Sequence[Criterion],
    course: ExpectedTraffic,
    days: float,
    *,
    assumptions: Assumptions | None = None,
    metrics: Mapping[str, Metric] = BUILT_IN,
    planned_units: int = DEFAULT_PLANNED_UNITS,
) -> Power:
    """The chance without a plan: that the confidence sequence passes after these days."""
    rows = _rows(criteria, course.requests, assumptions or Assumptions(), metrics)
    return _product([_of_sequence(row, course.until(days), planned_units) for row in rows])


def _product(chances: Sequence[Chance]) -> Power:
    return Power(ship=math.prod(chance.power for chance in chances), criteria=tuple(chances))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """One criterion under the assumptions. `share`: its single values are 0 or 1. `scale`: that of values
    with two ends. `events`: of a cost per event, the events of one user. `silent`: the variance of the number
    of opinions that a user gives, relative to its mean; 0 where each request has one."""

    criterion: Criterion
    truth: BelievedMetric
    sizes: ValuesPerUser
    alike: float
    matures_days: float
    share: bool
    scale: MetricRange | None
    events: float | None = None
    silent: float = 0.0

    @property
    def distance(self) -> float:
        """The candidate's value beyond the bound, in the better direction."""
        bound = self.criterion.acceptable
        return (self.truth.value - bound.at(self.truth.baseline)) * (1 if bound.higher_is_better else -1)

    @property
    def variance(self) -> float:
        """K·Var of the candidate's value over K units with a value."""
        spread = 1.0 if self.criterion.metric == "cost_total" else self.sizes.variance(self.alike)
        return self.truth.sd**2 * spread

    def units(self, exposure: Exposure) -> float:
        """The candidate's units with a value."""
        return exposure.candidate * self.sizes.answers

    def telling(self, exposure: Exposure) -> float:
        """The candidate's units with a value that would tell as much if the baseline were known."""
        bound = self.criterion.acceptable
        against = bound.factor**2 * exposure.odds if bound.relative else 0.0
        return self.units(exposure) / (1 + against)

    def unheard(self, exposure: Exposure) -> float:
        """The standard error of the candidate's number of opinions for the baseline's, relative to it."""
        return math.sqrt(self.silent * (1 / exposure.candidate + 1 / max(exposure.baseline, 1.0)))

    def passes_gate(self, exposure: Exposure) -> bool:
        """Enough units have a value: the candidate's, and for a bound on the baseline, the baseline's. A cost
        per event needs events of both arms."""
        relative = self.criterion.acceptable.relative
        both = min(exposure.candidate, exposure.baseline)
        if self.events is not None and both * self.events < FEWEST_EVENTS:
            return False
        return (both if relative else exposure.candidate) * self.sizes.answers >= GATE


def _rows(
    criteria: Sequence[Criterion], requests: float, assumptions: Assumptions, metrics: Mapping[str, Metric]
) -> list[_Row]:
    found = []
    for criterion in criteria:
        truth, metric = believed(criterion, assumptions, metrics), metrics.get(criterion.metric)
        scale = scale_of(criterion.metric, metrics)
        found.append(
            _Row(
                criterion=criterion,
                truth=truth,
                sizes=values_per_user(criterion, requests, assumptions, metrics),
                alike=assumptions.alike,
                matures_days=metric.matures_after_s / DAY_S if metric is not None else 0.0,
                share=is_share(criterion.metric, metrics),
                scale=scale if scale is not None and scale.bounded else None,
                events=events_per_user(criterion, requests, assumptions, metrics),
                silent=_silent(criterion, truth, requests, metrics),
            )
        )
    return found


def _silent(
    criterion: Criterion, truth: BelievedMetric, requests: float, metrics: Mapping[str, Metric]
) -> float:
    """Each of a user's requests has an opinion, or has none; how many requests there are is known."""
    if not is_opinion(criterion.metric, metrics) or not 0 < truth.response < 1:
        return 0.0
    return (1 / truth.response - 1) / requests


def _of_sequence(row: _Row, exposure: Exposure, planned: float) -> Chance:
    units = row.units(exposure)
    if not row.passes_gate(exposure):
        return _chance(row, exposure, 0.0)
    se = math.sqrt(row.variance / row.telling(exposure))
    if se == 0:
        return _chance(row, exposure, float(row.distance >= 0))
    c = sequence.multiplier(units * sequence.tuning(alpha=ALPHA, planned=planned), ALPHA)
    return _chance(row, exposure, float(special.ndtr(row.distance / se - c)))


def _of_plan(row: _Row, plan: VerdictPlan, course: ExpectedTraffic, end: int) -> Chance:
    last = course.until(end - row.matures_days)
    looks = _looks(row, plan, course, end)
    if not looks:
        return _chance(row, last, 0.0)
    found = _chance(row, last, _passes_heard(row, plan, looks))
    if not row.silent:
        return found
    day, exposure = looks[-1]
    unseen = (least_silence(plan, day, row.unheard(exposure)) + sequence.POWER_Z) * row.unheard(exposure)
    return replace(found, unseen=min(1.0, unseen))


def _passes_heard(row: _Row, plan: VerdictPlan, looks: Sequence[tuple[int, Exposure]]) -> float:
    """The chance to pass at a look, and at that one or a later one not to wait for silent users, who are so
    by chance."""
    passes = _passes(row, plan, looks)
    if not row.silent:
        return sum(passes)
    noise = [row.unheard(exposure) for _, exposure in looks]
    most = [-least_silence(plan, day, se) for (day, _), se in zip(looks, noise, strict=True)]
    heard = [1 / se**2 for se in noise]
    return sum(each * sum(crossings(most[place:], heard[place:], 0.0)) for place, each in enumerate(passes))


def _passes(row: _Row, plan: VerdictPlan, looks: Sequence[tuple[int, Exposure]]) -> Sequence[float]:
    """The chance to pass first at each look; by counts, and without any spread, all of it at the last."""
    risk = plan.risk if row.criterion.risk is None else row.criterion.risk
    told = [row.telling(exposure) for _, exposure in looks]
    bounds = boundaries([plan.spent("ship", day, risk) for day, _ in looks], told)
    if row.share and _few(row, told[-1]):
        last = _chance_of_counts(row, [exposure for _, exposure in looks], bounds)
    elif row.variance == 0:
        last = float(row.distance >= 0)
    else:
        return _chances_of_means(row, told, bounds)
    return [*(0.0 for _ in looks[1:]), last]


def _chance(row: _Row, exposure: Exposure, power: float) -> Chance:
    return Chance(
        metric=row.criterion.metric, units=int(row.units(exposure)), power=min(1.0, max(0.0, power))
    )


def _looks(row: _Row, plan: VerdictPlan, course: ExpectedTraffic, end: int) -> list[tuple[int, Exposure]]:
    """The looks that may ship up to the day `end`, with the users whose values are complete by then. Looks
    under the gate, and those that tell nothing new, leave their risk to the next."""
    found: list[tuple[int, Exposure]] = []
    for day in plan.looks("ship"):
        exposure = course.until(day - row.matures_days)
        new = not found or row.telling(found[-1][1]) < _SAME * row.telling(exposure)
        if day <= end and new and row.passes_gate(exposure):
            found.append((day, exposure))
    return found


def _chances_of_means(row: _Row, told: Sequence[float], bounds: Sequence[float]) -> Sequence[float]:
    shifted = [
        _shifted(bound, row.distance / math.sqrt(row.variance / units), _shape(row, units))
        for bound, units in zip(bounds, told, strict=True)
    ]
    return crossings(shifted, told, 0.0)


def _shifted(bound: float, drift: float, shape: Shape) -> float:
    """The bound for a normal z without drift that is crossed as often as the skewed, studentised estimate
    with this drift crosses `bound`.

    To first order in the skewness κ, SE is estimated as SE·(1 + κY/2) where the estimate is off by SE·Y, and
    Y itself is skewed (Cornish and Fisher). Without drift, this is Hall's transformation.
    """
    k, reach = shape.skewness, shape.reach(bound)
    slope = 1 - k * reach / 2
    if slope <= 0:
        return math.inf
    y = (reach - drift) / slope
    return y - k * (y * y - 1) / 6


_LONG_TAILED = ("cost", "tokens", "session_cost", "session_tokens")


def _shape(row: _Row, units: float) -> Shape:
    """The skewness of the candidate's estimate, oriented so that higher is better."""
    sign = 1 if row.criterion.acceptable.higher_is_better else -1
    if row.scale is not None:
        place, spread = row.scale.place(row.truth.value), row.truth.sd / row.scale.width
        of_both = place * (1 - place) + spread**2
        single = 2 * (1 - 2 * place) * spread / of_both if of_both else 0.0  # of a Beta value
    elif row.criterion.metric.startswith(_LONG_TAILED) and row.truth.value:
        cv = row.truth.sd / abs(row.truth.value)
        single = 3 * cv + cv**3  # of a log-normal value
    else:
        single = 0.0
    spread = row.variance / row.truth.sd**2 if row.truth.sd else 1.0
    return Shape(skewness=sign * single * math.sqrt(spread / units), units=units)


def _few(row: _Row, units: float) -> bool:
    rare = min(row.truth.value, 1 - row.truth.value)
    return rare * units / row.sizes.variance(row.alike) < FEW


def _chance_of_counts(row: _Row, looks: Sequence[Exposure], bounds: Sequence[float]) -> float:
    """By Clopper and Pearson's ends, as few events are judged."""
    bound = row.criterion.acceptable.at(row.truth.baseline)
    value = row.truth.value
    bad, limit = (1 - value, 1 - bound) if row.criterion.acceptable.higher_is_better else (value, bound)
    if not 0 < limit < 1:
        return float(row.distance >= 0)
    counted = [
        CountLook(trials=_effective(row, exposure), level=float(special.ndtr(-c)))
        for exposure, c in zip(looks, bounds, strict=True)
    ]
    if bad <= 0.5:
        return chance_of_fewer(counted, limit, bad)
    return chance_of_more(counted, 1 - limit, 1 - bad)


def _effective(row: _Row, exposure: Exposure) -> float:
    """n_eff: the number of independent values that tell as much, with the phantom unit of *Few*."""
    size = row.sizes.weighted
    values = row.telling(exposure) * row.sizes.mean
    events = values * min(row.truth.value, 1 - row.truth.value)
    ordinary = 1 - row.alike + row.alike * size
    return values / max(1.0, (events * ordinary + size**2) / (events + size))


# A canary's critical parts: each needs enough users of its own, or the verdict is to extend.


def part_chances(
    judged: JudgedCanary,
    plan: VerdictPlan | None,
    course: ExpectedTraffic,
    assumptions: Assumptions,
    day: int,
) -> Sequence[PartChance]:
    """Each critical part's chance by this day. Users come as a Poisson process. Without a plan no bound has
    to be ruled out."""
    rows = _rows(judged.criteria, course.requests, assumptions, judged.metrics)
    return [
        _of_part(name, assumptions.parts.get(name, USUAL_PART), judged, rows, plan, course, day)
        for name in part_names(judged)
    ]


def _of_part(
    name: str,
    share: float,
    judged: JudgedCanary,
    rows: Sequence[_Row],
    plan: VerdictPlan | None,
    course: ExpectedTraffic,
    day: int,
) -> PartChance:
    inside = replace(course, users_per_day=share * course.users_per_day)
    met = {row.criterion.metric: inside.until(day - row.matures_days) for row in rows}
    units, rarest = min(
        (min(each.candidate, each.baseline) * row.sizes.answers, row.criterion.metric)
        for row, each in zip(rows, met.values(), strict=True)
    )
    found = PartChance(
        name=name, share=share, metric=rarest, units=units, enough=float(special.gammainc(GATE, units))
    )
    far = [row for each in rows if (row := _with_twice_the_room(each, judged.metrics)) is not None]
    if plan is None or not far or found.enough == 0:
        return found
    chances = {row.criterion.metric: _rules_out(row, plan, inside, day) for row in far}
    doubtful = min(chances, key=chances.__getitem__)
    return replace(found, settled=math.prod(chances.values()), doubtful=doubtful)


def _with_twice_the_room(row: _Row, metrics: Mapping[str, Metric]) -> _Row | None:
    """The row as it is decided in a critical part; None where nothing has to be ruled out there."""
    criterion = row.criterion
    far = twice(criterion.acceptable, scale_of(criterion.metric, metrics))
    return None if far is None else replace(row, criterion=replace(criterion, acceptable=far))


def _rules_out(row: _Row, plan: VerdictPlan, course: ExpectedTraffic, end: int) -> float:
    """The chance that a look up to the day `end` does, the last one taken to have enough users."""
    looks = _looks(row, plan, course, end) or [(end, course.until(end - row.matures_days))]
    return min(1.0, sum(_passes(row, plan, looks)))
