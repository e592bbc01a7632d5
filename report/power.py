"""Before the run: how likely a rubric is to ship a candidate that deserves it, at this traffic.

A plan, not a statistic: it rests on assumptions about users that only the run can check, and it says which.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy import stats

from records.metric import BUILT_IN, Metric
from report.comparison import ALPHA
from report.metrics import quantile_level
from report.reading import GATE
from report.rubric import DEFAULT_PLANNED_UNITS, Bound, Criterion
from report.statistics import sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What will come in while the canary runs: distinct `units` of both arms, and the candidate's share.

    `requests_per_unit` is a mean, 1 or more: a unit makes one request and a Poisson number on top.
    """

    units: int
    share: float
    requests_per_unit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """What is taken for granted of the users.

    `values` and `baselines` are true values by metric; left out, the candidate lies halfway between
    acceptable and ideal and the baseline at 80 % of a share, 4 of a rating, 1 of all else. `alike` is the
    part of the variance that is the user's own (the intraclass correlation). `responses` are, by feedback
    metric, the share of exchanges with a value; left out, `asked` for what somebody must be asked for
    (ratings, NPS, thumbs, "did this help?") and 1 for what the app knows by itself. `cost_cv` is the standard
    deviation of a request's cost over its mean (for `cost_total` of a user's), `log_latency_sd` that of the
    latency's logarithm; a rating's is a quarter of its scale.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    responses: Mapping[str, float] = field(default_factory=dict)
    alike: float = 0.4
    asked: float = 0.125
    cost_cv: float = 1.0
    log_latency_sd: float = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """One criterion's chance to be seen as acceptable at the end, and the candidate units it rests on."""

    metric: str
    units: int
    power: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """The chance that all criteria pass, were they independent (they are not quite), and each one's own."""

    ship: float
    criteria: tuple[Chance, ...]


def expected_power(
    criteria: Sequence[Criterion],
    traffic: Traffic,
    *,
    assumptions: Assumptions | None = None,
    metrics: Mapping[str, Metric] = BUILT_IN,
    planned_units: int = DEFAULT_PLANNED_UNITS,
) -> Power:
    """The chance that this rubric ships a candidate whose true values are those assumed."""
    taken = assumptions or Assumptions()
    chances = tuple(_chance(one, traffic, taken, metrics, planned_units) for one in criteria)
    return Power(ship=math.prod(one.power for one in chances), criteria=chances)


def _chance(
    criterion: Criterion,
    traffic: Traffic,
    assumptions: Assumptions,
    metrics: Mapping[str, Metric],
    planned: int,
) -> Chance:
    sizes = _sizes(traffic.requests_per_unit, _response(criterion.metric, assumptions, metrics))
    units = traffic.units * traffic.share * sizes.answers
    if units < GATE:
        return Chance(metric=criterion.metric, units=int(units), power=0.0)
    baseline = _baseline(criterion, assumptions, metrics)
    value = assumptions.values.get(criterion.metric, _halfway(criterion, baseline))
    once = criterion.metric == "cost_total"
    spread = _sd(criterion.metric, value, assumptions, metrics) * math.sqrt(
        1.0 if once else sizes.variance(assumptions.alike)
    )
    bound = criterion.acceptable
    against = bound.factor**2 * traffic.share / (1 - traffic.share) if bound.relative else 0.0
    se = spread * math.sqrt((1 + against) / units)
    c = sequence.multiplier(units * sequence.tuning(alpha=ALPHA, planned=planned), ALPHA)
    distance = _distance(bound, value, baseline)
    if se == 0:
        return Chance(metric=criterion.metric, units=int(units), power=float(distance >= 0))
    power = float(stats.norm.cdf(distance / se - c))
    return Chance(metric=criterion.metric, units=int(units), power=power)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """How many values a unit gives: `answers` is the share that gives any, of which `mean` and `mean_square`
    are the moments."""

    answers: float
    mean: float
    mean_square: float

    def variance(self, alike: float) -> float:
        """K times the variance of ΣS/ΣN of K units, where a single value's is 1: those who say much weigh
        much, and what is their own with them."""
        return (1 - alike) / self.mean + alike * self.mean_square / self.mean**2


def _sizes(requests: float, response: float) -> _Sizes:
    """Of 1 + Poisson(requests − 1) requests, each with a value at this rate."""
    further = (requests - 1) * response
    answers = 1 - (1 - response) * math.exp(-further)
    mean, variance = response + further, response * (1 - response) + further
    return _Sizes(answers=answers, mean=mean / answers, mean_square=(variance + mean**2) / answers)


_ASKED_FOR = frozenset({"thumbs", "helped"})


def _response(name: str, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> float:
    """The share of exchanges that have a value."""
    return assumptions.responses.get(name, assumptions.asked if asked_for(name, metrics) else 1.0)


def asked_for(name: str, metrics: Mapping[str, Metric]) -> bool:
    """True for what somebody must be asked for; the app knows all else by itself."""
    metric = metrics.get(name)
    return metric is not None and (metric.kind in ("rating", "nps") or name in _ASKED_FOR)


def _distance(bound: Bound, value: float, baseline: float) -> float:
    return (value - bound.at(baseline)) * (1 if bound.higher_is_better else -1)


def _halfway(criterion: Criterion, baseline: float) -> float:
    return (criterion.acceptable.at(baseline) + criterion.ideal.at(baseline)) / 2


def _baseline(criterion: Criterion, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> float:
    if criterion.metric in assumptions.baselines:
        return assumptions.baselines[criterion.metric]
    metric = metrics.get(criterion.metric)
    if metric is not None and metric.kind == "rating":
        return 4.0
    return 0.8 if metric is not None and metric.kind == "bool" else 1.0


def _sd(name: str, value: float, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> float:
    """The standard deviation of one value (of a quantile: that of n exchanges' quantile, times √n)."""
    level = quantile_level(name)
    if level is not None:
        density = float(stats.norm.pdf(stats.norm.ppf(level)))
        return value * assumptions.log_latency_sd * math.sqrt(level * (1 - level)) / density
    metric = metrics.get(name)
    if name in ("error_rate", "session_repeats") or (metric is not None and metric.kind == "bool"):
        return math.sqrt(max(0.0, value * (1 - value)))
    if metric is not None and metric.low is not None and metric.high is not None:
        return (metric.high - metric.low) / 4
    return abs(value) * assumptions.cost_cv
