"""Each metric's difference as users came in. Pure; nothing is read again.

The confidence sequence counts users, so its band is drawn over users in the order of their first request: a
point covers all users who had come by that day, with all their data since.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from scipy import special

from verdict.decision.document import finite
from verdict.details import CoursePoint, DaySince, MetricCourse, SinceFirst
from verdict.rows.comparison import GATE
from verdict.rows.reading import MetricReading, read
from verdict.rows.reasons import EffectFades
from verdict.rows.row import Row
from verdict.sample.arrays import Sample
from verdict.sample.metrics import Observations
from verdict.statistics.ratio import distinct
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.rubric import Criterion

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


# Each metric by day since a user's first exposure, and whether its last days differ: effects that fade.


FADING = 0.01
"""The level at which effects are told to fade, shared by the rows that are tested."""

FEWEST_DAYS, MOST_DAYS = 3, 28

_Z95 = 1.959964


def since_first(sample: Sample, observed: Observations, criterion: Criterion) -> SinceFirst | None:
    """The metric by day since a user's first exposure; day 0 is the first 24 hours.

    None where a row of the sample spans more than a day (totals from the store), for a total by user, and
    until the last third of at least three days has 100 users of each arm. A percentile is shown as the share
    of requests slower than both arms' percentile.
    """
    if observed.per_unit or len(observed.row) == 0 or _coarse(sample, observed):
        return None
    shares = _slower(observed)
    day = np.floor((sample.first_at - sample.exposed_at()[sample.unit]) / _DAY_S).astype(np.int64)[shares.row]
    days = _days(sample, shares, day)
    if days is None:
        return None
    whole, late = (_influence(sample, shares, day, *span) for span in ((0, days), (last_third(days), days)))
    return SinceFirst(
        metric=criterion.metric,
        days=tuple(point for each in range(days) if (point := _day(sample, shares, day, each)) is not None),
        whole=whole[0],
        late=late[0],
        late_from=last_third(days),
        p_value=_p_value(late[0] - whole[0], late[1] - whole[1]),
    )


def fading(tested: Sequence[SinceFirst]) -> list[EffectFades]:
    """The caveats for effects that differ in the last third of the days, of all rows that were tested."""
    return [EffectFades(since=found) for found in tested if found.p_value < FADING / len(tested)]


def last_third(days: int) -> int:
    """The first day of the last third of this many days."""
    return days - max(1, days // 3)


def _coarse(sample: Sample, observed: Observations) -> bool:
    return bool((sample.last_at[observed.row] - sample.first_at[observed.row] > _DAY_S).any())


def _slower(observed: Observations) -> Observations:
    """The values as shares slower than the percentile of all values; those of another metric as they are."""
    values, level = observed.values, observed.level
    if values is None or level is None:
        return observed
    heights = values.heights(np.zeros(len(values.row), dtype=np.int64), 1)[0]
    place = int(np.searchsorted(np.cumsum(heights) / heights.sum(), level))
    slower = values.at_or_above(np.full(len(values.row), place + 1))
    return replace(observed, total=slower.astype(np.float64), values=None)


def _days(sample: Sample, observed: Observations, day: Ints) -> int | None:
    """The most days whose last third has enough users of each arm."""
    unit, candidate = sample.unit[observed.row], sample.candidate[observed.row]
    for days in range(min(int(day.max()) + 1, MOST_DAYS), FEWEST_DAYS - 1, -1):
        late = (day >= last_third(days)) & (day < days)
        if late.any() and min(distinct(unit[late & (candidate == arm)]) for arm in (True, False)) >= GATE:
            return days
    return None


def _influence(
    sample: Sample, observed: Observations, day: Ints, begin: int, end: int
) -> tuple[float, Floats]:
    """The arms' difference over these days, and each unit's influence on it, (units,)."""
    inside = (day >= begin) & (day < end)
    candidate = sample.candidate[observed.row]
    ours, theirs = (_ratio(sample, observed, inside & (candidate == arm)) for arm in (True, False))
    return ours[0] - theirs[0], ours[1] - theirs[1]


def _ratio(sample: Sample, observed: Observations, rows: Bools) -> tuple[float, Floats]:
    unit, units = sample.unit[observed.row[rows]], len(sample.units)
    total = np.bincount(unit, weights=observed.total[rows], minlength=units)
    count = np.bincount(unit, weights=observed.count[rows], minlength=units)
    value = float(total.sum() / count.sum())
    return value, (total - value * count) / count.sum()


def _p_value(change: float, influence: Floats) -> float:
    """Two-sided, of no change. The last days are part of all days, so influences are subtracted by unit."""
    se = float(np.sqrt(np.sum(influence**2)))
    return float(2 * special.ndtr(-abs(change) / se)) if se > 0 else 1.0


def _day(sample: Sample, observed: Observations, day: Ints, each: int) -> DaySince | None:
    """One day's values, with the difference's plain 95 % interval; None without values in both arms."""
    candidate = sample.candidate[observed.row]
    ours, theirs = ((day == each) & (candidate == arm) for arm in (True, False))
    if not (ours.any() and theirs.any()):
        return None
    mine, other = _ratio(sample, observed, ours), _ratio(sample, observed, theirs)
    half = _Z95 * float(np.sqrt(np.sum((mine[1] - other[1]) ** 2)))
    return DaySince(
        day=each,
        units=distinct(sample.unit[observed.row[ours]]),
        baseline=other[0],
        candidate=mine[0],
        low=finite(mine[0] - other[0] - half),
        high=finite(mine[0] - other[0] + half),
    )
