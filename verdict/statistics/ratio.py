"""Ratios of unit sums by the delta method: one arm's value and each unit's influence on it.

Deng, Knoblich, Lu, "Applying the Delta Method in Metric Analytics", arXiv 1803.06336. Exchanges of one unit
are correlated, so every variance here is a sum over units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.interval import Interval
from verdict.statistics.types import NO_NUMBER, Bools, Floats, Ints, NotComputed, picked

_LEAST = 1e-280
"""A smaller variance has lost digits, or all of them, to the smallest number that there is."""

_ROUNDING = 1e-12
"""The rounding error of a unit's distance from the mean, relative to its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """R = ΣS/ΣN of one arm. `influence` (units,) sums to 0 and its squares to `variance`.

    `moved`: what an adjustment by the units' past added to the value. `shared` (units,): the part of the
    influence that both arms have then, by the mean of all units to which they are moved.
    """

    value: float
    influence: Floats
    moved: float = 0.0
    shared: Floats | float = 0.0

    def computed(self) -> None:
        """Raises NotComputed where the value or the variance is no number, or too small to be told from 0."""
        variance = self.variance
        if not (math.isfinite(self.value) and math.isfinite(variance)):
            raise NotComputed(NO_NUMBER)
        if variance < _LEAST and self.influence.any():
            raise NotComputed("they are too small to be squared")

    @property
    def own(self) -> Floats:
        """The influence of the arm's own units, (units,)."""
        return self.influence - self.shared

    @property
    def variance(self) -> float:
        return float(np.sum(self.influence**2))

    @property
    def se(self) -> float:
        return math.sqrt(self.variance)


def residuals(totals: Floats, expected: Floats) -> Floats:
    """`totals` − `expected`, (K,) each; 0 where only rounding is left: equal values have no spread."""
    found = totals - expected
    return np.where(np.abs(found) <= _ROUNDING * (np.abs(totals) + np.abs(expected)), 0.0, found)


# Both arms of a ramp: ratios are compared within each phase, because the share differs between phases.


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSums:
    """One row per unit and phase, (rows,) each. `unit` numbers from 0, `count` > 0 or `total` is not 0."""

    unit: Ints
    phase: Ints
    candidate: Bools
    total: Floats
    count: Floats

    def only(self, rows: Bools) -> "UnitSums":
        return picked(self, rows)

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
    counts, totals = np.bincount(key, weights=count), np.bincount(key, weights=total)
    place = np.flatnonzero((counts != 0) | (totals != 0))  # a cost may have no event
    return UnitSums(
        unit=place // 2,
        phase=np.full(len(place), phase, dtype=np.int64),
        candidate=place % 2 == 1,
        total=totals[place],
        count=counts[place],
    )


def counted_phases(sums: UnitSums, phases: int) -> tuple[Bools, Bools]:
    """Whether the baseline's counts, and the candidate's, are above 0 in each phase, (phases,) each."""
    theirs, ours = (
        np.bincount(sums.phase[(sums.candidate == arm) & (sums.count > 0)], minlength=phases) > 0
        for arm in (False, True)
    )
    return theirs, ours


def common_phases(phase: Ints, candidate: Bools, phases: int) -> Bools:
    """Whether both arms have a row in each phase, (phases,). `phase` and `candidate` are (rows,)."""
    theirs, ours = (np.bincount(phase[candidate == arm], minlength=phases) > 0 for arm in (False, True))
    return theirs & ours


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

    The candidate must have values in every phase. With one phase Var(R) = Σe²/((K−1)·K·N̄²), e = S − R·N,
    over K units; with several, SE² = Σψ². Phases that are `strata` of one time lose a degree of freedom
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


# A quantile of exchanges with an interval clustered by unit.


def quantile(values: Floats, level: float, weights: Floats | None = None) -> float:
    """The inverted CDF: the smallest value with at least `level` of the weight at or below it.

    +inf for a level above 1, −inf for a level of 0 or less.
    """
    if level <= 0:
        return -math.inf
    if level > 1:
        return math.inf
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(np.ones(len(values)) if weights is None else weights[order])
    # Rounding must not move the rank, for example of .95 of 400 equal weights.
    place = int(np.searchsorted(reached, level * reached[-1] * (1 - 1e-12)))
    return float(values[order[min(place, len(values) - 1)]])


