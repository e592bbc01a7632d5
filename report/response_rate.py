"""Response rates: how many units give a value in each arm, and bounds when the rates differ.

The candidate itself may cause a difference, so the difference never blocks. The metric is then judged between
the worst and the best case of the missing values (Lee, Review of Economic Studies 2009). Costs, times and
tokens lack the exchanges that callers abandoned, and are judged in the same way.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from report.metrics import Observations
from report.missing_exchanges import MissingShare
from report.sample import Sample, Values
from report.statistics.types import Bools, Floats, Ints

DIFFERENT = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseRate:
    """(units that could give a value, units that did) per arm; χ² p-value of equal rates, None: undefined."""

    candidate: tuple[int, int]
    baseline: tuple[int, int]
    p_value: float | None

    @property
    def different(self) -> bool:
        return self.p_value is not None and self.p_value < DIFFERENT

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
    return float(special.chdtrc(1, (answered_t / exposed_t - answered_c / exposed_c) ** 2 / variance))


def trimmings(sample: Sample, observed: Observations) -> tuple[Observations, Observations] | None:
    """The observations without the lowest, and without the highest values of the arm that has more of them.

    Feedback: it drops the share (r_more − r_less)/r_more of that arm's responding units, ordered by their
    means. Costs, times and tokens: the same share of exchanges, r being the share that callers did not
    abandon. None if the rates do not differ.
    """
    if not observed.feedback:
        lost = observed.abandoned
        return _without_exchanges(sample, observed, lost) if lost is not None and lost.different else None
    found = response(sample, observed)
    if not found.different:
        return None
    ours, theirs = found.rates
    side = sample.candidate[observed.row] == (ours > theirs)
    units, means = _unit_means(sample.unit[observed.row][side], observed.total[side], observed.count[side])
    drop = min(math.ceil(_excess(ours, theirs) * len(units)), len(units) - 1)
    order = units[np.argsort(means, kind="stable")]

    def without(dropped: Ints) -> Observations:
        return observed.take(np.flatnonzero(~(side & np.isin(sample.unit[observed.row], dropped))))

    return without(order[:drop]), without(order[len(order) - drop :])


def _excess(ours: float, theirs: float) -> float:
    """The part of its values that the arm with more of them has in excess."""
    return 1 - min(ours, theirs) / max(ours, theirs)


def _without_exchanges(
    sample: Sample, observed: Observations, lost: MissingShare
) -> tuple[Observations, Observations] | None:
    ours, theirs = 1 - lost.candidate, 1 - lost.baseline
    side = sample.candidate[observed.row] == (ours > theirs)
    if not side.any():
        return None
    excess, values = _excess(ours, theirs), observed.values

    def without(*, lowest: bool) -> Observations:
        if values is None:
            return _without_rows(observed, side, excess, lowest=lowest)
        return _without_values(observed, values, side, excess, lowest=lowest)

    return without(lowest=True), without(lowest=False)


def _without_rows(observed: Observations, side: Bools, excess: float, *, lowest: bool) -> Observations:
    """Rows hold one exchange (from a log) or a user's (from the store), and are ordered by their means."""
    rows = np.flatnonzero(side)
    means = observed.total[rows] / observed.count[rows]
    order = rows[np.argsort(means if lowest else -means, kind="stable")]
    upto = np.cumsum(observed.count[order])
    drop = min(int(np.searchsorted(upto, excess * upto[-1])) + 1, len(order) - 1)
    return observed.take(np.sort(np.concatenate([np.flatnonzero(~side), order[drop:]])))


def _without_values(
    observed: Observations, values: Values, side: Bools, excess: float, *, lowest: bool
) -> Observations:
    size = values.size.astype(np.int64)
    places = np.flatnonzero(np.repeat(side, size))
    code = values.codes()
    order = places[np.argsort(code[places], kind="stable")]
    drop = min(math.ceil(excess * len(order)), len(order) - 1)
    kept = np.ones(len(code), dtype=np.bool_)
    kept[order[:drop] if lowest else order[len(order) - drop :]] = False
    left = np.bincount(np.repeat(np.arange(len(size)), size)[kept], minlength=len(size))
    some = left > 0
    fewer = Values.grouped(row=values.row[some], size=left[some], code=code[kept], scale=values.scale)
    return replace(
        observed,
        row=observed.row[some],
        total=observed.total[some],
        count=left[some].astype(np.float64),
        values=fewer,
    )


def _unit_means(unit: Ints, total: Floats, count: Floats) -> tuple[Ints, Floats]:
    units, place = np.unique(unit, return_inverse=True)
    means = np.bincount(place, weights=total) / np.bincount(place, weights=count)
    return units, np.asarray(means, dtype=np.float64)
