"""How sure a counted share is at one look: Wilson's interval. Those for every look are the report's."""

import math
from statistics import NormalDist

Z = NormalDist().inv_cdf(0.975)
"""The normal quantile of a two-sided 95 %."""


def wilson(hits: float, of: float) -> tuple[float, float]:
    """(low, high) of the share `hits` / `of`, 95 %, in [0, 1]; `of` is above 0, and either may be fractional.

    Wilson, JASA 1927: unlike Wald's it keeps its level at small counts, and at 0 and 1.
    """
    share, weight = hits / of, Z * Z / of
    middle = (share + weight / 2) / (1 + weight)
    reach = Z * math.sqrt(share * (1 - share) / of + weight / (4 * of)) / (1 + weight)
    # At 0 and at all it ends there exactly; rounding would leave a little.
    return max(0.0, middle - reach) if hits > 0 else 0.0, min(1.0, middle + reach) if hits < of else 1.0
