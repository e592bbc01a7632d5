"""Both arms of a ramp: ratios are compared within each phase, because the share differs between phases.

A unit may be in the baseline in one phase and in the candidate in a later one, so influences are summed per
unit over phases before squaring.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from report.statistics.ratio import Ratio, residuals
from report.statistics.types import Bools, Floats, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSums:
    """One row per unit and phase, (rows,) each. `unit` numbers from 0, `count` > 0."""

    unit: Ints
    phase: Ints
    candidate: Bools
    total: Floats
    count: Floats

    def only(self, rows: Bools) -> "UnitSums":
        return UnitSums(
            unit=self.unit[rows],
            phase=self.phase[rows],
            candidate=self.candidate[rows],
            total=self.total[rows],
            count=self.count[rows],
        )

    @property
    def single_phase(self) -> bool:
        """True if all rows are of one phase; then each row is a different unit."""
        return len(self.phase) == 0 or int(self.phase.min()) == int(self.phase.max())

    def units(self, *, candidate: bool) -> int:
        """The number of distinct units in one arm."""
        mine = self.candidate == candidate
        return int(np.count_nonzero(mine)) if self.single_phase else distinct(self.unit[mine])


def unit_sums(unit: Ints, phase: Ints, candidate: Bools, total: Floats, count: Floats) -> UnitSums:
    """Sum `count` values with the sum `total`, (n,) each, to one row per phase, unit and arm."""
    phases = np.flatnonzero(np.bincount(phase)).tolist()
    all_rows = slice(None)
    # Phase by phase, so that the counting arrays are as long as the number of units, without sorting.
    pieces = [
        _of_phase(number, unit[rows], candidate[rows], total[rows], count[rows])
        for number in phases
        for rows in (all_rows if len(phases) == 1 else phase == number,)
    ]
    if len(pieces) == 1:
        return pieces[0]
    columns = ("unit", "phase", "candidate", "total", "count")
    empty = UnitSums(unit=unit, phase=phase, candidate=candidate, total=total, count=count)
    return UnitSums(
        **{name: np.concatenate([getattr(piece, name) for piece in pieces or [empty]]) for name in columns}
    )


def _of_phase(phase: int, unit: Ints, candidate: Bools, total: Floats, count: Floats) -> UnitSums:
    key = 2 * unit + candidate
    counts = np.bincount(key, weights=count)
    place = np.flatnonzero(counts)
    return UnitSums(
        unit=place // 2,
        phase=np.full(len(place), phase, dtype=np.int64),
        candidate=place % 2 == 1,
        total=np.bincount(key, weights=total)[place],
        count=counts[place],
    )


def distinct(unit: Ints) -> int:
    """The number of distinct units, given as numbers from 0."""
    return int(np.count_nonzero(np.bincount(unit)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Both arms, with influences over the same (units,), so that a unit in both counts once."""

    candidate: Ratio
    baseline: Ratio

    def __post_init__(self) -> None:
        self.candidate.computed()
        self.baseline.computed()

    def value(self, factor: float) -> float:
        return self.candidate.value - factor * self.baseline.value

    def influence(self, factor: float) -> Floats:
        """Each unit's influence on R_T − k·R_C."""
        return self.candidate.influence - factor * self.baseline.influence

    def se(self, factor: float) -> float:
        """SE of R_T − k·R_C: √Σψ². With factor 0, the candidate's own SE."""
        return math.sqrt(float(np.sum(self.influence(factor) ** 2)))

    def log_influence(self) -> Floats:
        """Each unit's influence on ln(R_T/R_C); both ratios must be positive."""
        return self.candidate.influence / self.candidate.value - self.baseline.influence / self.baseline.value


def weights(sums: UnitSums) -> Floats:
    """ω of each row's phase, (rows,): the phase's part of the candidate's counts."""
    phases = int(sums.phase.max()) + 1
    per_phase = np.bincount(sums.phase[sums.candidate], weights=sums.count[sums.candidate], minlength=phases)
    return np.asarray((per_phase / per_phase.sum())[sums.phase], dtype=np.float64)


def arms(sums: UnitSums, *, strata: bool = False) -> Arms:
    """Σω_k·R_k for each arm, with ω_k phase k's part of the candidate's counts, and influences by unit.

    The candidate must have values in every phase. With one phase the variances are those of `ratio`, with K−1
    degrees of freedom; with several, SE² = Σψ². Phases that are `strata` of one time lose a degree of freedom
    each: their ψ grow by √(K_k/(K_k−1)). An arm without units has the value 0.
    """
    omega = weights(sums)
    # A segment has few units, so its influences need fewer entries than there are units in all.
    sums = replace(sums, unit=renumbered(sums.unit))
    return Arms(
        candidate=_arm(sums, omega, candidate=True, strata=strata),
        baseline=_arm(sums, omega, candidate=False, strata=strata),
    )


def renumbered(unit: Ints) -> Ints:
    """The units renumbered from 0 without gaps, in the same order."""
    seen = np.zeros(int(unit.max()) + 1, dtype=np.int64)
    seen[unit] = 1
    return (np.cumsum(seen) - 1)[unit]


def _arm(sums: UnitSums, omega: Floats, *, candidate: bool, strata: bool) -> Ratio:
    mine = sums.candidate == candidate
    part, weight = sums.only(mine), omega[mine]
    phases = int(sums.phase.max()) + 1
    size = np.bincount(part.phase, weights=part.count, minlength=phases)[part.phase]
    total = np.bincount(part.phase, weights=part.total, minlength=phases)[part.phase]
    value = float(np.sum(weight * part.total / size))
    psi = weight * residuals(part.total, total / size * part.count) / size
    if (sums.single_phase or strata) and len(psi) > 1:
        units = np.bincount(part.phase, minlength=phases)[part.phase]
        psi = psi * np.sqrt(units / np.maximum(units - 1, 1))
    influence = np.bincount(part.unit, weights=psi, minlength=int(sums.unit.max()) + 1).astype(np.float64)
    return Ratio(value=value, influence=influence)
