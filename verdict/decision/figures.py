"""The figures beside a verdict: failure modes, money, spreads of times, and metrics over time. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from scipy import special

from common.clock import rfc3339
from common.concentration import CATEGORY, Breakdown, FailingPart, failing_parts
from common.interval import Range, finite
from records.facts.prices import PricedModel
from verdict.decision.document import MetricLine
from verdict.details import (
    EXAMPLES,
    MONTH_DAYS,
    CacheHits,
    CoursePoint,
    DaySince,
    FailureMode,
    Failures,
    MetricCourse,
    Money,
    SinceFirst,
    TimeSpread,
)
from verdict.rows.comparison import GATE, ArmSums, arm_sums
from verdict.rows.reading import MetricReading, read
from verdict.rows.reasons import EffectFades
from verdict.rows.row import Row
from verdict.sample.observations import MissingShare, Observations, cached, observe
from verdict.sample.sample import RecentFailures, RecentRating, Sample, SeenExchange, TextColumn, Values
from verdict.statistics.ratio import UnitSums, common_phases, distinct
from verdict.statistics.types import Bools, Floats, Ints
from verdict.terms.measures import CACHE_HITS
from verdict.terms.rubric import Criterion

OTHERS = 8


def failures(recent: RecentFailures | None) -> Failures | None:
    """All errors, answer faults and abandoned requests, then the OTHERS worst failure modes of other kinds.

    The candidate's worst come first. None without exchanges.
    """
    if recent is None or not recent.baseline + recent.candidate:
        return None
    slow_s = _slow(recent.exchanges)
    others = [*_slower(recent, slow_s), *_ratings(recent)]
    return Failures(
        since=rfc3339(recent.since),
        until=rfc3339(recent.until),
        baseline=recent.baseline,
        candidate=recent.candidate,
        newest=len(recent.exchanges),
        slow_s=slow_s,
        modes=(*_worst_first(recent.modes), *_worst_first(others)[:OTHERS]),
    )


def _worst_first(modes: Sequence[FailureMode]) -> list[FailureMode]:
    return sorted(modes, key=lambda mode: -mode.excess)


def _slow(exchanges: Sequence[SeenExchange]) -> float | None:
    """The 99th percentile of the baseline's latency; None with fewer than 100 exchanges."""
    times = [seen.latency_s for seen in exchanges if seen.latency_s is not None and not seen.candidate]
    if len(times) < 100:
        return None
    return float(np.quantile(times, 0.99, method="inverted_cdf"))


def _slower(recent: RecentFailures, slow_s: float | None) -> Iterator[FailureMode]:
    if slow_s is None:
        return
    timed = [seen for seen in recent.exchanges if seen.latency_s is not None]
    slow = [seen for seen in timed if (seen.latency_s or 0.0) > slow_s]
    if slow:
        yield _mode("slow", "latency", "", slow, timed)


def _ratings(recent: RecentFailures) -> Iterator[FailureMode]:
    """Bad ratings, by metric and category."""
    found: dict[tuple[str, str], list[RecentRating]] = defaultdict(list)
    for rating in recent.ratings:
        found[rating.metric, rating.category].append(rating)
    for (metric, category), ratings in sorted(found.items()):
        bad = [rating for rating in ratings if rating.bad]
        if bad:
            yield _mode("rating", metric, category, bad, ratings)


def _mode(
    kind: Literal["slow", "rating"],
    name: str,
    category: str,
    failed: Sequence[SeenExchange | RecentRating],
    of: Sequence[SeenExchange | RecentRating],
) -> FailureMode:
    """`failed` and `of` are newest first."""
    found, every = (Counter(seen.candidate for seen in some) for some in (failed, of))
    return FailureMode(
        kind=kind,
        name=name,
        category=category,
        baseline=found[False],
        baseline_of=every[False],
        candidate=found[True],
        candidate_of=every[True],
        examples=tuple(seen.name for seen in failed if seen.candidate)[:EXAMPLES],
    )


# Where the candidate's failing exchanges lie in a run, by category and segment. Pure.


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


