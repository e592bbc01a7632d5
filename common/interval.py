"""An interval, and Wilson's of a proportion for a single look. `verdict` has the sequential intervals."""

import math
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


def wilson(hits: float, of: float) -> tuple[float, float]:
    """Return the 95 % interval (low, high), in [0, 1], of `hits` / `of`. `of` > 0; both may be fractional.

    Wilson, JASA 1927: unlike Wald's interval it keeps its level at small counts and at 0 and 1.
    """
    share, weight = hits / of, Z * Z / of
    middle = (share + weight / 2) / (1 + weight)
    reach = Z * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    # The ends 0 and 1 are exact; rounding would miss them slightly.
    return max(0.0, middle - reach) if hits > 0 else 0.0, min(1.0, middle + reach) if hits < of else 1.0
