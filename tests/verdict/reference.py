"""The statistics' plain forms, each from its paper, with which those of a report must agree."""

import math
from dataclasses import dataclass

import numpy as np

from verdict.statistics import ratio as of_arms
from verdict.statistics.ratio import Arms, Ratio, UnitSums, arms, residuals
from verdict.statistics.sequence import log_evidence
from verdict.statistics.types import Floats, Ints


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


def one_sided_multiplier(tau: float, alpha: float) -> float:
    """c of the one-sided bound estimate − c·SE; tune ρ² at 2α for it."""
    return math.sqrt(2 * (tau + 1) / tau * math.log(1 + math.sqrt(tau + 1) / (2 * alpha)))


def evidence(z: float, tau: float) -> float:
    """E₂, two-sided; +inf on overflow."""
    try:
        return math.exp(log_evidence(z, tau))
    except OverflowError:
        return math.inf


def adjusted(sums: UnitSums, before: Floats | None, category: Ints | None = None) -> Arms:
    """Both arms, adjusted by the units' past."""
    return of_arms.adjusted(sums, arms(sums), before, category)


def narrower(sums: UnitSums, before: Floats | None, category: Ints | None = None) -> Arms:
    """The adjusted arms where they are narrower, else the plain ones."""
    return of_arms.narrower(sums, arms(sums), before, category)
