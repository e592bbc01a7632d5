"""From a metric's observations to its comparison: which method, and of how many units."""

from dataclasses import dataclass, replace

import numpy as np

from report.comparison import ALPHA, ArmComparison, Bracketed, LogMeans, Means, Recovered
from report.metrics import Observations
from report.quantiles import Quantiles
from report.response_rate import trimmings
from report.sample import Sample
from report.statistics import events, sequence
from report.statistics.before import freed
from report.statistics.phases import Arms, UnitSums, arms, unit_sums
from report.statistics.types import Floats, Interval

GATE = 100
"""No interval before so many candidate units have a value: the first looks gave 9 to 18 % false alarms."""

FEW = 20
"""Fewer candidate units than this off the lowest value, or off the highest (with the event or without it):
no normal approximation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricReading:
    """What one metric says so far. Units are those with a value; without any in an arm its value is None.

    `carrying` says on how many units the candidate's value and the baseline's rest: see `_carrying`.
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
        """True when the candidate's own interval may be read."""
        return self.carrying[0] >= GATE

    @property
    def compared(self) -> bool:
        """True when the interval against the baseline may be read."""
        return min(self.carrying) >= GATE


def read(sample: Sample, observed: Observations, *, planned: float) -> MetricReading:
    """Compare the arms on these observations; `planned` is n*, the units the interval is tuned for."""
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
    """The value of the only arm there is, the baseline."""
    if observed.values is not None and observed.level is not None:
        return Quantiles.of(sample, observed.values, observed.level).baseline.middle
    return float(np.sum(sums.total) / np.sum(sums.count))


def _concurrent(sample: Sample, observed: Observations) -> tuple[Observations, UnitSums]:
    """Only the phases that both arms have values in. Where there is none nothing can be compared, and the
    candidate's own values are left."""
    sums = _sums(sample, observed, observed.total)
    if not sums.candidate.any() or sums.candidate.all():
        return observed, sums
    phases = int(sums.phase.max()) + 1
    theirs, ours = (np.bincount(sums.phase[sums.candidate == arm], minlength=phases) for arm in (False, True))
    common = (theirs > 0) & (ours > 0)
    if not common.any():
        return observed.only(sample.candidate), sums.only(sums.candidate)
    kept = common[sums.phase]
    return (observed, sums) if kept.all() else (observed.only(common[sample.phase]), sums.only(kept))


def _carrying(sums: UnitSums, *, candidate: bool) -> int:
    """The arm's units, at most so many as would carry its value as well in a single phase, 1/Σ(ω_k²/K_k).

    A phase of a ramp in which an arm had few units but that weighs much would else pass the gate by the units
    of another, with hardly a variance to show how little is known.
    """
    rows, units = sums.phase[sums.candidate == candidate], sums.units(candidate=candidate)
    if units == 0 or sums.single_phase:
        return units
    each = np.maximum(np.bincount(rows), 1)
    omega = np.bincount(sums.phase[sums.candidate], weights=sums.count[sums.candidate])
    return min(units, int(1 / float(np.sum((omega / omega.sum()) ** 2 / each)) + 1e-9))


def _sums(sample: Sample, observed: Observations, total: Floats) -> UnitSums:
    row = observed.row
    sums = unit_sums(sample.unit[row], sample.phase[row], sample.candidate[row], total, observed.count)
    return replace(sums, count=np.ones(len(sums.unit))) if observed.per_unit else sums


def _with_response(sample: Sample, observed: Observations, plain: ArmComparison, c: float) -> ArmComparison:
    trimmed = trimmings(sample, observed) if observed.feedback else None
    if trimmed is None:
        return plain
    fewer, more = (_compare(sample, *_concurrent(sample, one), c) for one in trimmed)
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
    """All candidate units said the same, mostly nothing, of what may be any amount: the first who does not
    may be far off, and there is no scale that says how far."""
    candidate, baseline = (
        Interval(low=-np.inf, estimate=one.value, high=np.inf) for one in (both.candidate, both.baseline)
    )
    return Recovered(candidate=candidate, baseline=baseline, c=c)


def _arms(sums: UnitSums, observed: Observations) -> Arms:
    """Both arms, freed of what the units' values before the canary explain, where these are known (CUPED)."""
    before = observed.before
    if before is None or not sums.single_phase or np.isnan(before[sums.unit]).all():
        return arms(sums)
    enough = min(sums.units(candidate=True), sums.units(candidate=False)) >= GATE
    return freed(sums, before) if enough else arms(sums)


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
        baseline=_weighed(sums, bounds),
        c=c,
    )


def _weighed(sums: UnitSums, bounds: tuple[float, float]) -> Interval:
    """The baseline's share, its phases weighed as the candidate's units fell; their intervals as by MOVER."""
    theirs = sums.only(~sums.candidate)
    means = theirs.total / theirs.count
    phases, units = np.unique(sums.phase[sums.candidate], return_counts=True)
    omega = units / units.sum()
    found = [_share(means[theirs.phase == each], bounds) for each in phases]
    middle = float(omega @ [one.estimate for one in found])
    return Interval(
        low=middle - float(np.linalg.norm(omega * [one.estimate - one.low for one in found])),
        estimate=middle,
        high=middle + float(np.linalg.norm(omega * [one.high - one.estimate for one in found])),
    )


def _share(means: Floats, bounds: tuple[float, float]) -> Interval:
    low, high = bounds
    if len(means) == 0:
        return Interval(low=low, estimate=low, high=high)
    total = float(np.sum((means - low) / (high - low)))
    share = events.mixture_interval(total, len(means), alpha=ALPHA)
    unit = Interval(low=share.low, estimate=total / len(means), high=share.high)
    return unit.scaled(high - low).shifted(low)
