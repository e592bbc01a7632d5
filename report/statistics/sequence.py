"""Always-valid intervals and evidence: asymptotic confidence sequences.

Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", arXiv 2103.06476. τ = n·ρ² is the information so far in units of the prior's.
"""

import math

from scipy import special

POWER_Z = float(special.ndtri(0.8))
"""z_β of the 80 % power behind the detectable difference and the units needed."""


def tuning(*, alpha: float, planned: float) -> float:
    """ρ² that makes the two-sided sequence tightest at n* = `planned` units: (−W₋₁(−α²/e) − 1)/n*."""
    return (-float(special.lambertw(-(alpha**2) / math.e, k=-1).real) - 1) / planned


def multiplier(tau: float, alpha: float) -> float:
    """c of the two-sided interval estimate ± c·SE at level 1 − α, always valid."""
    return math.sqrt(2 * (tau + 1) / tau * math.log(math.sqrt(tau + 1) / alpha))


def one_sided_multiplier(tau: float, alpha: float) -> float:
    """c of the one-sided bound estimate − c·SE; tune ρ² at 2α for it."""
    return math.sqrt(2 * (tau + 1) / tau * math.log(1 + math.sqrt(tau + 1) / (2 * alpha)))


def log_evidence(z: float, tau: float) -> float:
    """ln E₂ against "no difference" at z = estimate/SE: z²τ/(2(1+τ)) − ½ ln(1+τ)."""
    return z * z * tau / (2 * (1 + tau)) - 0.5 * math.log1p(tau)


def evidence(z: float, tau: float) -> float:
    """E₂, two-sided; +inf on overflow."""
    return _exp(log_evidence(z, tau))


def one_sided_evidence(z: float, tau: float) -> float:
    """E₁ = 2·E₂·Φ(z√(τ/(1+τ))), the evidence for a positive difference."""
    tail = float(special.log_ndtr(z * math.sqrt(tau / (1 + tau))))
    return _exp(math.log(2) + log_evidence(z, tau) + tail)


def p_value(z: float, tau: float) -> float:
    """min(1, 1/E₂): below α exactly when the interval at α excludes 0."""
    return min(1.0, _exp(-log_evidence(z, tau)))


def units_needed(*, sigma: float, delta: float, share: float | None, alpha: float, rho2: float) -> float:
    """The candidate units at which a true distance `delta` from the bound is detected with 80 % power.

    (c+z_β)²·σ²·(1 + w/(1−w))/δ², iterated because c depends on the τ of the result. `sigma` is the standard
    deviation of one unit's value, in delta's unit. `share` w is the candidate's share for a relative bound,
    None for an absolute bound. Raises ValueError if delta is not positive.
    """
    if delta <= 0:
        raise ValueError("delta must be positive: no number of units detects a distance of 0")
    spread = (sigma / delta) ** 2 * (1 if share is None else 1 + share / (1 - share))
    units = max(1.0, (multiplier(1.0, alpha) + POWER_Z) ** 2 * spread)
    for _ in range(50):
        step = max(1.0, (multiplier(rho2 * units, alpha) + POWER_Z) ** 2 * spread)
        if abs(step - units) < 0.5:
            return step
        units = step
    return units


def _exp(log: float) -> float:
    try:
        return math.exp(log)
    except OverflowError:
        return math.inf
