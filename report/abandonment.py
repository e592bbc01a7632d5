"""How many exchanges callers abandoned in each arm: costs, times and tokens lack these exchanges."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from report.sample import MeasureTotals, Sample
from report.statistics.phases import UnitSums, arms, unit_sums
from report.statistics.types import Bools

DIFFERENT = 0.001

_EXPECTED = 5
"""With fewer units than this expected to abandon in an arm, Fisher's exact test replaces the normal one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandonment:
    """The share of exchanges that callers abandoned, by arm, in [0, 1]; the p-value of equal shares."""

    candidate: float
    baseline: float
    p_value: float

    @property
    def different(self) -> bool:
        return self.p_value < DIFFERENT


def abandonment(sample: Sample) -> Abandonment | None:
    """The arms' shares, in the phases in which both had traffic, tested by units.

    None if the sample does not know of abandoned exchanges, or has none, or only one arm has traffic.
    """
    known = sample.totals.get("abandoned")
    if known is None or not known.total.any():
        return None
    sums = _sums(sample, known)
    if not sums.total.any() or not sums.candidate.any() or sums.candidate.all():
        return None
    both = arms(sums)
    exact = _exact(sums)
    z = both.value(1) / both.se(1) if both.se(1) > 0 else 0.0
    return Abandonment(
        candidate=both.candidate.value,
        baseline=both.baseline.value,
        p_value=float(2 * stats.norm.sf(abs(z))) if exact is None else exact,
    )


def _sums(sample: Sample, known: MeasureTotals) -> UnitSums:
    counted = known.count > 0
    phases = int(sample.phase.max()) + 1
    seen = [
        np.bincount(sample.phase[counted & (sample.candidate == arm)], minlength=phases) > 0
        for arm in (False, True)
    ]
    rows: Bools = counted & (seen[0] & seen[1])[sample.phase]
    return unit_sums(
        sample.unit[rows], sample.phase[rows], sample.candidate[rows], known.total[rows], known.count[rows]
    )


def _exact(sums: UnitSums) -> float | None:
    """Fisher's p-value for equal shares of units that abandoned anything; None with enough of them."""
    units = [int(np.sum(sums.candidate == arm)) for arm in (True, False)]
    left = [int(np.sum((sums.candidate == arm) & (sums.total > 0))) for arm in (True, False)]
    if min(units) * sum(left) / sum(units) >= _EXPECTED:
        return None
    table = [[some, of - some] for some, of in zip(left, units, strict=True)]
    _, p_value = stats.fisher_exact(table)
    return float(np.asarray(p_value))
