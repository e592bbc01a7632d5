"""What the runs of canaries changed, one by one and by vendor, from their archived evaluations."""

import math
import time
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
from scipy import special

from common.groups import grouped
from common.interval import Interval, Range
from records.facts.metric import Per, parse_bound
from verdict.archive.evaluations import Evaluation, moment
from verdict.archive.week_after import PromisesHeld, promises_held
from verdict.decision.document import MetricLine, vendor
from verdict.details import MONTH_DAYS, YEAR_DAYS, Savings, savings
from verdict.statistics.types import Floats
from verdict.terms.measures import Unit, source
from verdict.terms.plan import DAY_S

COST, LATENCY = "cost_per_request", "latency_p95"

ACCURACY = "task_completed"
FAULTS = ("answer_faults", "invalid_output", "empty", "refused", "cut_off", "error_rate")
"""What stands for accuracy where users say nothing of it, in this order at equal weights."""

_BUSINESS = frozenset({"revenue", "conversion", "churn", "compliance_violation"})
_JUDGED = "judged_"
"""Metrics of a judge, which is no user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrendStep:
    """The changes in one run. `accuracy` is that of `accuracy_metric`, in the metric's own unit (`share`: a
    fraction); cost and latency (p95) are relative to the baseline. None without such a rubric row or without
    data.

    `shipped`: whether the candidate was promoted, or decided to ship, last; None if nobody decided.
    `saving_usd_month` and `saving_usd_year` are the report's forecast for all users in the first month and
    year (`verdict.details.savings`). `key` is the newest evaluation's. `unpriced`:
    too many costs were unknown, so there is neither a change of the cost nor a saving. `judged` is the share
    of pairs of which a judge preferred the candidate's answer, ties as half; None without a judge.
    `variant`: both arms have one model, and their requests alone differ. `accuracy_of_users` is the
    candidate's value of `accuracy_metric`, of a share in which users or canary see what goes well, 0 to 1.
    `accuracy_per` is what one observation of that metric is; None for one that canary measures.
    """

    key: str
    at: float
    canary: str
    run: int
    vendor: str
    baseline: str | None
    candidate: str | None
    verdict: str
    decision: str | None
    score: float | None
    synthetic: float | None
    accuracy: Range | None
    accuracy_metric: str | None
    accuracy_unit: Unit
    cost: Range | None
    latency: Range | None
    saving_usd_month: Range | None
    saving_usd_year: Range | None
    shipped: bool | None
    unpriced: bool = False
    judged: Range | None = None
    variant: bool = False
    accuracy_of_users: float | None = None
    accuracy_per: Per | None = None

    @property
    def accuracy_is(self) -> tuple[str | None, Per | None]:
        """What stands for accuracy: under another definition, one name is another metric."""
        return self.accuracy_metric, self.accuracy_per


def step_of(run: Sequence[Evaluation]) -> TrendStep:
    """A run's changes, from its evaluations, oldest first: those of the newest, and what was decided."""
    evaluation = run[-1]
    report = evaluation.report
    lines = {line.metric: line for line in report.metrics}
    unpriced = report.details.unknown_costs is not None
    quality, saved = quality_line(report.metrics), savings(report.details)
    return TrendStep(
        key=evaluation.key,
        at=closed_at(run),
        canary=evaluation.canary,
        run=evaluation.run,
        vendor=evaluation.family,
        baseline=evaluation.baseline.label if evaluation.baseline else None,
        candidate=evaluation.candidate.label if evaluation.candidate else None,
        variant=evaluation.is_variant,
        accuracy_of_users=_accuracy(quality),
        verdict=report.verdict,
        decision=report.decision.decision if report.decision else None,
        score=report.score.estimate,
        synthetic=evaluation.synthetic,
        accuracy=_change(quality, 1.0),
        accuracy_metric=quality.metric if quality is not None else None,
        accuracy_unit=quality.unit if quality is not None else "share",
        accuracy_per=quality.per if quality is not None else None,
        cost=None if unpriced else _relative(lines.get(COST)),
        latency=_relative(lines.get(LATENCY)),
        saving_usd_month=saved.month if saved is not None else None,
        saving_usd_year=saved.year if saved is not None else None,
        shipped=_shipped(run),
        unpriced=unpriced,
        judged=report.judge.judged_preference if report.judge is not None else None,
    )


