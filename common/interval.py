"""Intervals: their arithmetic, MOVER, and Wilson's of a proportion for a single look."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)
"""The normal quantile of a two-sided 95 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """low ≤ estimate ≤ high; an end is None if unbounded or not shown."""

    low: float | None
    estimate: float
    high: float | None

    def scaled(self, by: float) -> "Range":
        """The range of `by` times the quantity; a negative factor swaps the ends."""
        low, high = (None if end is None else end * by for end in (self.low, self.high))
        low, high = (low, high) if by >= 0 else (high, low)
        return Range(low=low, estimate=self.estimate * by, high=high)

    def less(self, by: float) -> "Range":
        """The range of the quantity less `by`."""
        low, high = (None if end is None else end - by for end in (self.low, self.high))
        return Range(low=low, estimate=self.estimate - by, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """low ≤ estimate ≤ high in one unit; an unbounded end is ±inf."""

    low: float
    estimate: float
    high: float

    def shifted(self, by: float) -> "Interval":
        return Interval(low=self.low + by, estimate=self.estimate + by, high=self.high + by)

    def scaled(self, by: float) -> "Interval":
        """The interval of `by` times the quantity; a negative factor swaps the ends."""
        ends = sorted((self.low * by, self.high * by))
        return Interval(low=ends[0], estimate=self.estimate * by, high=ends[1])

    def within(self, least: float | None, most: float | None) -> "Interval":
        """The interval without what lies beyond the ends of its quantity's scale (None: it has none)."""
        low, high = (-math.inf if least is None else least), (math.inf if most is None else most)
        ends = [min(max(each, low), high) for each in (self.low, self.estimate, self.high)]
        return Interval(low=ends[0], estimate=ends[1], high=ends[2])

    def shown(self) -> Range:
        """As a report has it: None for an end that is unbounded or undefined."""
        return Range(low=finite(self.low), estimate=self.estimate, high=finite(self.high))


def finite(value: float | None) -> float | None:
    """The number, or None if it is unbounded or undefined."""
    return value if value is not None and math.isfinite(value) else None


def recovered(parts: Iterable[tuple[float, Interval]]) -> Interval:
    """The interval of the sum of independent quantities, each with its weight; a negative weight subtracts.

    MOVER recovers the variance from the parts' own ends: Zou, Donner, Statistics in Medicine 2008.
    """
    found = list(parts)
    middle = sum(weight * part.estimate for weight, part in found)
    below = math.hypot(*(w * (each.estimate - (each.low if w > 0 else each.high)) for w, each in found))
    above = math.hypot(*(w * (each.estimate - (each.high if w > 0 else each.low)) for w, each in found))
    return Interval(low=middle - below, estimate=middle, high=middle + above)


def wilson(hits: float, of: float) -> tuple[float, float]:
    """Return the 95 % interval (low, high), in [0, 1], of `hits` / `of`. `of` > 0; both may be fractional.

    Wilson, JASA 1927: unlike Wald's interval it keeps its level at small counts and at 0 and 1.
    """
    share, weight = hits / of, Z * Z / of
    middle = (share + weight / 2) / (1 + weight)
    reach = Z * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    # The ends 0 and 1 are exact; rounding would miss them slightly.
    return max(0.0, middle - reach) if hits > 0 else 0.0, min(1.0, middle + reach) if hits < of else 1.0
