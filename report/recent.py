"""The newest exchanges and ratings one by one, so that failures can be named and looked up."""

from dataclasses import dataclass

from records.metric import Metric

NEWEST = 20_000
"""Exchanges looked at, of all canaries."""

RATINGS = 5_000
"""Ratings looked at of each metric and arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One exchange that counts. `error_type` is None where the arm did not fail; `at` in UTC seconds."""

    name: str
    at: float
    candidate: bool
    category: str
    error_type: str | None
    latency_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentRating:
    """What somebody said of one exchange; `bad` if it is not what was wanted."""

    name: str
    metric: str
    candidate: bool
    category: str
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """Both, newest first."""

    exchanges: tuple[Seen, ...] = ()
    ratings: tuple[RecentRating, ...] = ()


def displeased(metric: Metric, value: float) -> bool:
    """A no where yes is wanted, a rating in the lowest quarter of its scale, a detractor; never an amount."""
    if metric.kind == "nps":
        return value <= 6
    if metric.low is None or metric.high is None or metric.kind not in ("bool", "rating"):
        return False
    part = (value - metric.low) / (metric.high - metric.low)
    return part <= 0.25 if metric.higher_is_better else part >= 0.75