def quality_line(lines: Sequence[MetricLine]) -> MetricLine | None:
    """The row that stands for accuracy: task_completed; else the row on feedback with the highest weight, but
    none on business; else the one of FAULTS with the highest weight. At equal weights the first."""
    exact = [line for line in lines if line.metric == ACCURACY]
    feedback = [line for line in lines if _of_users(line.metric) and not line.cost_per]
    faults = [line for name in FAULTS for line in lines if line.metric == name]
    found = exact or feedback or faults
    return max(found, key=lambda line: line.weight) if found else None


def _accuracy(line: MetricLine | None) -> float | None:
    """The candidate's share of what went well; None for another metric than a share, or without data."""
    if line is None or line.candidate is None or line.unit != "share":
        return None
    return line.candidate if parse_bound(line.acceptable).higher_is_better else 1.0 - line.candidate


def _of_users(metric: str) -> bool:
    return source(metric) is None and metric not in _BUSINESS and not metric.startswith(_JUDGED)


def _change(line: MetricLine | None, scale: float) -> Range | None:
    if line is None or line.difference.estimate is None:
        return None
    low, high = (None if end is None else end * scale for end in (line.difference.low, line.difference.high))
    return Range(low=low, estimate=line.difference.estimate * scale, high=high)


def _relative(line: MetricLine | None) -> Range | None:
    return _change(line, 1 / line.baseline) if line is not None and line.baseline else None


def _shipped(run: Sequence[Evaluation]) -> bool | None:
    """What the newest promotion, rollback or decision says; an end says nothing."""
    for evaluation in reversed(run):
        if evaluation.event in _MOVES:
            return evaluation.event == "promoted"
        if evaluation.event == "decided" and evaluation.report.decision is not None:
            return evaluation.report.decision.decision == "ship"
    return None


# What the releases of one vendor family have in common: mean changes with intervals, and how many shipped.


NEEDED = 5
"""The fewest releases with a mean, and with a pattern that a quick check may rest on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One vendor family. `releases` are its candidates, oldest first, tried in `evaluations` runs or refused
    by a benchmark; `shipped` of them were promoted or decided to ship; `last_shipped`: the last five were.

    Mean changes have Student's interval over releases, and are None below `needed` releases with a value.
    `accuracy` is over those of `accuracy_metric` per `accuracy_per`, the newest release's.
    """

    vendor: str
    evaluations: int
    releases: tuple[str, ...]
    shipped: int
    last_shipped: bool
    needed: int
    accuracy: Interval | None
    accuracy_metric: str | None
    accuracy_per: Per | None
    accuracy_unit: Unit
    cost: Interval | None
    latency: Interval | None


def family_of(vendor: str, steps: Sequence[TrendStep], refused: Mapping[str, float]) -> Family:
    """The family's pattern, from its runs in order of time, and the models that a benchmark refused, with the
    UTC second."""
    releases = _releases(steps, refused)
    shipped = [_has_shipped(runs) for runs in releases.values()]
    told = next((step for step in reversed(steps) if step.accuracy is not None), None)
    metric, per = told.accuracy_is if told is not None else (None, None)
    return Family(
        vendor=vendor,
        evaluations=len(steps),
        releases=tuple(releases),
        shipped=sum(shipped),
        last_shipped=len(shipped) >= NEEDED and all(shipped[-NEEDED:]),
        needed=NEEDED,
        accuracy=_mean([_newest(runs, "accuracy", (metric, per)) for runs in releases.values()]),
        accuracy_metric=metric,
        accuracy_per=per,
        accuracy_unit=told.accuracy_unit if told is not None else "share",
        cost=_mean([_newest(runs, "cost") for runs in releases.values()]),
        latency=_mean([_newest(runs, "latency") for runs in releases.values()]),
    )


