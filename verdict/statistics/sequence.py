"""Always-valid intervals and evidence: asymptotic confidence sequences.

Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", arXiv 2103.06476. τ = n·ρ² is the information so far in units of the prior's.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from verdict.statistics.types import Bools, Floats

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


# Intervals for a share from few events, without a normal approximation.


def log_mixture(successes: float, trials: float, p: float, *, a: float = 0.5, b: float = 0.5) -> float:
    """ln E(p) = ln B(a+s, b+n−s) − ln B(a,b) − s·ln p − (n−s)·ln(1−p), evidence against a mean of p.

    `successes` is the sum of one value in [0, 1] for each of `trials` units (fractions are fine), p in
    (0, 1). Robbins' method of mixtures with a Beta(a, b) prior.
    """
    failures = trials - successes
    return float(
        special.betaln(a + successes, b + failures)
        - special.betaln(a, b)
        - successes * math.log(p)
        - failures * math.log1p(-p)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A share's interval, in [0, 1]."""

    low: float
    high: float


def mixture_interval(
    successes: float, trials: float, *, alpha: float, a: float = 0.5, b: float = 0.5
) -> Share:
    """{p : E(p) < 1/α}, always valid. E is convex in p, lowest at s/n, so one root lies on each side."""
    mean = successes / trials

    def excess(p: float) -> float:
        return log_mixture(successes, trials, p, a=a, b=b) + math.log(alpha)

    edge = 1e-15
    centre = min(max(mean, edge), 1 - edge)
    return Share(
        low=0.0 if mean <= edge else _crossing(excess, inside=centre, outside=edge),
        high=1.0 if mean >= 1 - edge else _crossing(excess, inside=centre, outside=1 - edge),
    )


def _crossing(excess: Callable[[float], float], *, inside: float, outside: float) -> float:
    """The point between `inside` and `outside` where excess turns positive, by bisection; the end if none."""
    if excess(outside) <= 0:
        return float(round(outside))
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if excess(middle) <= 0 else (inside, middle)
    return outside


# Multiple testing: which of many e-values are discoveries.


def e_bh(evidence: Floats, *, alpha: float) -> Bools:
    """The e-BH procedure: reject the k largest e-values, with k the largest such that k·e_(k)/K ≥ 1/α.

    The false discovery rate is at most α under any dependence (Wang, Ramdas, arXiv 2009.02824). With e = 1/p
    it is the Benjamini-Hochberg procedure. Returns (K,) booleans in the order given.
    """
    tests = len(evidence)
    rejected = np.zeros(tests, dtype=np.bool_)
    order = np.argsort(-evidence, kind="stable")
    enough = np.arange(1, tests + 1) * evidence[order] / max(tests, 1) >= 1 / alpha - 1e-9
    if enough.any():
        rejected[order[: int(np.flatnonzero(enough)[-1]) + 1]] = True
    return rejected


# The sample-ratio check: does the number of units in each arm match the share?


CONCENTRATION = 100.0
"""k of the Dirichlet prior around the planned split (Lindon, Malek, arXiv 2011.03567)."""

ALARM = math.log(1000)
LEAST_EXPECTED = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Units first seen in one phase, by arm, and the candidate's share in that phase."""

    candidate: int
    baseline: int
    share: float

    @property
    def least_expected(self) -> float:
        """The number of units expected in the smaller arm."""
        return (self.candidate + self.baseline) * min(self.share, 1 - self.share)


def chi_square(splits: Sequence[Split]) -> float | None:
    """The p-value of Pearson's χ², summed over phases; None if no phase has enough units.

    A phase needs 5 expected units in each arm: below, χ² does not have its distribution, and a single user
    of a 5 % candidate would look like a broken split (p = 1e-5).
    """
    large = [split for split in splits if split.least_expected >= LEAST_EXPECTED]
    if not large:
        return None
    return float(special.chdtrc(len(large), sum(_pearson(split) for split in large)))


def _pearson(split: Split) -> float:
    units = split.candidate + split.baseline
    expected = units * split.share
    return (split.candidate - expected) ** 2 / (units * split.share * (1 - split.share))


def split_evidence(splits: Sequence[Split]) -> float:
    """ln E of the sequential multinomial test, multiplied over phases. An alarm from `ALARM` on."""
    return sum(_log_evidence(split) for split in splits)


def _log_evidence(split: Split) -> float:
    prior = (CONCENTRATION * split.share, CONCENTRATION * (1 - split.share))
    counts = (split.candidate, split.baseline)
    return float(
        special.betaln(prior[0] + counts[0], prior[1] + counts[1])
        - special.betaln(*prior)
        - counts[0] * math.log(split.share)
        - counts[1] * math.log1p(-split.share)
    )
