"""Failure modes, counted in both arms: errors, answer faults, slow answers, bad ratings by category. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from common.concentration import CATEGORY, Breakdown, FailingPart, failing_parts
from verdict.details import EXAMPLES, FailureMode, Failures, TimeSpread
from verdict.sample.arrays import Recent, RecentRating, Sample, Seen, TextColumn, Values
from verdict.statistics.types import Floats, Ints

OTHERS = 8


def failures(recent: Recent | None) -> Failures | None:
    """All errors, answer faults and abandoned requests, then the OTHERS worst failure modes of other kinds.

    The candidate's worst come first. None without exchanges.
    """
    if recent is None or not recent.baseline + recent.candidate:
        return None
    slow_s = _slow(recent.exchanges)
    others = [*_slower(recent, slow_s), *_ratings(recent)]
    return Failures(
        since=_moment(recent.since),
        until=_moment(recent.until),
        baseline=recent.baseline,
        candidate=recent.candidate,
        newest=len(recent.exchanges),
        slow_s=slow_s,
        modes=(*_worst_first(recent.modes), *_worst_first(others)[:OTHERS]),
    )


def _worst_first(modes: Sequence[FailureMode]) -> list[FailureMode]:
    return sorted(modes, key=lambda mode: -mode.excess)


def _slow(exchanges: Sequence[Seen]) -> float | None:
    """The 99th percentile of the baseline's latency; None with fewer than 100 exchanges."""
    times = [seen.latency_s for seen in exchanges if seen.latency_s is not None and not seen.candidate]
    if len(times) < 100:
        return None
    return float(np.quantile(times, 0.99, method="inverted_cdf"))


def _slower(recent: Recent, slow_s: float | None) -> Iterator[FailureMode]:
    if slow_s is None:
        return
    timed = [seen for seen in recent.exchanges if seen.latency_s is not None]
    slow = [seen for seen in timed if (seen.latency_s or 0.0) > slow_s]
    if slow:
        yield _mode("slow", "latency", "", slow, timed)


def _ratings(recent: Recent) -> Iterator[FailureMode]:
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
    failed: Sequence[Seen | RecentRating],
    of: Sequence[Seen | RecentRating],
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


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


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