def _releases(steps: Sequence[TrendStep], refused: Mapping[str, float]) -> dict[str, list[TrendStep]]:
    """The runs by candidate, the release that was tried, or refused, last at the end."""
    found: dict[str, list[TrendStep]] = {}
    for step in steps:
        name = step.candidate or f"the candidate of {step.canary}"
        found[name] = [*found.pop(name, []), step]
    found |= {name: [] for name in refused if name not in found}
    last = {name: runs[-1].at if runs else refused[name] for name, runs in found.items()}
    return dict(sorted(found.items(), key=lambda each: last[each[0]]))


def _has_shipped(runs: Sequence[TrendStep]) -> bool:
    return next((step.shipped for step in reversed(runs) if step.shipped is not None), False)


def _newest(
    runs: Sequence[TrendStep],
    name: Literal["accuracy", "cost", "latency"],
    metric: tuple[str | None, Per | None] | None = None,
) -> float | None:
    """The newest known change; of accuracy, the newest of this metric."""
    for step in reversed(runs):
        change = getattr(step, name)
        if change is not None and (name != "accuracy" or step.accuracy_is == metric):
            return float(change.estimate)
    return None


def _mean(changes: Sequence[float | None]) -> Interval | None:
    """The mean with Student's 95 % interval."""
    known = [change for change in changes if change is not None]
    if len(known) < NEEDED:
        return None
    mean = float(np.mean(known))
    half = float(special.stdtrit(len(known) - 1, 0.975) * np.std(known, ddof=1)) / math.sqrt(len(known))
    return Interval(low=mean - half, estimate=mean, high=mean + half)


# Correlation coefficients with Fisher's interval.


LEAST = 8
"""The fewest pairs: below, the interval is almost -1 to 1, and a coefficient would mislead."""

_SPEARMAN = 1.06
"""Fieller, Hartley, Pearson, Biometrika 1957: the variance of Fisher's z of ranks is 1.06/(n−3)."""


def pearson(x: Sequence[float], y: Sequence[float]) -> Interval | None:
    """Pearson's r of (n,) pairs with Fisher's 95 % interval tanh(atanh r ± z/√(n−3)).

    None below `LEAST` pairs, or if a series is constant.
    """
    return _with_interval(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), 1.0)


def spearman(x: Sequence[float], y: Sequence[float]) -> Interval | None:
    """Spearman's ρ: Pearson's r of the ranks, with the same interval."""
    return _with_interval(_ranks(x), _ranks(y), _SPEARMAN)


def _ranks(values: Sequence[float]) -> Floats:
    """Equal values share the mean of their ranks."""
    _, place, sizes = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2)[place], dtype=np.float64)


def _with_interval(x: Floats, y: Floats, variance: float) -> Interval | None:
    if len(x) < LEAST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    r = float(np.corrcoef(x, y)[0, 1])
    edge = 1 - 1e-12
    middle = math.atanh(max(-edge, min(edge, r)))
    half = float(special.ndtri(0.975)) * math.sqrt(variance / (len(x) - 3))
    return Interval(low=math.tanh(middle - half), estimate=r, high=math.tanh(middle + half))


# What the promoted candidates saved, by year.


