"""The details of a report beside its verdict: metrics over time, latency spreads, failures, money."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from common.concentration import FailingPart
from common.interval import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class CoursePoint:
    """The difference among all users who had come by the end of this UTC day, over all their data.

    `units` counts the candidate's. The interval is the metric's own and valid at every point.
    """

    day: str
    units: int
    low: float | None
    estimate: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricCourse:
    """One metric's difference as users came in. The last point is the report's difference."""

    metric: str
    points: tuple[CoursePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookPoint:
    """One look at a row: the margin to the acceptable bound in the metric's unit, 0 or more keeping the
    bound, with the ends at the look's boundaries (None: open). `day` is that of the plan, `date` the UTC
    midnight's."""

    day: int
    date: str
    units: int
    low: float | None
    estimate: float
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCourse:
    """One row's looks, in order."""

    metric: str
    points: tuple[LookPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySince:
    """One day after users' first exposure (0: the first 24 hours): the arms' values, and the plain 95 %
    interval of their difference. `units` counts the candidate's."""

    day: int
    units: int
    baseline: float
    candidate: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SinceFirst:
    """One metric by day since users' first exposure. `whole` is the difference over all these days, `late`
    from day `late_from` on; `p_value` is that of no change between them."""

    metric: str
    days: tuple[DaySince, ...]
    whole: float
    late: float
    late_from: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeSpread:
    """The distribution of a measured time in both arms: the shares of each arm's requests between `edges_s`.

    (bins + 1,) rising edges, (bins,) shares. The outer bins include the values beyond the edges.
    """

    of: Literal["latency", "ttft"]
    edges_s: tuple[float, ...]
    baseline: tuple[float, ...]
    candidate: tuple[float, ...]
    baseline_requests: int
    candidate_requests: int


EXAMPLES = 3
"""The number of examples of a failure mode."""

CountedKind = Literal["error", "fault", "abandoned"]
"""The failure modes that are counted among all requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureMode:
    """One failure mode: an error type, an answer fault, abandoned requests, slow answers, or bad ratings of
    `name` in one category.

    Counts are of requests (of ratings, for a rating) in each arm, totals of those where it was possible: for
    an answer fault, the answers that were read. `examples` are the candidate's newest, as exchange ids or as
    line numbers of a log.
    """

    kind: CountedKind | Literal["slow", "rating"]
    name: str
    category: str
    baseline: int
    baseline_of: int
    candidate: int
    candidate_of: int
    examples: tuple[str, ...]

    @property
    def excess(self) -> float:
        """The candidate's rate minus the baseline's."""
        return self.candidate / max(self.candidate_of, 1) - self.baseline / max(self.baseline_of, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """Failure modes of requests from `since` to `until` (RFC 3339), the candidate's worst first: first those
    counted among all requests, then slow answers among the `newest`, and bad ratings.

    Ratings are each metric's and arm's newest. `slow_s` is the baseline's 99th percentile.
    """

    since: str
    until: str
    baseline: int
    candidate: int
    slow_s: float | None
    modes: tuple[FailureMode, ...]
    newest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The cost of all users in 30 days at the measured traffic, in dollars. `change` is relative (−.4: 40 %
    cheaper), `difference_usd` the same in dollars, of which nothing is taken off (`savings`).

    `days` is the measured time. `priced` is the share of its requests with a known price (None: unknown).
    """

    days: float
    users: int
    requests_a_month: int
    priced: float | None
    baseline_usd: float
    candidate_usd: float
    change: Range
    difference_usd: Range


MONTH_DAYS, YEAR_DAYS = 30.0, 365.0
CURRENCY = "USD"
"""That of the price lists."""

EvaluationPart = Literal["mirror", "judge", "benchmark", "candidate_extra"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCost:
    """What the evaluation of one run cost, in dollars: mirror copies, the judge's calls, the benchmarks of
    the two models, and what the candidate's users cost more than they would have on the baseline (0: less).

    `unknown` are the parts whose cost is not known, or known only in part.
    """

    mirror_usd: float = 0.0
    judge_usd: float = 0.0
    benchmark_usd: float = 0.0
    candidate_extra_usd: float = 0.0
    unknown: tuple[EvaluationPart, ...] = ()

    @property
    def parts(self) -> Mapping[EvaluationPart, float]:
        """The dollars of each part."""
        return {
            "mirror": self.mirror_usd,
            "judge": self.judge_usd,
            "benchmark": self.benchmark_usd,
            "candidate_extra": self.candidate_extra_usd,
        }

    @property
    def total_usd(self) -> float:
        """What is known of all parts together."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Money saved in the first month (30 days) and the first year (365) of full rollout, net of what the
    `evaluation` cost; below 0 for more spent. The intervals are that of the cost's change, 95 %.

    `monthly` is a later month's, of which nothing is taken off. All are in `currency`, the prices'.
    """

    currency: str
    monthly: Range
    month: Range
    year: Range
    evaluation: EvaluationCost


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownCosts:
    """The share of each arm's answered requests whose cost is not known, in [0, 1]."""

    candidate: float
    baseline: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheHits:
    """The share of each arm's input tokens that the provider had cached, the p-value of equal shares, and
    whether they are `different`, by p < .001 and a tenth of a point. `costs`: where they are, by metric on
    costs what the candidate's value would be at the baseline's share, in dollars; empty without a known
    price."""

    candidate: float
    baseline: float
    p_value: float
    different: bool
    costs: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarked:
    """One layer of the candidate's last benchmark: both models' shares of right `examples` (0 to 1), the
    candidate's 95 % interval, and the layer's verdict. `at` is RFC 3339."""

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
class OfflineRow:
    """A row of the rubric that only a benchmark measures, as the last benchmark judged it. It does not decide
    this report. `says` and `at` (RFC 3339) are "" without a benchmark."""

    metric: str
    acceptable: str
    state: Literal["IDEAL", "PASS", "FAIL", "INCONCLUSIVE", "NODATA"] = "NODATA"
    says: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsersToCome:
    """The users that a critical part still needs until this metric can be judged there, in each arm. `by` is
    the tag, None for a category."""

    by: str | None
    value: str
    metric: str
    baseline: int
    candidate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Mirror copies sent to the candidate: their number, failures, and cost in dollars (None: unknown). No
    other figure includes them."""

    copies: int
    failed: int
    cost_usd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """All details; None or empty where they are unknown. A canary with a plan has `looks`, one without has
    `over_time`. `where`: the parts of the traffic in which the candidate's failed exchanges are concentrated.
    `unpriced`: the metrics that stay open because too many costs are not known; `unknown_costs`: how many are
    not, None while nothing about costs is spoiled by it. `unlabelled`: the metrics that stay open because
    too few of people's labels count, `judged_worse` those of them that the judge's own word misses.
    `cache_hits`: with a row on costs. `since_first` is known of a log only, with a plan as of the latest
    look. `too_few`: the critical parts without enough users to be
    judged. `evaluation` is what all this cost."""

    over_time: tuple[MetricCourse, ...] = ()
    looks: tuple[RowCourse, ...] = ()
    spreads: tuple[TimeSpread, ...] = ()
    failures: Failures | None = None
    money: Money | None = None
    evaluation: EvaluationCost = EvaluationCost()
    benchmarks: tuple[Benchmarked, ...] = ()
    offline: tuple[OfflineRow, ...] = ()
    where: tuple[FailingPart, ...] = ()
    unpriced: tuple[str, ...] = ()
    unknown_costs: UnknownCosts | None = None
    since_first: tuple[SinceFirst, ...] = ()
    too_few: tuple[UsersToCome, ...] = ()
    unlabelled: tuple[str, ...] = ()
    judged_worse: tuple[str, ...] = ()
    cache_hits: CacheHits | None = None
    throttled: "Throttled | None" = None


def savings(details: Details) -> Savings | None:
    """What full rollout would save; None without monthly figures, or while too many costs are unknown."""
    if details.money is None or details.unknown_costs is not None:
        return None
    monthly, spent = details.money.difference_usd.scaled(-1), details.evaluation.total_usd
    return Savings(
        currency=CURRENCY,
        monthly=monthly,
        month=monthly.less(spent),
        year=monthly.scaled(YEAR_DAYS / MONTH_DAYS).less(spent),
        evaluation=details.evaluation,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """The requests of each arm that were over its provider's rate or quota, of all its requests. No other
    figure includes them, in either arm: the baseline answered the candidate's, callers got the baseline's."""

    candidate: int
    candidate_of: int
    baseline: int
    baseline_of: int


def too_many_unreached(found: Mapping[str, int], of: int) -> bool:
    """True for more than half of the candidate's `of` exchanges: no verdict can rest on the others."""
    return sum(found.values()) > 0.5 * of


def unreached_worth_telling(found: Mapping[str, int], of: int) -> bool:
    """True from 1 % of the candidate's `of` exchanges on. `found` counts by error type those that did not
    reach it though it is not to blame."""
    number = sum(found.values())
    return number > 0 and number >= 0.01 * of
