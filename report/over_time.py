"""Each metric's difference as users came in. Pure; nothing is read again.

The confidence sequence counts users, so its band is drawn over users in the order of their first request: a
point covers all users who had come by that day, with all their data since.
"""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from report.details import CoursePoint, MetricCourse
from report.document import finite
from report.metrics import Observations
from report.reading import MetricReading, read
from report.row import Row
from report.sample import Sample
from report.statistics.types import Bools, Ints

POINTS, FEW_POINTS = 14, 3
LARGE = 2_000_000
"""From so many values on, a metric has FEW_POINTS: more would double the time of a report over weeks."""

_DAY_S = 86400.0


def course(sample: Sample, row: Row, observed: Observations, *, planned: float) -> MetricCourse | None:
    """The metric's course, without points before the gate of 100 users; None with fewer than two points."""
    day = np.floor(sample.exposed_at() / _DAY_S).astype(np.int64)
    points: list[CoursePoint] = []
    chosen = _chosen(day[observed.exposed], FEW_POINTS if _size(observed) > LARGE else POINTS)
    for until in chosen:
        last = until == chosen[-1]
        reading = row.reading if last else _read_until(sample, observed, day <= until, planned=planned)
        if (point := _point(until, reading)) is not None:
            points.append(point)
    return MetricCourse(metric=row.metric, points=tuple(points)) if len(points) > 1 else None


def _read_until(sample: Sample, observed: Observations, come: Bools, *, planned: float) -> MetricReading:
    """The reading over the units marked in `come`, (units,)."""
    some = replace(observed.only(come[sample.unit]), exposed=observed.exposed & come)
    return read(sample, some, planned=planned)


def _chosen(days: Ints, most: int) -> list[int]:
    """At most `most` days, evenly spread over the days with new users, the last day included."""
    every = np.unique(days)
    place = np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(np.int64)
    chosen: list[int] = every[place].tolist()
    return chosen


def _size(observed: Observations) -> int:
    return len(observed.row) if observed.values is None else int(observed.values.size.sum())


def _point(day: int, reading: MetricReading) -> CoursePoint | None:
    if reading.comparison is None or not reading.compared:
        return None
    found = reading.comparison.contrast(1, 0)
    return CoursePoint(
        day=datetime.fromtimestamp(day * _DAY_S, UTC).date().isoformat(),
        units=reading.candidate_units,
        low=finite(found.low),
        estimate=found.estimate,
        high=finite(found.high),
    )
