"""Where the candidate's failing exchanges lie in a run, by category and segment. Pure."""

import numpy as np

from records.concentration import CATEGORY, Breakdown, FailingPart, failing_parts
from report.sample import Sample, TextColumn
from report.statistics.types import Floats


def located(sample: Sample) -> tuple[FailingPart, ...]:
    """The parts in which failures are concentrated; none without counts of errors."""
    errors = sample.totals.get("errors")
    if errors is None:
        return ()
    candidate = sample.candidate
    traffic, failing = np.where(candidate, errors.count, 0.0), np.where(candidate, errors.total, 0.0)
    columns = [*sample.tags.items(), (CATEGORY, sample.category)]
    return failing_parts(_breakdown(by, column, traffic, failing) for by, column in columns)


def _breakdown(by: str, column: TextColumn, traffic: Floats, failing: Floats) -> Breakdown:
    return Breakdown(
        by=by,
        failing=_by_value(column, failing),
        of=_whole(failing.sum()),
        traffic=_by_value(column, traffic),
        total=_whole(traffic.sum()),
    )


def _by_value(column: TextColumn, counts: Floats) -> dict[str, int]:
    sums = np.bincount(column.code, weights=counts, minlength=len(column.names))
    return dict(zip(column.names, map(_whole, sums.tolist()), strict=True))


def _whole(value: float) -> int:
    return round(float(value))
