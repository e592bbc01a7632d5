"""What the units' influences say about an estimate: its error, its skewness, and how much hangs on one
unit."""

import math
from dataclasses import dataclass

import numpy as np

from report.statistics.skewness import skewness
from report.statistics.types import Floats

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
