"""The power of a rubric before the run: how likely it ships a good candidate at this traffic.

It rests on stated assumptions about users, which only the run can check.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from scipy import stats

from records.metric import BUILT_IN, Metric
from report.arm_sums import GATE
from report.comparison import ALPHA
from report.metrics import quantile_level, share
from report.rubric import DEFAULT_PLANNED_UNITS, Bound, Criterion
from report.statistics import sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The expected traffic: distinct `units` of both arms, and the candidate's share.

    `requests_per_unit` is a mean, at least 1: each unit makes 1 + Poisson(requests_per_unit − 1) requests.
    """

    units: int
    share: float
    requests_per_unit: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumptions:
    """The assumptions about users.

    `values` and `baselines` are true values by metric. By default the candidate is halfway between acceptable
    and ideal, and the baseline is .05 for a measured share (errors, answer faults), .8 for a share of
    feedback, 4 for a rating, 1 for anything else. `alike` is the intraclass correlation: the share of the
    variance between users. `responses` is, by feedback metric, the
    share of exchanges with a value; the default is `asked` for values that users must be asked for (ratings,
    NPS, thumbs, "did this help?") and 1 for values that the app knows. `cost_cv` is the coefficient of
    variation of a request's cost (for `cost_total`, a user's). `log_latency_sd` is the standard deviation of
    the log latency. A rating's standard deviation is a quarter of its scale.
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
    """One criterion's chance to pass at the end, and the number of candidate units behind it."""

    metric: str
    units: int
    power: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """The chance that all criteria pass, as if they were independent, and each criterion's chance."""

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
    """The chance that this rubric ships a candidate with the assumed true values."""
    assumed = assumptions or Assumptions()
    chances = tuple(_chance(criterion, traffic, assumed, metrics, planned_units) for criterion in criteria)
    return Power(ship=math.prod(chance.power for chance in chances), criteria=chances)


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
    """The number of values per unit: `answers` is the share of units with any; `mean` and `mean_square` are
    the moments among those."""

    answers: float
    mean: float
    mean_square: float

    def variance(self, alike: float) -> float:
        """K times the variance of ΣS/ΣN over K units, for values of variance 1. Units with many values weigh
        more, and so does their correlation."""
        return (1 - alike) / self.mean + alike * self.mean_square / self.mean**2


def _sizes(requests: float, response: float) -> _Sizes:
    """For 1 + Poisson(requests − 1) requests, each with a value at the rate `response`."""
    further = (requests - 1) * response
    answers = 1 - (1 - response) * math.exp(-further)
    mean, variance = response + further, response * (1 - response) + further
    return _Sizes(answers=answers, mean=mean / answers, mean_square=(variance + mean**2) / answers)


_ASKED_FOR = frozenset({"thumbs", "helped"})


def _response(name: str, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> float:
    """The share of exchanges with a value."""
    return assumptions.responses.get(name, assumptions.asked if asked_for(name, metrics) else 1.0)


def asked_for(name: str, metrics: Mapping[str, Metric]) -> bool:
    """True for a metric whose value a user must be asked for."""
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
    if share(criterion.metric):
        return 0.05
    if metric is not None and metric.kind == "rating":
        return 4.0
    return 0.8 if metric is not None and metric.kind == "bool" else 1.0


def _sd(name: str, value: float, assumptions: Assumptions, metrics: Mapping[str, Metric]) -> float:
    """The standard deviation of one value (for a quantile: that of n exchanges' quantile, times √n)."""
    level = quantile_level(name)
    if level is not None:
        density = float(stats.norm.pdf(stats.norm.ppf(level)))
        return value * assumptions.log_latency_sd * math.sqrt(level * (1 - level)) / density
    metric = metrics.get(name)
    if share(name) or (metric is not None and metric.kind == "bool"):
        return math.sqrt(max(0.0, value * (1 - value)))
    if metric is not None and metric.low is not None and metric.high is not None:
        return (metric.high - metric.low) / 4
    return abs(value) * assumptions.cost_cv
