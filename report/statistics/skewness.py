"""How far an end of an interval lies from the estimate, if units are skewed or few.

Hall, "On the removal of skewness by transformation", JRSS B 1992, with Student's t for the effective number
of units. A reach is in standard errors; its sign is that of the boundary.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from report.statistics.types import Floats, NotComputed

_NONE = 1e-6
"""Below this skewness, the limit of the formulas for 0."""

_FAR = 1e6
"""No reach is longer, so that a reach times a standard error of 0 is a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The shape of an estimate: its skewness κ = Σψ³/(Σψ²)^1.5, and ν, the effective number of units."""

    skewness: float
    units: float

    def __post_init__(self) -> None:
        """Raises NotComputed: a reach that is no number would be cut to the longest one, at either end."""
        if not (math.isfinite(self.skewness) and math.isfinite(self.units)):
            raise NotComputed("their skewness is not a number")

    def reach(self, bound: float) -> float:
        """T(c): the distance of the lower end below the estimate at the boundary c; of the upper end,
        −T(−c)."""
        q = _student(bound, self.units)
        k = self.skewness
        if abs(k) < _NONE:
            return q
        return max(-_FAR, min(_FAR, 3 / k * (float(np.cbrt(1 + k * (q - k / 6))) - 1)))

    def level(self, reach: float) -> float:
        """The one-sided level at which the end has this reach: the inverse of `reach`, as 1 − Φ(c)."""
        k = self.skewness
        q = reach if abs(k) < _NONE else ((1 + k * reach / 3) ** 3 - 1) / k + k / 6
        return float(special.stdtr(_freedom(self.units), -q))

    def quantile_reach(self, bound: float) -> tuple[float, float]:
        """The reach of a quantile's lower and upper end at the boundary c: max(q, q ± κ(q²−1)/6)."""
        q = _student(bound, self.units)
        shift = self.skewness * (q * q - 1) / 6
        return max(q, q + shift), max(q, q - shift)


def skewness(influence: Floats) -> float:
    """κ of an estimate with these influences of units, (units,); 0 without any spread."""
    square = influence * influence
    spread = float(np.sum(square))
    return float(np.sum(square * influence)) / spread**1.5 if spread > 0 else 0.0


def effective_units(counts: Floats) -> float:
    """ν = (ΣN²)²/ΣN⁴ of units with these counts, (units,): few busy units count as few."""
    square = counts * counts
    return float(np.sum(square)) ** 2 / float(np.sum(square * square)) if len(counts) else 0.0


def _student(bound: float, units: float) -> float:
    """Student's quantile at the level of the normal boundary."""
    # The lower tail is exact where 1 − Φ(c) is not.
    tail = float(special.stdtrit(_freedom(units), special.ndtr(-abs(bound))))
    return -tail if bound > 0 else tail


def _freedom(units: float) -> float:
    return max(units - 1, 2.0)
