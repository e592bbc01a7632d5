"""Takes out of both arms what was known of the units before the canary's first answer to them.

CUPED (Deng, Xu, Kohavi, Walker, WSDM 2013) with the unit's earlier value, and post-stratification by the
unit's first category, as one regression that both arms share (Lin, Annals of Applied Statistics 2013).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verdict.statistics.ratio import Arms, Ratio, UnitSums, arms, renumbered, weights
from verdict.statistics.types import Floats, Ints

STRATA = 10
"""The most strata. The smallest categories share one."""

LEAST = 100
"""A stratum has at least so many units; else it joins the others that have fewer."""

WORTH = 0.99
"""An adjustment is used if it lowers the standard error of the difference to this part, or further."""

_ROUNDING = 1e-9
"""What varies by less than this part of its size is taken for constant: the rest is rounding."""


def narrower(
    sums: UnitSums, before: Floats | None, category: Ints | None = None, plain: Arms | None = None
) -> Arms:
    """`adjusted` where that narrows the arms' difference, else the `plain` ones, which are `arms` of the
    sums."""
    plain = arms(sums) if plain is None else plain
    found = _adjusted(sums, plain, before, category)
    return found if found.se(1) <= WORTH * plain.se(1) and plain.se(1) > 0 else plain


def adjusted(sums: UnitSums, before: Floats | None, category: Ints | None = None) -> Arms:
    """The arms' R′ = R − Σω_k(s̄_arm,k − s̄_k), with s what is expected of a unit from its past.

    `before` holds each unit's earlier values, (units, values), NaN without one; `category` its first category
    as a number, (units,). Each phase compares the units of one time, so both arms are moved to the phase's
    mean. A unit without a value counts as average, which explains nothing. s̄_k is itself estimated: its
    influence is in both arms, so it adds θ²s_x²/K_all to the variance of an absolute bound and cancels in a
    difference.
    Raises ValueError below two units in an arm.
    """
    return _adjusted(sums, arms(sums), before, category)


def _adjusted(sums: UnitSums, plain: Arms, before: Floats | None, category: Ints | None) -> Arms:
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
    if half <= _ROUNDING * max(abs(low), abs(high)):
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
    varies = diagonal > _ROUNDING**2 * diagonal.max(initial=0.0)
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
