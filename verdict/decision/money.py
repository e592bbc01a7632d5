"""The monthly cost or saving of a full rollout at the measured traffic. Pure."""

import numpy as np

from common.interval import Range
from verdict.decision.document import finite
from verdict.details import Money
from verdict.rows.reading import MetricReading, read
from verdict.sample.arrays import Sample
from verdict.sample.metrics import observe
from verdict.statistics.ratio import UnitSums, unit_sums
from verdict.statistics.types import Ints

MONTH_DAYS = 30.0
_DAY_S = 86400.0
_LEAST_DAYS = 1.0


def money(sample: Sample, *, planned: float) -> Money | None:
    """None with less than a day of data, or fewer than 100 users with a cost in an arm.

    Users are compared, not requests, so a model that makes users ask more often costs more. The current
    model's cost for all users is measured; the candidate's is that cost times the arms' ratio, with the
    ratio's interval. Phases of a ramp may have any length.
    """
    observed = observe(sample, "cost_total", {}, now=0.0)
    reading = read(sample, observed, planned=planned)
    if not reading.compared or not reading.baseline:
        return None
    row = observed.row
    sums = unit_sums(
        sample.unit[row], sample.phase[row], sample.candidate[row], observed.total, observed.count
    )
    phases = np.intersect1d(sums.phase[sums.candidate], sums.phase[~sums.candidate])
    days = _days(sample, phases)
    if days < _LEAST_DAYS:
        return None
    months = days / MONTH_DAYS
    spent = _all_on_baseline(sums, phases) / months
    change = _change(reading, reading.baseline)
    requests, priced = _requests(sample, phases)
    return Money(
        days=round(days, 2),
        users=sums.units(candidate=True) + sums.units(candidate=False),
        requests_a_month=round(requests / months),
        priced=priced,
        baseline_usd=spent,
        candidate_usd=spent * (1 + change.estimate),
        change=change,
        difference_usd=Range(
            low=None if change.low is None else spent * change.low,
            estimate=spent * change.estimate,
            high=None if change.high is None else spent * change.high,
        ),
    )


def _change(reading: MetricReading, baseline: float) -> Range:
    assert reading.comparison is not None  # true for a compared reading  # noqa: S101
    found = reading.comparison.contrast(1, 0)
    return Range(
        low=finite(found.low / baseline),
        estimate=found.estimate / baseline,
        high=finite(found.high / baseline),
    )


def _days(sample: Sample, phases: Ints) -> float:
    """The total length of these phases."""
    lengths = [
        float(sample.last_at[inside].max() - sample.first_at[inside].min())
        for phase in phases.tolist()
        if (inside := sample.phase == phase).any()
    ]
    return sum(lengths) / _DAY_S


def _all_on_baseline(sums: UnitSums, phases: Ints) -> float:
    """Dollars: over all phases, a baseline unit's cost times the units of both arms."""
    total = 0.0
    for phase in phases.tolist():
        inside = sums.phase == phase
        theirs = inside & ~sums.candidate
        total += float(sums.total[theirs].sum()) / int(theirs.sum()) * int(inside.sum())
    return total


def _requests(sample: Sample, phases: Ints) -> tuple[float, float | None]:
    """The number of requests, and the share with a known price."""
    inside = np.isin(sample.phase, phases)
    priced = float(sample.totals["cost"].count[inside].sum())
    if "errors" not in sample.totals:
        return priced, None
    counted = float(sample.totals["errors"].count[inside].sum())
    return counted, (priced / counted if counted else None)
