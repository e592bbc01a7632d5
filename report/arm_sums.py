"""One metric's unit sums by arm, and the ratios made of them."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from report.metrics import Observations
from report.quantiles import Quantiles
from report.sample import Sample
from report.statistics.before import narrower
from report.statistics.phases import Arms, UnitSums, arms, renumbered, unit_sums
from report.statistics.types import Floats

GATE = 100
"""No interval before so many candidate units have a value: earlier looks gave 9 to 18 % false alarms."""

FEW = 20
"""With fewer candidate units than this above the lowest value, below the highest (with the event, or without
it), or away from the value that most have, the normal approximation is not used."""


A_FIFTH = 0.2
"""One unit with more than this part of an arm's values, or of the variance, decides no row alone."""

_MOST_HEAVY = 3
"""So many units are left out, one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyUnit:
    """One unit of an arm with its shares of the arm's values and of the row's variance, the larger over
    A_FIFTH. `unit` is its number in the sample."""

    candidate: bool
    values: float
    variance: float
    unit: int


@dataclass(frozen=True, kw_only=True)
class ArmSums:
    """A metric's values, and their sums by unit and phase."""

    sample: Sample
    observed: Observations
    sums: UnitSums

    @property
    def carrying(self) -> tuple[int, int]:
        """The effective number of units behind the candidate's and the baseline's value."""
        return _carrying(self.sums, candidate=True), _carrying(self.sums, candidate=False)

    @property
    def few(self) -> bool:
        """True for a bounded metric with too few units that differ for a normal approximation."""
        bounds = self.observed.bounds
        if bounds is None:
            return False
        means = unit_means(self.sums, candidate=True)
        # A value that most units have is their median.
        differing = (means > bounds[0], means < bounds[1], means != np.median(means))
        return min(int(np.sum(units)) for units in differing) < FEW

    def arms(self, *, by_category: bool) -> Arms:
        """Both arms, without what the units' past explains of their difference, and with `by_category` their
        first category."""
        return self._adjusted(self.sums, by_category=by_category)

    def quantiles(self, *, by_category: bool) -> tuple[Quantiles, Arms] | None:
        """Both arms' quantile with their shares of slower values; None for another kind of metric. The shares
        are adjusted as in `arms`."""
        if self._slower is None:
            return None
        found, slower = self._slower
        return found, self._adjusted(slower, by_category=by_category)

    def heaviest(self) -> HeavyUnit | None:
        """The unit with the largest share of an arm's values, or of the variance; None up to a fifth."""
        sums = self.sums if self._slower is None else self._slower[1]
        both, units = self._plain, np.flatnonzero(np.bincount(sums.unit))
        place = 2 * renumbered(sums.unit) + sums.candidate
        counts = np.bincount(place, weights=sums.count, minlength=2 * len(units)).reshape(-1, 2)
        squares = [both.influence(factor) ** 2 for factor in (0, 1)]
        wholes = [max(float(square.sum()), 1e-300) for square in squares]
        parts = [square.max() / whole for square, whole in zip(squares, wholes, strict=True)]
        if max(*parts, *(counts.max(axis=0) / np.maximum(counts.sum(axis=0), 1e-300))) <= A_FIFTH:
            return None
        values = counts / np.maximum(counts.sum(axis=0), 1e-300)
        variance = np.max([square / whole for square, whole in zip(squares, wholes, strict=True)], axis=0)
        worst = int(np.argmax(np.maximum(values.max(axis=1), variance)))
        theirs, ours = values[worst].tolist()
        return HeavyUnit(
            candidate=ours >= theirs,
            values=max(ours, theirs),
            variance=float(variance[worst]),
            unit=int(units[worst]),
        )

    def without_heavy(self) -> tuple[HeavyUnit | None, list["ArmSums"]]:
        """The heaviest unit, and the sums without it, without the next one too, and so on; None up to a
        fifth."""
        first = heavy = self.heaviest()
        found: list[ArmSums] = []
        while heavy is not None and len(found) < _MOST_HEAVY:
            last = found[-1] if found else self
            rest = arm_sums(self.sample, last.observed.only(self.sample.unit != heavy.unit))
            if rest.sums.units(candidate=True) < 2:
                break
            found.append(rest)
            heavy = rest.heaviest()
        return first, found

    def _adjusted(self, sums: UnitSums, *, by_category: bool) -> Arms:
        enough = min(sums.units(candidate=True), sums.units(candidate=False)) >= GATE
        if self.observed.strata or not enough:
            return self._plain
        category = self.observed.category if by_category else None
        return narrower(sums, self.observed.before, category, self._plain)

    @cached_property
    def _plain(self) -> Arms:
        """Both arms of the sums, or of the slower values, as they are."""
        sums = self.sums if self._slower is None else self._slower[1]
        return arms(sums, strata=self.observed.strata)

    @cached_property
    def _slower(self) -> tuple[Quantiles, UnitSums] | None:
        observed = self.observed
        if observed.values is None or observed.level is None:
            return None
        found = Quantiles.of(self.sample, observed.values, observed.level)
        return found, _sums(self.sample, observed, found.slower(observed.values))


