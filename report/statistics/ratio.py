"""Ratios of unit sums by the delta method: one arm's value and each unit's influence on it.

Deng, Knoblich, Lu, "Applying the Delta Method in Metric Analytics", arXiv 1803.06336. Exchanges of one unit
are correlated, so every variance here is a sum over units.
"""

import math
from dataclasses import dataclass

import numpy as np

from report.statistics.types import Floats, NotComputed

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
            raise NotComputed("they are too large, or not numbers")
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


def ratio(totals: Floats, counts: Floats) -> Ratio:
    """ΣS/ΣN with Var(R) = Σe²/((K−1)·K·N̄²), e = S − R·N.

    `totals` and `counts` are (K,) unit sums, counts > 0. Raises ValueError below two units.
    """
    units = len(totals)
    if units < 2:
        raise ValueError(f"the variance of a ratio needs two units, got {units}")
    size = float(np.sum(counts))
    value = float(np.sum(totals)) / size
    influence = residuals(totals, value * counts) / size * math.sqrt(units / (units - 1))
    return Ratio(value=value, influence=influence)


def residuals(totals: Floats, expected: Floats) -> Floats:
    """`totals` − `expected`, (K,) each; 0 where only rounding is left: equal values have no spread."""
    found = totals - expected
    return np.where(np.abs(found) <= _ROUNDING * (np.abs(totals) + np.abs(expected)), 0.0, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value and its standard error, in the same unit."""

    value: float
    se: float


def difference(candidate: Ratio, baseline: Ratio, *, factor: float = 1.0) -> Estimate:
    """R_T − k·R_C of independent arms, with SE² = V_T + k²·V_C. `factor` is k."""
    return Estimate(
        value=candidate.value - factor * baseline.value,
        se=math.sqrt(candidate.variance + factor**2 * baseline.variance),
    )


def log_ratio(candidate: Ratio, baseline: Ratio) -> Estimate:
    """ln(R_T/R_C) of independent arms, SE² = V_T/R_T² + V_C/R_C²; both ratios must be positive."""
    return Estimate(
        value=math.log(candidate.value / baseline.value),
        se=math.hypot(candidate.se / candidate.value, baseline.se / baseline.value),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjusted:
    """Both arms after CUPED, and its θ."""

    candidate: Ratio
    baseline: Ratio
    theta: float


def cuped(candidate: tuple[Floats, Floats, Floats], baseline: tuple[Floats, Floats, Floats]) -> Adjusted:
    """Both arms' ratios, adjusted by the units' values before the canary.

    Each arm is (totals, counts, before), all (K,). θ = Σ(e/N̄)(x−x̄_arm)/Σ(x−x̄_arm)² over both arms,
    R′ = R − θ(x̄_arm−x̄_all), residual e/N̄ − θ(x−x̄_arm). An absolute bound must add θ²·s_x²/K_all to the
    variance, because x̄_all is itself estimated. Deng, Xu, Kohavi, Walker, WSDM 2013.
    """
    arms = (candidate, baseline)
    before_all = float(np.mean(np.concatenate([before for _, _, before in arms])))
    centred = [before - np.mean(before) for _, _, before in arms]
    plain = [ratio(totals, counts) for totals, counts, _ in arms]
    # The influence is e/N̄ times this factor, which makes its squares sum to the variance.
    shrink = [1 / math.sqrt(len(x) * (len(x) - 1)) for x in centred]
    residual = [r.influence / s for r, s in zip(plain, shrink, strict=True)]
    spread = sum(float(np.sum(x**2)) for x in centred)
    shared = sum(float(np.sum(e * x)) for e, x in zip(residual, centred, strict=True))
    theta = shared / spread if spread > 0 else 0.0
    adjusted = [
        Ratio(
            value=r.value - theta * (float(np.mean(before)) - before_all),
            influence=(e - theta * x) * s,
        )
        for r, e, x, s, (_, _, before) in zip(plain, residual, centred, shrink, arms, strict=True)
    ]
    return Adjusted(candidate=adjusted[0], baseline=adjusted[1], theta=theta)
