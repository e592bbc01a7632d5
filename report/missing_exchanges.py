"""Exchanges without a value: those that callers abandoned, and those without a known cost, by arm.

Costs, times and tokens lack abandoned exchanges; costs also lack unpriced ones.
"""

from dataclasses import dataclass

import numpy as np
from scipy import special

from report.sample import MeasureTotals, Sample
from report.statistics.exact import Table, fisher
from report.statistics.phases import UnitSums, arms, unit_sums
from report.statistics.types import Bools, Ints

DIFFERENT = 0.001

EXPECTED = 5
"""With fewer units than this expected to miss a value in an arm, the test is Fisher's exact one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingShare:
    """The share of exchanges that have no value, by arm, in [0, 1]; the p-value of equal shares."""

    candidate: float
    baseline: float
    p_value: float

    @property
    def different(self) -> bool:
        return self.p_value < DIFFERENT


def abandoned(sample: Sample) -> MissingShare | None:
    """The share that callers abandoned. None if unknown, if there is none, or if only one arm has traffic."""
    known = sample.totals.get("abandoned")
    return None if known is None else _compared(sample, known)


def unpriced(sample: Sample) -> MissingShare | None:
    """The share of answered exchanges without a known cost. None as in `abandoned`.

    Failed exchanges may have a cost or none. A row from the store does not say how many of each it has, so
    this takes the fewest unpriced ones that its counts allow.
    """
    counted, cost = sample.totals.get("errors"), sample.totals.get("cost")
    if counted is None or cost is None:
        return None
    answered = counted.count - counted.total
    return _compared(sample, MeasureTotals(count=answered, total=np.maximum(answered - cost.count, 0.0)))


def _compared(sample: Sample, missing: MeasureTotals) -> MissingShare | None:
    """Compare the arms by units, in the phases in which both had traffic."""
    if not missing.total.any():
        return None
    sums = _sums(sample, missing)
    if not sums.total.any() or not sums.candidate.any() or sums.candidate.all():
        return None
    both = arms(sums)
    exact = _exact(sums)
    return MissingShare(
        candidate=both.candidate.value,
        baseline=both.baseline.value,
        p_value=_normal(both.value(1), both.se(1)) if exact is None else exact,
    )


def _normal(difference: float, se: float) -> float:
    if se == 0:
        return 1.0 if difference == 0 else 0.0
    return float(2 * special.ndtr(-abs(difference) / se))


def _sums(sample: Sample, missing: MeasureTotals) -> UnitSums:
    counted = missing.count > 0
    phases = int(sample.phase.max()) + 1
    seen = [
        np.bincount(sample.phase[counted & (sample.candidate == arm)], minlength=phases) > 0
        for arm in (False, True)
    ]
    rows: Bools = counted & (seen[0] & seen[1])[sample.phase]
    return unit_sums(
        sample.unit[rows],
        sample.phase[rows],
        sample.candidate[rows],
        missing.total[rows],
        missing.count[rows],
    )


def _exact(sums: UnitSums) -> float | None:
    """Fisher's p-value for equal shares, within each phase, of units that miss any value; None with enough of
    them."""
    found = tables(sums.phase, sums.candidate, sums.total > 0)
    some = sum(each.events + each.others for each in found)
    arms_ = sum(each.of for each in found), sum(each.of_others for each in found)
    return None if min(arms_) * some / sum(arms_) >= EXPECTED else fisher(found)


def tables(phase: Ints, candidate: Bools, event: Bools) -> list[Table]:
    """The candidate's and the baseline's units, and those of them with the event, by phase; (n,) each."""
    kinds = 2 * phase + candidate
    size = 2 * (int(phase.max()) + 1)
    units, events = (np.bincount(kinds[rows], minlength=size) for rows in (event | True, event))
    return [
        Table(
            events=int(events[2 * k + 1]),
            of=int(units[2 * k + 1]),
            others=int(events[2 * k]),
            of_others=int(units[2 * k]),
        )
        for k in np.unique(phase).tolist()
    ]
