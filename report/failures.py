"""Failure modes, counted in both arms: error types, slow answers, bad ratings by category. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from report.details import FailureMode, Failures
from report.recent import Recent, RecentRating, Seen

MODES = 12
EXAMPLES = 3


def failures(recent: Recent | None) -> Failures | None:
    """The MODES worst failure modes; None without exchanges."""
    if recent is None or not recent.exchanges:
        return None
    arms = Counter(seen.candidate for seen in recent.exchanges)
    slow_s = _slow(recent.exchanges)
    modes = [*_errors(recent), *_slower(recent, slow_s), *_ratings(recent)]
    times = [seen.at for seen in recent.exchanges]
    return Failures(
        since=_moment(min(times)),
        until=_moment(max(times)),
        baseline=arms[False],
        candidate=arms[True],
        slow_s=slow_s,
        modes=tuple(sorted(modes, key=lambda mode: -mode.excess)[:MODES]),
    )


def _errors(recent: Recent) -> Iterator[FailureMode]:
    found: dict[str, list[Seen]] = defaultdict(list)
    for seen in recent.exchanges:
        if seen.error_type is not None:
            found[seen.error_type].append(seen)
    for name, failed in sorted(found.items()):
        yield _mode("error", name, "", failed, recent.exchanges)


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
    kind: Literal["error", "slow", "rating"],
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
