"""The newest single exchanges and ratings, so that a report can name failures to look up."""

from dataclasses import dataclass

from records.metric import Metric

NEWEST = 20_000
"""The number of newest exchanges read, over all canaries."""

RATINGS = 5_000
"""The number of newest ratings read per metric and arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One counted exchange. `error_type` is None if the arm did not fail. `at` is in UTC seconds."""

    name: str
    at: float
    candidate: bool
    category: str
    error_type: str | None
    latency_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRating:
    """One rating of an exchange; `bad` as in `displeased`."""

    name: str
    metric: str
    candidate: bool
    category: str
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Exchanges and ratings, newest first."""

    exchanges: tuple[Seen, ...] = ()
    ratings: tuple[RecentRating, ...] = ()


def displeased(metric: Metric, value: float) -> bool:
    """True for a no where yes is better, for a rating in the worst quarter of its scale, for a detractor."""
    if metric.kind == "nps":
        return value <= 6
    if metric.low is None or metric.high is None or metric.kind not in ("bool", "rating"):
        return False
    part = (value - metric.low) / (metric.high - metric.low)
    return part <= 0.25 if metric.higher_is_better else part >= 0.75