# The distribution of latencies in both arms, from the same values as the quantiles.


BINS = 36
_OUTER = 0.002
"""The share of an arm's values that may lie beyond either outer edge."""


def spreads(sample: Sample) -> tuple[TimeSpread, ...]:
    """The spreads of latency and time to first token, if they were read and both arms have values."""
    names: tuple[Literal["latency", "ttft"], ...] = ("latency", "ttft")
    found = (_spread(name, sample, sample.values[name]) for name in names if name in sample.values)
    return tuple(spread for spread in found if spread is not None)


def _spread(name: Literal["latency", "ttft"], sample: Sample, values: Values) -> TimeSpread | None:
    if len(values.row) == 0:
        return None
    heights = values.heights(sample.candidate[values.row].astype(np.int64), 2)
    edges = _edges(values.scale, heights)
    if edges is None:
        return None
    place = np.clip(np.searchsorted(edges, values.scale, side="right") - 1, 0, BINS - 1)
    counts = [np.bincount(place, weights=arm, minlength=BINS) for arm in heights]
    baseline, candidate = (tuple(np.round(count / count.sum(), 5).tolist()) for count in counts)
    return TimeSpread(
        of=name,
        edges_s=tuple(edges.tolist()),
        baseline=baseline,
        candidate=candidate,
        baseline_requests=int(heights[0].sum()),
        candidate_requests=int(heights[1].sum()),
    )


def _edges(scale: Floats, heights: Ints) -> Floats | None:
    """(BINS + 1,) log-spaced edges in seconds, of four digits; None without values in both arms that differ
    in these."""
    if not heights.any(axis=1).all():
        return None
    parts = np.cumsum(heights, axis=1) / heights.sum(axis=1, keepdims=True)
    ends = [
        float(scale[min(int(np.searchsorted(part, level)), len(scale) - 1)])
        for part in parts
        for level in (_OUTER, 1 - _OUTER)
    ]
    low, high = max(min(ends), 1e-4), max(ends)
    if not low < high < np.inf:
        return None
    edges = np.asarray([float(f"{edge:.4g}") for edge in np.geomspace(low, high, BINS + 1).tolist()])
    return edges if edges[-1] > edges[0] else None


# The monthly cost or saving of a full rollout at the measured traffic, and what the candidate cost. Pure.


_DAY_S = 86400.0
_LEAST_DAYS = 1.0


def user_costs(sample: Sample) -> ArmSums:
    """What each user cost in each phase in which both arms have costs."""
    return arm_sums(sample, observe(sample, "cost_total", {}, now=0.0))


