"""Response rates: how many units give a value in each arm, and bounds when the rates differ.

The candidate itself may cause a difference, so the difference never blocks. The metric is then judged between
the worst and the best case of the missing answers (Lee, Review of Economic Studies 2009).
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from report.metrics import Observations
from report.sample import Sample
from report.statistics.types import Floats, Ints

DIFFERENT = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRate:
    """(units that could give a value, units that did) per arm; χ² p-value of equal rates, None: undefined."""

    candidate: tuple[int, int]
    baseline: tuple[int, int]
    p_value: float | None

    @property
    def rates(self) -> tuple[float, float]:
        """The candidate's and the baseline's response rate."""
        return self.candidate[1] / self.candidate[0], self.baseline[1] / self.baseline[0]


def response(sample: Sample, observed: Observations) -> ResponseRate:
    """Count exposed and responding units by the arm of their first exposure."""
    arm = sample.candidate[sample.first_rows()]
    answered = np.zeros(len(sample.units), dtype=np.bool_)
    answered[sample.unit[observed.row]] = True
    counts = [
        (
            int(np.sum(observed.exposed & (arm == side))),
            int(np.sum(answered & observed.exposed & (arm == side))),
        )
        for side in (True, False)
    ]
    p = _equal_rates(*counts[0], *counts[1])
    return ResponseRate(candidate=counts[0], baseline=counts[1], p_value=p)


def _equal_rates(exposed_t: int, answered_t: int, exposed_c: int, answered_c: int) -> float | None:
    """The p-value of Pearson's χ² for equal rates; None if an arm is empty, or all or no units answered."""
    exposed, answered = exposed_t + exposed_c, answered_t + answered_c
    if not (exposed_t and exposed_c and 0 < answered < exposed):
        return None
    pooled = answered / exposed
    variance = pooled * (1 - pooled) * (1 / exposed_t + 1 / exposed_c)
    return float(stats.chi2.sf((answered_t / exposed_t - answered_c / exposed_c) ** 2 / variance, df=1))


def trimmings(sample: Sample, observed: Observations) -> tuple[Observations, Observations] | None:
    """The observations without the lowest, and without the highest units of the arm that responds more.

    It drops the share (r_more − r_less)/r_more of that arm's responding units, ordered by their means. None
    if the response rates do not differ.
    """
    found = response(sample, observed)
    if found.p_value is None or found.p_value >= DIFFERENT:
        return None
    ours, theirs = found.rates
    side = sample.candidate[observed.row] == (ours > theirs)
    units, means = _unit_means(sample.unit[observed.row][side], observed.total[side], observed.count[side])
    excess = 1 - min(ours, theirs) / max(ours, theirs)
    drop = min(math.ceil(excess * len(units)), len(units) - 1)
    order = units[np.argsort(means, kind="stable")]

    def without(dropped: Ints) -> Observations:
        return observed.take(np.flatnonzero(~(side & np.isin(sample.unit[observed.row], dropped))))

    return without(order[:drop]), without(order[len(order) - drop :])


def _unit_means(unit: Ints, total: Floats, count: Floats) -> tuple[Ints, Floats]:
    units, place = np.unique(unit, return_inverse=True)
    means = np.bincount(place, weights=total) / np.bincount(place, weights=count)
    return units, np.asarray(means, dtype=np.float64)
