"""What the units' influences say about an estimate: its error, its skewness, and how much hangs on one
unit."""

import math
from dataclasses import dataclass

import numpy as np

from report.statistics.skewness import skewness
from report.statistics.types import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateSpread:
    """An estimate that is `off` by so much from the plain one, with its standard error and skewness κ."""

    off: float
    se: float
    skewness: float


def spreads(influence: Floats) -> tuple[EstimateSpread, EstimateSpread]:
    """The spread of an estimate with these influences, (units,), and that with the heaviest unit counted
    twice.

    A claim must hold for both: the heaviest unit's next visit must not reverse the claim.
    """
    se = math.sqrt(float(np.sum(influence**2)))
    plain = EstimateSpread(off=0.0, se=se, skewness=skewness(influence))
    if se == 0:
        return plain, plain
    heaviest = float(influence[np.argmax(influence**2)])
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