def arm_sums(sample: Sample, observed: Observations) -> ArmSums:
    """Only the phases in which both arms have values. Without such a phase, only the candidate's values: no
    comparison is possible."""
    sums = _sums(sample, observed, observed.total)
    if not sums.candidate.any() or sums.candidate.all():
        return ArmSums(sample=sample, observed=observed, sums=sums)
    phases = int(sample.phase.max()) + 1  # the sample's: the newest may have no value yet
    theirs, ours = (np.bincount(sums.phase[sums.candidate == arm], minlength=phases) for arm in (False, True))
    common = (theirs > 0) & (ours > 0)
    if not common.any():
        return ArmSums(
            sample=sample, observed=observed.only(sample.candidate), sums=sums.only(sums.candidate)
        )
    rows = common[sums.phase]
    if rows.all():
        return ArmSums(sample=sample, observed=observed, sums=sums)
    return ArmSums(sample=sample, observed=observed.only(common[sample.phase]), sums=sums.only(rows))


def unit_means(sums: UnitSums, *, candidate: bool) -> Floats:
    """The mean of each unit of one arm, (units,)."""
    total, count = unit_totals(sums, candidate=candidate)
    return total / count


def unit_totals(sums: UnitSums, *, candidate: bool) -> tuple[Floats, Floats]:
    """The total and the count of each unit of one arm over all phases, (units,) each."""
    mine = sums.only(sums.candidate == candidate)
    if sums.single_phase:
        return mine.total, mine.count
    units, place = np.unique(mine.unit, return_inverse=True)
    total = np.bincount(place, weights=mine.total, minlength=len(units))
    count = np.bincount(place, weights=mine.count, minlength=len(units))
    return total.astype(np.float64), count.astype(np.float64)


def _carrying(sums: UnitSums, *, candidate: bool) -> int:
    """The arm's effective number of units, at most its units: 1/Σ(ω_k²/K_k), the equivalent in one phase.

    Otherwise a heavily weighted ramp phase with few units could pass the gate on another phase's units, with
    little variance to show the uncertainty.
    """
    rows, units = sums.phase[sums.candidate == candidate], sums.units(candidate=candidate)
    if units == 0 or sums.single_phase or not sums.candidate.any():
        return units
    per_phase = np.maximum(np.bincount(rows), 1)
    omega = np.bincount(sums.phase[sums.candidate], weights=sums.count[sums.candidate])
    return min(units, int(1 / float(np.sum((omega / omega.sum()) ** 2 / per_phase)) + 1e-9))


def _sums(sample: Sample, observed: Observations, total: Floats) -> UnitSums:
    row = observed.row
    sums = unit_sums(sample.unit[row], sample.phase[row], sample.candidate[row], total, observed.count)
    return replace(sums, count=np.ones(len(sums.unit))) if observed.per_unit else sums
