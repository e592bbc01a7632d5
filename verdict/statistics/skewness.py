"""How far an end of an interval lies from the estimate, if units are skewed or few.

Hall, "On the removal of skewness by transformation", JRSS B 1992, with Student's t for the effective number
of units. A reach is in standard errors; its sign is that of the boundary.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from verdict.statistics.types import Floats, NotComputed

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


# What the units' influences say about an estimate: its error, its skewness, and how much hangs on one


HEAVY = 0.1
"""A unit with more than this part of Σψ² is counted twice. In 100 users' ratings, one bad rating has 9 %: the
skewness tells of it well enough, and counting it twice would cost 8 points of power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateSpread:
    """An estimate that is `off` by so much from the plain one, with its standard error and skewness κ."""

    off: float
    se: float
    skewness: float


def spreads(influence: Floats) -> tuple[EstimateSpread, EstimateSpread]:
    """The spread of an estimate with these influences, (units,), and that with a heavy unit counted twice.

    A claim must hold for both: the heavy unit's next visit must not reverse the claim. Without such a unit,
    both are the same.
    """
    variance = float(np.sum(influence**2))
    se = math.sqrt(variance)
    plain = EstimateSpread(off=0.0, se=se, skewness=skewness(influence))
    heaviest = float(influence[np.argmax(influence**2)]) if variance > 0 else 0.0
    if heaviest**2 <= HEAVY * variance:
        return plain, plain
    wider = math.hypot(se, heaviest)
    third = plain.skewness * se**3 + heaviest**3
    return plain, EstimateSpread(off=heaviest, se=wider, skewness=third / wider**3)


def at_least(influence: Floats, variance: float) -> Floats:
    """The influences, stretched so that their squares sum to at least this variance."""
    own = float(np.sum(influence**2))
    return influence * math.sqrt(max(1.0, variance / own)) if own > 0 else influence


def lent_skewness(influence: Floats, lender: Floats, *, units: tuple[int, int]) -> float:
    """Σψ³ of an arm with these influences if its units were as skewed as the lender's; `units` of arm and
    lender.

    The third moment of a mean over n units is γ·V^1.5/√n, with γ the skewness of one unit.
    """
    gamma = math.sqrt(units[1]) * skewness(lender)
    variance = float(np.sum(influence**2))
    return gamma * math.sqrt(variance) ** 3 / math.sqrt(units[0])
