"""Reads one metric: chooses the method of comparison and counts the units behind it."""

from dataclasses import dataclass, replace

import numpy as np

from report.comparison import ALPHA, ArmComparison, Bracketed, LogMeans, Means, Recovered
from report.metrics import Observations
from report.quantiles import Quantiles
from report.response_rate import trimmings
from report.sample import Sample
from report.statistics import events, sequence
from report.statistics.before import adjusted
from report.statistics.phases import Arms, UnitSums, arms, unit_sums
from report.statistics.types import Floats, Interval

GATE = 100
"""No interval before so many candidate units have a value: earlier looks gave 9 to 18 % false alarms."""

FEW = 20
"""With fewer candidate units than this above the lowest value, or below the highest (with the event, or
without it), the normal approximation is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReading:
    """One metric so far. Units are those with a value; an arm without any has the value None.

    `carrying` is the effective number of units behind the candidate's and the baseline's value (`_carrying`).
    """

    candidate_units: int
    baseline_units: int
    carrying: tuple[int, int]
    candidate: float | None
    baseline: float | None
    comparison: ArmComparison | None
    tau: float

    @property
    def measured(self) -> bool:
        """True when the candidate has enough units for its own interval."""
        return self.carrying[0] >= GATE

    @property
    def compared(self) -> bool:
        """True when both arms have enough units for the interval against the baseline."""
        return min(self.carrying) >= GATE


def read(sample: Sample, observed: Observations, *, planned: float) -> MetricReading:
    """Compare the arms on these observations. `planned` is n*, the units for which the interval is tuned."""
    seen = observed
    observed, sums = _concurrent(sample, seen)
    candidate_units, baseline_units = sums.units(candidate=True), sums.units(candidate=False)
    if candidate_units == 0:
        return MetricReading(
            candidate_units=0,
            baseline_units=baseline_units,
            carrying=(0, baseline_units),
            candidate=None,
            baseline=_plain_value(sample, observed, sums) if baseline_units else None,
            comparison=None,
            tau=0.0,
        )
    tau = candidate_units * sequence.tuning(alpha=ALPHA, planned=planned)
    c = sequence.multiplier(tau, ALPHA)
    comparison = _with_response(sample, seen, _compare(sample, observed, sums, c), c)
    candidate = comparison.contrast(0, 0).estimate
    baseline = candidate - comparison.contrast(1, 0).estimate if baseline_units else None
    return MetricReading(
        candidate_units=candidate_units,
        baseline_units=baseline_units,
        carrying=(_carrying(sums, candidate=True), _carrying(sums, candidate=False)),
        candidate=candidate,
        baseline=baseline,
        comparison=comparison,
        tau=tau,
    )


def _plain_value(sample: Sample, observed: Observations, sums: UnitSums) -> float:
    """The baseline's value, when it is the only arm."""
    if observed.values is not None and observed.level is not None:
        return Quantiles.of(sample, observed.values, observed.level).baseline.middle
    return float(np.sum(sums.total) / np.sum(sums.count))


def _concurrent(sample: Sample, observed: Observations) -> tuple[Observations, UnitSums]:
    """Only the phases in which both arms have values. Without such a phase, only the candidate's values: no
    comparison is possible."""
    sums = _sums(sample, observed, observed.total)
    if not sums.candidate.any() or sums.candidate.all():
        return observed, sums
    phases = int(sums.phase.max()) + 1
    theirs, ours = (np.bincount(sums.phase[sums.candidate == arm], minlength=phases) for arm in (False, True))
    common = (theirs > 0) & (ours > 0)
    if not common.any():
        return observed.only(sample.candidate), sums.only(sums.candidate)
    rows = common[sums.phase]
    return (observed, sums) if rows.all() else (observed.only(common[sample.phase]), sums.only(rows))


def _carrying(sums: UnitSums, *, candidate: bool) -> int:
    """The arm's effective number of units, at most its units: 1/Σ(ω_k²/K_k), the equivalent in one phase.

    Otherwise a heavily weighted ramp phase with few units could pass the gate on another phase's units, with
    little variance to show the uncertainty.
    """
    rows, units = sums.phase[sums.candidate == candidate], sums.units(candidate=candidate)
    if units == 0 or sums.single_phase:
        return units
    per_phase = np.maximum(np.bincount(rows), 1)
    omega = np.bincount(sums.phase[sums.candidate], weights=sums.count[sums.candidate])
    return min(units, int(1 / float(np.sum((omega / omega.sum()) ** 2 / per_phase)) + 1e-9))


def _sums(sample: Sample, observed: Observations, total: Floats) -> UnitSums:
    row = observed.row
    sums = unit_sums(sample.unit[row], sample.phase[row], sample.candidate[row], total, observed.count)
    return replace(sums, count=np.ones(len(sums.unit))) if observed.per_unit else sums


def _with_response(sample: Sample, observed: Observations, plain: ArmComparison, c: float) -> ArmComparison:
    trimmed = trimmings(sample, observed) if observed.feedback else None
    if trimmed is None:
        return plain
    fewer, more = (_compare(sample, *_concurrent(sample, case), c) for case in trimmed)
    return Bracketed(plain=plain, trimmed=(fewer, more))


def _compare(sample: Sample, observed: Observations, sums: UnitSums, c: float) -> ArmComparison:
    if observed.values is not None and observed.level is not None:
        found = Quantiles.of(sample, observed.values, observed.level)
        return found.compare(arms(_sums(sample, observed, found.slower(observed.values))), c)
    if observed.bounds is not None and _few(sums, observed.bounds):
        return _shares(sums, observed.bounds, c)
    both = _arms(sums, observed)
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


def _arms(sums: UnitSums, observed: Observations) -> Arms:
    """Both arms, adjusted by the units' values before the canary if these are known (CUPED)."""
    before = observed.before
    if before is None or not sums.single_phase or np.isnan(before[sums.unit]).all():
        return arms(sums)
    enough = min(sums.units(candidate=True), sums.units(candidate=False)) >= GATE
    return adjusted(sums, before) if enough else arms(sums)


def _few(sums: UnitSums, bounds: tuple[float, float]) -> bool:
    means = _unit_means(sums, candidate=True)
    return min(int(np.sum(means > bounds[0])), int(np.sum(means < bounds[1]))) < FEW


def _unit_means(sums: UnitSums, *, candidate: bool) -> Floats:
    mine = sums.only(sums.candidate == candidate)
    if sums.single_phase:
        return mine.total / mine.count
    units, place = np.unique(mine.unit, return_inverse=True)
    total = np.bincount(place, weights=mine.total, minlength=len(units))
    count = np.bincount(place, weights=mine.count, minlength=len(units))
    return np.asarray(total / count, dtype=np.float64)


def _shares(sums: UnitSums, bounds: tuple[float, float], c: float) -> Recovered:
    return Recovered(
        candidate=_share(_unit_means(sums, candidate=True), bounds),
        baseline=_weighted(sums, bounds),
        c=c,
    )


def _weighted(sums: UnitSums, bounds: tuple[float, float]) -> Interval:
    """The baseline's share, phases weighted by the candidate's units, intervals combined by MOVER."""
    theirs = sums.only(~sums.candidate)
    means = theirs.total / theirs.count
    phases, units = np.unique(sums.phase[sums.candidate], return_counts=True)
    omega = units / units.sum()
    shares = [_share(means[theirs.phase == phase], bounds) for phase in phases]
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
