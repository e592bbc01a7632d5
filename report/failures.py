"""Failure modes, counted in both arms: errors, answer faults, slow answers, bad ratings by category. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from report.details import EXAMPLES, FailureMode, Failures
from report.recent import Recent, RecentRating, Seen

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