_MOVES = ("promoted", "rolled_back")
"""The events that make a candidate everybody's, or nobody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YearSaved:
    """What a calendar year of UTC has saved so far, in dollars: each report's monthly figure for the months
    in which its candidate, `promoted` of them, was everybody's. Ends are None if unknown.

    `evaluated_usd` is what the evaluations that ended in the year cost, `in_vain_usd` of it those of what is
    not everybody's. `unknown` of the promoted have no known saving. `goes_on`: the year is not over.
    `ahead_usd` is what a year from now should save if nothing changes; None where no saving is known.
    """

    year: int
    goes_on: bool
    promoted: int
    unknown: int
    saved_usd: Range
    evaluated_usd: float
    in_vain_usd: float
    ahead_usd: Range | None

    @property
    def net_usd(self) -> Range:
        """What is left of the saving."""
        return self.saved_usd.less(self.evaluated_usd)


def years_saved(runs: Iterable[Sequence[Evaluation]], now: float) -> tuple[YearSaved, ...]:
    """Last year, if anything was evaluated by then, and this one until `now` in UTC seconds."""
    told = list(runs)
    this = _year(now)
    begun = min((_year(run[0].at) for run in told), default=this + 1)
    return tuple(_saved_in(year, told, now) for year in (this - 1, this) if year >= begun)


def _saved_in(year: int, runs: Sequence[Sequence[Evaluation]], now: float) -> YearSaved:
    begin, end = (datetime(each, 1, 1, tzinfo=UTC).timestamp() for each in (year, year + 1))
    tries = _tries(runs)
    in_force = [(tried, _months(tried, begin, min(end, now))) for tried in tries]
    given = [(_saving(tried), months) for tried, months in in_force if months > 0.0]
    known = [saved.monthly.scaled(months) for saved, months in given if saved is not None]
    kept = {each.key for tried in tries if _in_use(tried) for each in tried}
    ended = [run[-1] for run in runs if begin <= closed_at(run) < end]
    in_use = [_saving(tried) for tried in tries if _in_use(tried)]
    ahead = [saved.monthly.scaled(YEAR_DAYS / MONTH_DAYS) for saved in in_use if saved is not None]
    return YearSaved(
        year=year,
        goes_on=now < end,
        promoted=len({_arms(tried[0]) for tried, months in in_force if months > 0.0}),
        unknown=len(given) - len(known),
        saved_usd=_summed(known),
        evaluated_usd=_spent(ended),
        in_vain_usd=_spent(last for last in ended if last.key not in kept),
        ahead_usd=_summed(ahead) if ahead else None,
    )


def _tries(runs: Sequence[Sequence[Evaluation]]) -> list[list[Evaluation]]:
    """The evaluations of all runs in which a canary tried the same release, oldest first."""
    every = sorted((each for run in runs for each in run), key=lambda each: each.at)
    return list(grouped(every, lambda each: (each.canary, _arms(each))).values())


def _arms(one: Evaluation) -> Hashable:
    """What tells its release from others."""
    return (one.candidate, one.baseline) if one.candidate is not None else (one.canary, one.run)


def _saving(tried: Sequence[Evaluation]) -> Savings | None:
    """The newest known; a run that nobody tried knows of none."""
    known = (savings(each.report.details) for each in reversed(tried))
    return next((saving for saving in known if saving is not None), None)


def closed_at(run: Sequence[Evaluation]) -> float:
    """When the run was promoted or rolled back last, else its last evaluation, UTC seconds: a hold-back, or
    the next promotion, may end much later."""
    return next((each.at for each in reversed(run) if each.event in _MOVES), run[-1].at)


def _in_use(run: Sequence[Evaluation]) -> bool:
    """Whether its candidate is everybody's: the newest promotion or rollback says it."""
    return next((one.event == "promoted" for one in reversed(run) if one.event in _MOVES), False)


def _spent(evaluations: Iterable[Evaluation]) -> float:
    return sum(each.report.details.evaluation.total_usd for each in evaluations)


def _months(run: Sequence[Evaluation], begin: float, end: float) -> float:
    """The months of 30 days between these UTC seconds in which the run's candidate was everybody's."""
    found, since = 0.0, math.inf
    for evaluation in run:
        if evaluation.event == "promoted":
            since = min(since, evaluation.at)
        elif evaluation.event == "rolled_back":
            found += max(0.0, min(evaluation.at, end) - max(since, begin))
            since = math.inf
    return (found + max(0.0, end - max(since, begin))) / (MONTH_DAYS * DAY_S)


