"""Correlation coefficients with Fisher's interval."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

from report.statistics.types import Floats, Interval

LEAST = 8
"""The fewest pairs: below, the interval is almost -1 to 1, and a coefficient would mislead."""

_SPEARMAN = 1.06
"""Fieller, Hartley, Pearson, Biometrika 1957: the variance of Fisher's z of ranks is 1.06/(n−3)."""


def pearson(x: Sequence[float], y: Sequence[float], *, alpha: float = 0.05) -> Interval | None:
    """Pearson's r of (n,) pairs with Fisher's interval tanh(atanh r ± z/√(n−3)).

    None below `LEAST` pairs, or if a series is constant.
    """
    return _with_interval(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64), 1.0, alpha)


def spearman(x: Sequence[float], y: Sequence[float], *, alpha: float = 0.05) -> Interval | None:
    """Spearman's ρ: Pearson's r of the ranks, with the same interval."""
    return _with_interval(_ranks(x), _ranks(y), _SPEARMAN, alpha)


def _ranks(values: Sequence[float]) -> Floats:
    """Equal values share the mean of their ranks."""
    _, place, sizes = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2)[place], dtype=np.float64)


def _with_interval(x: Floats, y: Floats, variance: float, alpha: float) -> Interval | None:
    if len(x) < LEAST or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    r = float(np.corrcoef(x, y)[0, 1])
    edge = 1 - 1e-12
    middle = math.atanh(max(-edge, min(edge, r)))
    half = float(special.ndtri(1 - alpha / 2)) * math.sqrt(variance / (len(x) - 3))
    return Interval(low=math.tanh(middle - half), estimate=r, high=math.tanh(middle + half))
