"""CUPED over `Arms`: both arms adjusted by the units' values before the canary.

Deng, Xu, Kohavi, Walker, WSDM 2013. Only for one phase: over several phases a unit may be in both arms.
"""

import math

import numpy as np

from report.statistics.phases import Arms, UnitSums
from report.statistics.ratio import Ratio, cuped
from report.statistics.types import Floats


def adjusted(sums: UnitSums, before: Floats) -> Arms:
    """The arms' R′ = R − θ(x̄_arm − x̄_all), from each unit's value `before`, (units,), NaN without one.

    A unit without a value counts as average, which explains nothing. x̄_all is itself estimated: its influence
    is in both arms, so it adds θ²s_x²/K_all to the variance of an absolute bound and cancels in a difference.
    Raises ValueError below two units in an arm.
    """
    x = before[sums.unit]
    x = np.where(np.isnan(x), np.nanmean(x), x)
    of_arm = [sums.candidate, ~sums.candidate]
    found = cuped(*((sums.total[arm], sums.count[arm], x[arm]) for arm in of_arm))
    shared = found.theta * (x - x.mean()) / math.sqrt(len(x) * (len(x) - 1))

    def aligned(ratio: Ratio, place: int) -> Ratio:
        influence = np.bincount(sums.unit, weights=shared).astype(np.float64)
        influence += np.bincount(sums.unit[of_arm[place]], weights=ratio.influence, minlength=len(influence))
        return Ratio(value=ratio.value, influence=influence)

    return Arms(candidate=aligned(found.candidate, 0), baseline=aligned(found.baseline, 1))
