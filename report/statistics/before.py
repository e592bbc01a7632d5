"""Both arms freed of what the units' values before the canary already explained (CUPED), as `Arms`.

Deng, Xu, Kohavi, Walker, WSDM 2013. Only within one phase: over several, a unit may have been in both arms.
"""

import math

import numpy as np

from report.statistics.phases import Arms, UnitSums
from report.statistics.ratio import Ratio, cuped
from report.statistics.types import Floats


def freed(sums: UnitSums, before: Floats) -> Arms:
    """The arms' R′ = R − θ(x̄_arm − x̄_all), given each unit's value before, (units,), NaN where there is none.

    A unit without one counts as an average one, which explains nothing. x̄_all is itself estimated: its
    influence stands in both arms alike, so that it adds θ²s_x²/K_all to an absolute bound's variance and
    falls out of a difference. Raises ValueError below two units in an arm.
    """
    x = before[sums.unit]
    x = np.where(np.isnan(x), np.nanmean(x), x)
    of = [sums.candidate, ~sums.candidate]
    found = cuped(*((sums.total[arm], sums.count[arm], x[arm]) for arm in of))
    shared = found.theta * (x - x.mean()) / math.sqrt(len(x) * (len(x) - 1))

    def aligned(one: Ratio, place: int) -> Ratio:
        influence = np.bincount(sums.unit, weights=shared).astype(np.float64)
        influence += np.bincount(sums.unit[of[place]], weights=one.influence, minlength=len(influence))
        return Ratio(value=one.value, influence=influence)

    return Arms(candidate=aligned(found.candidate, 0), baseline=aligned(found.baseline, 1))