def woodruff(values: Floats, level: float, *, half_width: float, weights: Floats | None = None) -> Interval:
    """Q(ν−h), Q(ν), Q(ν+h), with h = c·SE of the share above Q(ν); the upper end is unbounded if ν+h ≥ 1."""
    return Interval(
        low=quantile(values, level - half_width, weights),
        estimate=quantile(values, level, weights),
        high=quantile(values, level + half_width, weights) if level + half_width < 1 else math.inf,
    )


# Takes out of both arms what was known of the units before the canary's first answer to them.


STRATA = 10
"""The most strata. The smallest categories share one."""

LEAST = 100
"""A stratum has at least so many units; else it joins the others that have fewer."""

WORTH = 0.99
"""An adjustment is used if it lowers the standard error of the difference to this part, or further."""

_RANK_TOLERANCE = 1e-9
"""What varies by less than this part of its size is taken for constant: the rest is rounding."""


def narrower(sums: UnitSums, plain: Arms, before: Floats | None, category: Ints | None) -> Arms:
    """`adjusted` where that narrows the difference of the `plain` arms, which are `arms` of the sums."""
    found = adjusted(sums, plain, before, category)
    return found if found.se(1) <= WORTH * plain.se(1) and plain.se(1) > 0 else plain


def adjusted(sums: UnitSums, plain: Arms, before: Floats | None, category: Ints | None) -> Arms:
    """The arms' R′ = R − Σω_k(s̄_arm,k − s̄_k), with s what is expected of a unit from its past.

    `before` holds each unit's earlier values, (units, values), NaN without one; `category` its first category
    as a number, (units,). Each phase compares the units of one time, so both arms are moved to the phase's
    mean. A unit without a value counts as average, which explains nothing. s̄_k is itself estimated: its
    influence is in both arms, so it adds θ²s_x²/K_all to the variance of an absolute bound and cancels in a
    difference.
    """
    columns = [] if before is None else [before[:, k] for k in range(before.shape[1])]
    found = [_known(column[sums.unit], sums.phase) for column in columns]
    stratum = None if category is None else _strata(category[sums.unit])
    x = [column for column in found if column is not None]
    if not x and stratum is None:
        return plain
    groups, omega = _Groups.by(2 * sums.phase + sums.candidate), weights(sums)
    size = groups.means(sums.count)
    residual = omega * (sums.total - groups.means(sums.total) / size * sums.count) / size
    return _without(sums, plain, groups, omega, _fitted(residual, omega, groups, x, stratum))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Groups:
    """The rows by phase (`of` = phase) or by phase and arm, with the number of rows in each group."""

    of: Ints
    size: Floats

    @classmethod
    def by(cls, group: Ints) -> "_Groups":
        return cls(of=group, size=np.maximum(np.bincount(group), 1).astype(np.float64))

    def means(self, values: Floats) -> Floats:
        """The mean of each row's group, (rows,)."""
        return (np.bincount(self.of, weights=values) / self.size)[self.of]

    def part(self, unbiased: bool) -> Floats:
        """Each row's part in its group's mean, (rows,); `unbiased`: with K−1 degrees of freedom, as in `arms`
        of a single phase."""
        part = 1 / (np.sqrt(self.size * np.maximum(self.size - 1, 1)) if unbiased else self.size)
        return np.asarray(part[self.of], dtype=np.float64)


def _known(x: Floats, phase: Ints) -> Floats | None:
    """The earlier values from −1 to 1, with their phase's mean where there is none; None where all known ones
    are the same, which explains nothing."""
    missing = ~np.isfinite(x)
    if missing.all():
        return None
    low, high = float(x[~missing].min()), float(x[~missing].max())
    half = high / 2 - low / 2
    if half <= _RANK_TOLERANCE * max(abs(low), abs(high)):
        return None
    x = np.where(missing, 0.0, (x - (low / 2 + high / 2)) / half)
    if not missing.any():
        return x
    there = np.bincount(phase, weights=~missing)
    mean = np.bincount(phase, weights=x) / np.maximum(there, 1)
    return np.where(missing, mean[phase], x)