def money(costs: ArmSums, *, planned: float) -> Money | None:
    """None with less than a day of data, or fewer than 100 users with a cost in an arm.

    Users are compared, not requests, so a model that makes users ask more often costs more. The current
    model's cost for all users is measured; the candidate's is that cost times the arms' ratio, with the
    ratio's interval. Phases of a ramp may have any length.
    """
    sample, sums, phases = costs.sample, costs.sums, np.unique(costs.sums.phase)
    reading = read(sample, costs.observed, planned=planned, sums=costs)
    if not reading.compared or not reading.baseline:
        return None
    days = _days_of_phases(sample, phases)
    if days < _LEAST_DAYS:
        return None
    months = days / MONTH_DAYS
    spent = _all_on_baseline(sums, phases) / months
    change = _change(reading, reading.baseline)
    requests, priced = _requests(sample, phases)
    return Money(
        days=round(days, 2),
        users=distinct(sums.unit),
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


def extra_cost(costs: ArmSums) -> float:
    """Dollars: what the candidate's users cost more than as many of the baseline's in the same phases, 0 if
    they cost less."""
    sums = costs.sums
    if sums.candidate.all():
        return 0.0
    mine, phases = sums.candidate, int(sums.phase.max()) + 1
    total, units = (
        [np.bincount(sums.phase[arm], weights=of[arm], minlength=phases) for arm in (mine, ~mine)]
        for of in (sums.total, np.ones(len(mine)))
    )
    return max(0.0, float(np.sum(total[0] - total[1] / np.maximum(units[1], 1) * units[0])))


def _change(reading: MetricReading, baseline: float) -> Range:
    assert reading.comparison is not None  # true for a compared reading  # noqa: S101
    found = reading.comparison.contrast(1, 0)
    return Range(
        low=finite(found.low / baseline),
        estimate=found.estimate / baseline,
        high=finite(found.high / baseline),
    )


def _days_of_phases(sample: Sample, phases: Ints) -> float:
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
    counted = float(sample.totals["errors"].count[inside].sum())
    return counted, (priced / counted if counted else None)


# What an arm's warmer prompt cache is worth. Pure, but for the price that is looked up where caches differ.


_ALIKE = 0.001
"""Shares of cached tokens that differ by less are one, however sure it is."""


def cache_hits(sample: Sample, rows: Sequence[MetricLine], price: PricedModel | None) -> CacheHits | None:
    """Each arm's share of cached input tokens, and the cost of these rows at the baseline's, if they differ.

    A provider's cache is warmer for the arm with more traffic: a small candidate pays for tokens that it
    would find cached at full rollout. None without rows, and while nothing is known of cached tokens.
    """
    found = cached(sample) if rows else None
    if found is None:
        return None
    different = found.different and abs(found.candidate - found.baseline) > _ALIKE
    saves = price.cached_saves() if price is not None and different else None
    factor = None if saves is None else _without_its_cache(sample, found, saves)
    costs = {
        line.metric: line.candidate * factor
        for line in rows
        if factor is not None and line.candidate is not None
    }
    return CacheHits(
        candidate=found.candidate,
        baseline=found.baseline,
        p_value=found.p_value,
        different=different,
        costs=costs,
    )


def _without_its_cache(sample: Sample, found: MissingShare, saves: float) -> float | None:
    """The candidate's cost at the baseline's share over its cost; None without a cost. `saves`: dollars by
    which a cached token is cheaper."""
    hits, cost = sample.totals[CACHE_HITS], sample.totals.get("cost")
    both = common_phases(sample.phase, sample.candidate, int(sample.phase.max()) + 1)
    rows = sample.candidate & both[sample.phase]
    spent = 0.0 if cost is None else float(cost.total[rows].sum())
    extra = (found.candidate - found.baseline) * saves * float(hits.count[rows].sum())
    return 1 + extra / spent if spent > 0 else None


# Each metric's difference as users came in. Pure; nothing is read again.


POINTS, FEW_POINTS = 14, 3
LARGE = 2_000_000
"""From so many values on, a metric has FEW_POINTS: more would double the time of a report over weeks."""


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
    shares = _slower_than(observed)
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


def _slower_than(observed: Observations) -> Observations:
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
        late = (day >= last_third(days)) & (day < days) & (observed.count > 0)
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
    """The ratio over these rows, and each unit's influence on it, (units,). In an opinion each unit has one
    voice, as in the rubric's row: the mean of its values."""
    unit, units = sample.unit[observed.row[rows]], len(sample.units)
    total = np.bincount(unit, weights=observed.total[rows], minlength=units)
    count = np.bincount(unit, weights=observed.count[rows], minlength=units)
    if observed.feedback:
        total, count = total / np.maximum(count, 1.0), np.minimum(count, 1.0)
    value = float(total.sum() / count.sum())
    return value, (total - value * count) / count.sum()


def _p_value(change: float, influence: Floats) -> float:
    """Two-sided, of no change. The last days are part of all days, so influences are subtracted by unit."""
    se = float(np.sqrt(np.sum(influence**2)))
    return float(2 * special.ndtr(-abs(change) / se)) if se > 0 else 1.0


def _day(sample: Sample, observed: Observations, day: Ints, each: int) -> DaySince | None:
    """One day's values, with the difference's plain 95 % interval; None without values in both arms."""
    candidate = sample.candidate[observed.row]
    told = (day == each) & (observed.count > 0)
    ours, theirs = (told & (candidate == arm) for arm in (True, False))
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
