"""A run's failures: counts of all of them, and the newest single exchanges and ratings to look up."""

from dataclasses import dataclass

from records.facts.metric import Metric
from report.details import FailureMode

NEWEST = 20_000
"""The number of a run's newest exchanges read."""

RATINGS = 5_000
"""The number of newest ratings read per metric and arm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One counted exchange."""

    name: str
    candidate: bool
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
    """A run's failures between two UTC seconds.

    `baseline` and `candidate` are the counted exchanges of each arm. `modes` count errors, answer faults and
    abandoned requests among all exchanges; `exchanges` and `ratings` are only the newest, newest first.
    """

    since: float
    until: float
    baseline: int
    candidate: int
    modes: tuple[FailureMode, ...] = ()
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
