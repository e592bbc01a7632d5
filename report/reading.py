"""Reads one metric: chooses the method of comparison and counts the units behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from report.arm_sums import GATE, ArmSums, HeavyUnit, arm_sums, unit_means
from report.comparison import ALPHA, ArmComparison, Bracketed, LogMeans, Means, Recovered
from report.metrics import Observations
from report.quantiles import Quantiles
from report.response_rate import trimmings
from report.rubric import Bound
from report.sample import Sample
from report.statistics import events, sequence
from report.statistics.phases import Arms, UnitSums
from report.statistics.types import Floats, Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReading:
    """One metric so far. Units are those with a value; an arm without any has the value None.

    `carrying` is the effective number of units behind the candidate's and the baseline's value (`_carrying`).
    `without` compares the arms without the `heavy` unit, and without the next ones.
    """

    candidate_units: int
    baseline_units: int
    carrying: tuple[int, int]
    candidate: float | None
    baseline: float | None
    comparison: ArmComparison | None
    tau: float
    heavy: HeavyUnit | None = None
    without: Sequence[ArmComparison] = ()

    def enough(self, bound: Bound) -> bool:
        """True if the candidate, and for a relative bound the baseline, has enough units with a value."""
        return self.compared if bound.relative else self.measured

    @property
    def measured(self) -> bool:
        """True when the candidate has enough units for its own interval."""
        return self.carrying[0] >= GATE

    @property
    def compared(self) -> bool:
        """True when both arms have enough units for the interval against the baseline."""
        return min(self.carrying) >= GATE


def unread(candidate_units: int = 0, baseline_units: int = 0) -> MetricReading:
    """A metric of which nothing but the units with a value is known."""
    return MetricReading(
        candidate_units=candidate_units,
        baseline_units=baseline_units,
        carrying=(candidate_units, baseline_units),
        candidate=None,
        baseline=None,
        comparison=None,
        tau=0.0,
    )


def read(
    sample: Sample, observed: Observations, *, planned: float, sums: ArmSums | None = None
) -> MetricReading:
    """Compare the arms on these observations. `planned` is n*, the units for which the interval is tuned.
    `sums` are those of the observations, if they are known."""
    found = arm_sums(sample, observed) if sums is None else sums
    by_unit = found.sums
    candidate_units, baseline_units = by_unit.units(candidate=True), by_unit.units(candidate=False)
    if candidate_units == 0:
        return MetricReading(
            candidate_units=0,
            baseline_units=baseline_units,
            carrying=(0, baseline_units),
            candidate=None,
            baseline=_plain_value(sample, found.observed, by_unit) if baseline_units else None,
            comparison=None,
            tau=0.0,
        )
    tau = candidate_units * sequence.tuning(alpha=ALPHA, planned=planned)
    c = sequence.multiplier(tau, ALPHA)
    comparison = _with_response(sample, observed, _compare(found, c), c)
    heavy, without = found.without_heavy()
    candidate = comparison.contrast(0, 0).estimate
    baseline = candidate - comparison.contrast(1, 0).estimate if baseline_units else None
    return MetricReading(
        candidate_units=candidate_units,
        baseline_units=baseline_units,
        carrying=found.carrying,
        candidate=candidate,
        baseline=baseline,
        comparison=comparison,
        tau=tau,
        heavy=heavy,
        without=[_compare(each, c) for each in without],
    )


def _plain_value(sample: Sample, observed: Observations, sums: UnitSums) -> float:
    """The baseline's value, when it is the only arm."""
    if observed.values is not None and observed.level is not None:
        return Quantiles.of(sample, observed.values, observed.level).baseline.middle
    return float(np.sum(sums.total) / np.sum(sums.count))


def _with_response(sample: Sample, observed: Observations, plain: ArmComparison, c: float) -> ArmComparison:
    trimmed = trimmings(sample, observed)
    if trimmed is None:
        return plain
    fewer, more = (_compare(arm_sums(sample, case), c) for case in trimmed)
    return Bracketed(plain=plain, trimmed=(fewer, more))


def _compare(found: ArmSums, c: float) -> ArmComparison:
    """What is shown stays what everybody counts: only a look's margins are compared within categories."""
    observed, sums = found.observed, found.sums
    if (quantiles := found.quantiles(by_category=False)) is not None:
        return quantiles[0].compare(quantiles[1], c)
    if observed.bounds is not None and found.few:
        return _shares(sums, observed.bounds, c, strata=observed.strata)
    both = found.arms(by_category=False)
    if observed.feedback and observed.bounds is None and both.candidate.se == 0:
        return _unspread(both, c)
    positive = both.candidate.value > 0 and (both.baseline.value > 0 or sums.candidate.all())
    return LogMeans(arms=both, c=c) if observed.logarithmic and positive else Means(arms=both, c=c)


def _unspread(both: Arms, c: float) -> Recovered:
    """An unbounded interval: all candidate units have the same amount, mostly 0, and without a scale the next
    unit may be arbitrarily far off."""
    candidate, baseline = (
        Interval(low=-np.inf, estimate=arm.value, high=np.inf) for arm in (both.candidate, both.baseline)
    )
    return Recovered(candidate=candidate, baseline=baseline, c=c)


def _shares(sums: UnitSums, bounds: tuple[float, float], c: float, *, strata: bool) -> Recovered:
    if strata:
        ours, theirs = (stratified(sums, bounds, candidate=arm) for arm in (True, False))
        return Recovered(candidate=ours, baseline=theirs, c=c)
    return Recovered(
        candidate=_share(unit_means(sums, candidate=True), bounds),
        baseline=_weighted(sums, bounds, np.ones(len(sums.unit)), candidate=False),
        c=c,
    )


def stratified(sums: UnitSums, bounds: tuple[float, float], *, candidate: bool) -> Interval:
    """One arm's share or rating from the means of its units in each phase, which is a stratum with the weight
    of the candidate's counts there. Valid at any time and for any number of units."""
    return _weighted(sums, bounds, sums.count, candidate=candidate)


def _weighted(sums: UnitSums, bounds: tuple[float, float], weight: Floats, *, candidate: bool) -> Interval:
    """One arm's share, phases weighted by the candidate's rows, whose weights (rows,) are given; intervals
    combined by MOVER."""
    arm = sums.only(sums.candidate == candidate)
    means = arm.total / arm.count
    phases, place = np.unique(sums.phase[sums.candidate], return_inverse=True)
    sizes = np.bincount(place, weights=weight[sums.candidate])
    omega = sizes / sizes.sum()
    shares = [_share(means[arm.phase == phase], bounds) for phase in phases]
    middle = float(omega @ [share.estimate for share in shares])
    return Interval(
        low=middle - float(np.linalg.norm(omega * [share.estimate - share.low for share in shares])),
        estimate=middle,
        high=middle + float(np.linalg.norm(omega * [share.high - share.estimate for share in shares])),
    )


def _share(means: Floats, bounds: tuple[float, float]) -> Interval:
    low, high = bounds
    if len(means) == 0:
        return Interval(low=low, estimate=low, high=high)
    total = float(np.sum((means - low) / (high - low)))
    share = events.mixture_interval(total, len(means), alpha=ALPHA)
    unit = Interval(low=share.low, estimate=total / len(means), high=share.high)
    return unit.scaled(high - low).shifted(low)
