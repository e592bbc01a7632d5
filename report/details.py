"""What a report shows beside its verdict: the metrics' course, spreads, failures, money. Values only."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class CoursePoint:
    """The difference among all users who had come by the end of this UTC day, by all that they have done.

    `units` are the candidate's; the interval is the metric's own, valid at every point.
    """

    day: str
    units: int
    low: float | None
    estimate: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCourse:
    """One metric's difference as users came in; its last point is the report's own difference."""

    metric: str
    points: tuple[CoursePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpread:
    """How one measured time is spread in both arms: the shares of each arm's requests between `edges_s`.

    (bins + 1,) edges, rising; (bins,) shares. The outer bins hold what lies beyond them too.
    """

    of: Literal["latency", "ttft"]
    edges_s: tuple[float, ...]
    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    baseline_requests: int
    candidate_requests: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureMode:
    """One way to fail: an error type, a slow answer, or a bad rating of `name` in one category.

    So many of so many requests (of ratings, for a rating) in each arm; `examples` are the candidate's newest,
    as exchange ids, or as lines of a log.
    """

    kind: Literal["error", "slow", "rating"]
    name: str
    category: str
    baseline: int
    baseline_of: int
    candidate: int
    candidate_of: int
    examples: tuple[str, ...]

    @property
    def excess(self) -> float:
        """By how much the candidate's rate is above the baseline's."""
        return self.candidate / max(self.candidate_of, 1) - self.baseline / max(self.baseline_of, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Ways to fail among the newest requests, `since` to `until` (RFC 3339), the candidate's worst first.

    Ratings are each metric's and arm's newest. `slow_s` is what 99 % of the baseline's requests keep under.
    """

    since: str
    until: str
    baseline: int
    candidate: int
    slow_s: float | None
    modes: tuple[FailureMode, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """low ≤ estimate ≤ high; None where unbounded or not to be read."""

    low: float | None
    estimate: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """What all users would cost in 30 days at the traffic measured, dollars; `change` is relative (−.4: 40 %
    cheaper) and `difference_usd` what that comes to.

    `days` is how long was measured, `priced` the share of its requests with a known price (None: not known).
    """

    days: float
    users: int
    requests_a_month: int
    priced: float | None
    baseline_usd: float
    candidate_usd: float
    change: Range
    difference_usd: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarked:
    """What the candidate's last benchmark says of one layer: the shares of `examples` that both models got
    right (0 to 1), the candidate's interval of 95 %, and the benchmark's verdict on it. `at` is RFC 3339."""

    layer: Literal["synthetic", "real"]
    at: str
    examples: int
    baseline: float
    candidate: float
    low: float
    high: float
    new_failures: int
    verdict: Literal["ship", "dont_ship", "extend"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """All of it; None or empty where it could not be told."""

    over_time: tuple[MetricCourse, ...] = ()
    spreads: tuple[TimeSpread, ...] = ()
    failures: Failures | None = None
    money: Money | None = None
    benchmarks: tuple[Benchmarked, ...] = ()