def _summed(parts: Sequence[Range]) -> Range:
    """The sum of figures that are independent of each other."""
    estimate = sum(each.estimate for each in parts)
    below = _off([(each.low, each.estimate) for each in parts])
    above = _off([(each.high, each.estimate) for each in parts])
    return Range(
        low=None if below is None else estimate - below,
        estimate=estimate,
        high=None if above is None else estimate + above,
    )


def _off(ends: Sequence[tuple[float | None, float]]) -> float | None:
    """How far the sum's end is from its estimate; None if an end is unknown."""
    known = [end - estimate for end, estimate in ends if end is not None]
    return math.hypot(*known) if len(known) == len(ends) else None


def _year(at: float) -> int:
    return datetime.fromtimestamp(at, UTC).year


# Trends over many evaluations: changes by run and vendor family, validity of synthetic tasks.


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """The correlation of the candidates' accuracy on synthetic examples and with users, by the newest
    release's `metric`. The coefficients are None below `needed` pairs."""

    metric: str | None
    pairs: int
    needed: int
    pearson: Interval | None
    spearman: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """The archive's trends, oldest step first."""

    steps: tuple[TrendStep, ...]
    families: tuple[Family, ...]
    validity: Validity
    promises: PromisesHeld
    years: tuple[YearSaved, ...]


def trends(
    evaluations: Iterable[Evaluation],
    rejected: Mapping[str, float] | None = None,
    *,
    now: float | None = None,
) -> Trends:
    """Sum up the archive. Each run counts once, by its last evaluation.

    `rejected` are the candidates (`provider/model`) that a benchmark refused, with its UTC second. Variants
    of a model that users have say nothing of its vendor. `now` in UTC seconds, by default the clock's.
    """
    runs = runs_of(evaluations)
    steps = tuple(step_of(run) for run in runs)
    by_vendor = grouped((step for step in steps if not step.variant), lambda step: step.vendor)
    refused: dict[str, dict[str, float]] = {}
    for name, at in (rejected or {}).items():
        provider, _, model = name.partition("/")
        refused.setdefault(vendor(model, provider), {})[model] = at
    return Trends(
        steps=steps,
        families=tuple(
            family_of(name, by_vendor.get(name, ()), refused.get(name, {}))
            for name in sorted(by_vendor.keys() | refused.keys())
        ),
        validity=_validity(steps),
        promises=promises_of(runs),
        years=years_saved(runs, time.time() if now is None else now),
    )


def to_json(found: Trends) -> dict[str, Any]:
    """JSON types only; times in RFC 3339."""
    document: dict[str, Any] = asdict(found)
    for step in document["steps"]:
        step["at"] = moment(step["at"])
    return document


def runs_of(evaluations: Iterable[Evaluation]) -> list[list[Evaluation]]:
    """Each run's evaluations, oldest first; the runs in the order of their last."""
    in_order = sorted(evaluations, key=lambda each: each.at)
    found = grouped(in_order, lambda each: (each.canary, each.run))
    return sorted(found.values(), key=closed_at)


def promises_of(runs: Iterable[Sequence[Evaluation]]) -> PromisesHeld:
    """How often promises held, by the newest week after of each run."""
    newest = (next((each for each in reversed(run) if each.week_after), None) for run in runs)
    found = [each for each in newest if each is not None]
    return promises_held(
        [((each.candidate, each.baseline), each.week_after) for each in found if each.week_after is not None]
    )


def _validity(steps: Sequence[TrendStep]) -> Validity:
    both = [step for step in steps if step.synthetic is not None and step.accuracy_of_users is not None]
    metric, per = both[-1].accuracy_is if both else (None, None)
    pairs = [
        (step.synthetic or 0.0, step.accuracy_of_users or 0.0)
        for step in both
        if step.accuracy_is == (metric, per)
    ]
    synthetic, real = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return Validity(
        metric=metric,
        pairs=len(pairs),
        needed=LEAST,
        pearson=pearson(synthetic, real),
        spearman=spearman(synthetic, real),
    )
