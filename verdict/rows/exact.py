"""The exact test of a metric among few users: ranks of users, within the ramp's phases. Pure."""

import numpy as np

from verdict.sample.observations import Observations
from verdict.sample.sample import Sample, Values
from verdict.statistics.ratio import UnitSums, quantile
from verdict.statistics.sequence import Stratum
from verdict.statistics.sequence import exact_p_value as p_value
from verdict.statistics.types import Floats


def chance_of_worse(sample: Sample, observed: Observations, *, higher_is_better: bool) -> float | None:
    """The probability that two equal arms differ at least so much to the candidate's disadvantage.

    Each unit has one value, its mean; of a quantile, its share of values above both arms' quantile. Units are
    compared within the ramp's phases. None if no phase has both arms, or the group is not small.
    """
    sums = _last_phases(_sums(sample, observed))
    badness = (_over_events(sums) if observed.events else sums.total / sums.count) * (
        -1 if higher_is_better else 1
    )
    phases = [sums.phase == phase for phase in np.unique(sums.phase)]
    return p_value([Stratum(badness=badness[rows], candidate=sums.candidate[rows]) for rows in phases])


def _over_events(sums: UnitSums) -> Floats:
    """What each unit cost beyond the usual cost of its events, of which it may have none."""
    return sums.total - float(sums.total.sum()) / max(float(sums.count.sum()), 1.0) * sums.count


def _sums(sample: Sample, observed: Observations) -> UnitSums:
    total = observed.total
    if observed.values is not None and observed.level is not None and len(observed.row):
        total = _slow(observed.values, observed.level)
    return observed.sums(sample, total)


def _slow(values: Values, level: float) -> Floats:
    """The number of values in each group above the quantile of both arms, values equal to it by half."""
    heights = values.heights(np.zeros(len(values.row), dtype=np.int64), 1)[0]
    middle = quantile(values.scale, level, heights.astype(np.float64))
    place = np.full(len(values.row), np.searchsorted(values.scale, middle))
    return (values.at_or_above(place) + values.at_or_above(place + 1)) / 2


def _last_phases(sums: UnitSums) -> UnitSums:
    """Each unit once: in the last phase that has both arms, because there most units are the candidate's."""
    if sums.single_phase:
        return sums
    theirs, ours = (np.unique(sums.phase[sums.candidate == arm]) for arm in (False, True))
    sums = sums.only(np.isin(sums.phase, np.intersect1d(theirs, ours)))
    _, from_the_end = np.unique(sums.unit[::-1], return_index=True)
    last = np.zeros(len(sums.unit), dtype=np.bool_)
    last[len(last) - 1 - from_the_end] = True
    return sums.only(last)
