"""Intervals for a share from few events, without a normal approximation."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from scipy import special


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