def _strata(category: Ints) -> Ints | None:
    """The stratum of each row: its category, if many units have it. None with a single stratum."""
    rows = np.bincount(category)
    large = np.argsort(-rows, kind="stable")[: STRATA - 1]
    large = large[rows[large] >= LEAST]
    if len(large) == 0 or rows[large[0]] == len(category):
        return None
    stratum = np.full(len(rows), len(large), dtype=np.int64)
    stratum[large] = np.arange(len(large))
    if rows.sum() - rows[large].sum() < LEAST:  # too few for a stratum of their own
        stratum[stratum == len(large)] = 0
    return None if stratum.max() == 0 else stratum[category]


def _fitted(
    residual: Floats, weight: Floats, groups: _Groups, x: Sequence[Floats], stratum: Ints | None
) -> Floats:
    """Σθ·x plus the stratum's part, by least squares within the groups. `residual` is already weighted."""
    if stratum is None:
        stratum = np.zeros(len(residual), dtype=np.int64)
    strata = int(stratum.max()) + 1
    centred = [column - groups.means(column) for column in x]

    def by_stratum(values: Floats) -> Floats:
        return np.bincount(stratum, weights=values, minlength=strata).astype(np.float64)

    across = np.array([by_stratum(weight * column) for column in centred]).reshape(len(x), strata)
    within = np.array([[np.sum(weight * one * other) for other in centred] for one in centred])
    normal = np.block(
        [[_of_strata(weight, groups, stratum, strata), across.T], [across, within.reshape(len(x), len(x))]]
    )
    right = np.array([*by_stratum(residual), *(np.sum(residual * column) for column in centred)])
    theta = _solved(normal, right)
    score = theta[stratum]
    for slope, column in zip(theta[strata:].tolist(), x, strict=True):
        score += slope * column
    return score


def _of_strata(weight: Floats, groups: _Groups, stratum: Ints, strata: int) -> Floats:
    """The strata's part of the normal equations: how membership varies within the groups."""
    every = len(groups.size)
    members = np.bincount(groups.of * strata + stratum, minlength=every * strata).reshape(every, strata)
    heavy = np.bincount(groups.of, weights=weight, minlength=every) / groups.size
    found = -(heavy / groups.size * members.T) @ members
    # A sum of terms of 0 or more: as a difference, rounding could take the diagonal below 0.
    np.fill_diagonal(found, heavy @ (members * (1 - members / groups.size[:, None])))
    return np.asarray(found, dtype=np.float64)


def _solved(normal: Floats, right: Floats) -> Floats:
    """The smallest solution: the strata add up to everyone, so one of them is free. Scaled, so that each
    column counts alike; one that does not vary within the groups is left out."""
    diagonal = np.diag(normal)
    varies = diagonal > _RANK_TOLERANCE**2 * diagonal.max(initial=0.0)
    normal, right = np.where(np.outer(varies, varies), normal, 0.0), np.where(varies, right, 0.0)
    scale = np.sqrt(np.where(varies, diagonal, 1.0))
    found = np.linalg.lstsq(normal / np.outer(scale, scale), right / scale, rcond=1e-9)[0] / scale
    return np.asarray(found, dtype=np.float64)


def _without(sums: UnitSums, plain: Arms, groups: _Groups, omega: Floats, score: Floats) -> Arms:
    """The plain arms less what the score explains of the distance of each from both together."""
    unit, units, every = renumbered(sums.unit), len(plain.candidate.influence), _Groups.by(sums.phase)
    single = sums.single_phase
    mean, common = groups.means(score), every.means(score)
    explained = np.bincount(
        2 * unit + sums.candidate, weights=omega * (score - mean) * groups.part(single), minlength=2 * units
    ).reshape(units, 2)
    shared = np.bincount(unit, weights=omega * (score - common) * every.part(single), minlength=units)
    by = np.bincount(sums.candidate, weights=omega * (common - mean) / groups.size[groups.of], minlength=2)

    def moved(ratio: Ratio, arm: int) -> Ratio:
        return Ratio(
            value=ratio.value + float(by[arm]),
            moved=float(by[arm]),
            shared=shared,
            influence=ratio.influence + shared - explained[:, arm],
        )

    return Arms(candidate=moved(plain.candidate, 1), baseline=moved(plain.baseline, 0))
