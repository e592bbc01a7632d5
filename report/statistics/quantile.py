"""A quantile of exchanges with an interval clustered by unit.

Woodruff's method (JASA 1952): the interval for the share of exchanges above the quantile, clustered by unit,
is mapped back through the quantile function. The usual gbstats interval is biased towards passing.
"""

import math

import numpy as np

from report.statistics.types import Floats, Interval


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
