"""The terms on which a canary is judged, fixed before the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from records.facts.metric import BUILT_IN, JUDGED, Metric
from records.facts.prices import PricedModel
from routing.canary import Arm, Match, Step
from verdict.terms.plan import DAY_S, LEAST_LEFT, STANDARD_RISK, ShareChange, VerdictPlan, first_day
from verdict.terms.rubric import DEFAULT_PLANNED_UNITS, Criterion, sha256

if TYPE_CHECKING:  # a worker needs no database
    from records.store.drift import ModelChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """What keeps a canary from shipping: a row, or a critical category or segment (`verdict.decision`).

    The value that is judged, with its 95 % interval (None: open): the candidate's, or its difference from the
    baseline where the bound is relative, and in a category or segment. `open`: it is no miss, but undecided;
    such a category or segment has no metric and no value.
    """

    name: str
    metric: str
    low: float | None
    estimate: float | None
    high: float | None
    open: bool = False

    def still_covers(self, now: "Miss", *, higher_is_better: bool) -> bool:
        """False once the value is worse than all of the interval of then; than its value, if that had no end.
        What was undecided is not covered once it is a miss."""
        if self.open and not now.open:
            return False
        worst = self.low if higher_is_better else self.high
        end = self.estimate if worst is None and not self.open else worst
        if now.estimate is None or end is None:
            return self.open
        return now.estimate >= end if higher_is_better else now.estimate <= end


@dataclass(frozen=True, slots=True, kw_only=True)
class Outweighed:
    """The misses, and what was undecided, that a person decided to ship despite, as they stood then."""

    who: str
    reason: str
    misses: tuple[Miss, ...] = ()

    def covers(self, now: Miss, *, higher_is_better: bool) -> bool:
        """True if this miss is one of them, and no worse than then."""
        return any(
            (then.name, then.metric) == (now.name, now.metric)
            and then.still_covers(now, higher_is_better=higher_is_better)
            for then in self.misses
        )

    def had(self, now: Miss) -> Miss | None:
        """This miss as it stood then, however it stands now; None for another."""
        return next(
            (then for then in self.misses if (then.name, then.metric) == (now.name, now.metric)), None
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRolledBack:
    """The run was rolled back; `who` and `why` are "" where nothing is stored about it."""

    who: str = ""
    why: str = ""


NOTHING = Outweighed(who="", reason="")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedUse:
    """What the config expects of users, for the plan until it is measured; None: it does not say.

    `users` are those of both arms in the planned days, `requests` the mean of one. `rated` is the share of
    requests with each value that users are asked for. `categories` has critical ones' shares of the users.
    """

    users: int | None = None
    requests: float | None = None
    rated: float | None = None
    categories: Mapping[str, float] = field(default_factory=dict)


NOTHING_EXPECTED = ExpectedUse()


PartPlace: TypeAlias = tuple[str | None, str]
"""A segment, by its tag and value, or a category, by None and its value."""


def part_name(by: str | None, value: str) -> str:
    """A part as people name it: category:refund, segment:plan=enterprise."""
    return f"category:{value}" if by is None else f"segment:{by}={value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCanary:
    """One canary and its terms.

    `planned_days` and `risk` are the plan's; 0 days: no plan, a verdict at any time by the confidence
    sequence. `planned_units` is n*, the number of candidate units for which the intervals are narrowest.
    `segments` are the tags to break down by; `critical_segments` are (tag, value). `offline` are the
    rows that only a benchmark measures; they are no part of the verdict, the score and the hash. `steps` is
    the ramp as planned. `shares` is the candidate's share in each phase (a sample from the store has its
    own).
    `baseline`, `candidate` and `match` are None if unknown. `assigned_outside`: a flag system assigns the
    units, so nothing is known of the split. `by_session`: a unit is a session, so one person may be
    several. `rubric_sha256` is the hash taken at the start (None: not fixed). `outweighed` are the misses
    that a person decided to ship despite. `retro`: the criteria were chosen after the run. `share_changes`
    are those by hand, `model_changes` what became of its arms' models under their names at any time.
    `over`: the run has ended, so no look comes after its traffic. `rolled_back`: by whom this run was
    rolled back, and why. `judge` is the judge with its criteria, for rows on its word: another measures
    another thing. `spent_before`: the part of the plan's risk that looks of earlier runs spent.
    `candidate_price`: the candidate's model with its price, None for a canary that has left the config.
    `expected` is for its plan alone.
    """

    name: str
    criteria: Sequence[Criterion]
    minimum_days: float = 7.0
    planned_days: int = 0
    risk: float = STANDARD_RISK
    planned_units: int = DEFAULT_PLANNED_UNITS
    segments: Sequence[str] = ()
    critical_categories: frozenset[str] = frozenset()
    critical_segments: frozenset[tuple[str, str]] = frozenset()
    offline: Sequence[Criterion] = ()
    metrics: Mapping[str, Metric] = field(default_factory=lambda: BUILT_IN)
    steps: Sequence[Step] = ()
    shares: Mapping[int, float] = field(default_factory=dict)
    baseline: Arm | None = None
    candidate: Arm | None = None
    match: Match | None = None
    assigned_outside: bool = False
    by_session: bool = False
    share_changes: Sequence[ShareChange] = ()
    model_changes: Sequence["ModelChange"] = ()
    over: bool = False
    rolled_back: RunRolledBack | None = None
    rubric_sha256: str | None = None
    outweighed: Outweighed = NOTHING
    retro: bool = False
    judge: str = ""
    spent_before: float = 0.0
    candidate_price: PricedModel | None = None
    expected: ExpectedUse = NOTHING_EXPECTED

    @property
    def plan(self) -> VerdictPlan | None:
        """The plan of looks; None without one. No plan ends before its first day."""
        if self.planned_days == 0:
            return None
        first = first_day(self.minimum_days, self.matures_days)
        days = max(self.planned_days, first)
        left = max(1 - self.spent_before, LEAST_LEFT)
        return VerdictPlan(days=days, first_day=first, risk=self.risk, left=left, schedule=self.steps)

    @property
    def matures_days(self) -> float:
        """The days that the rubric's slowest metric takes to mature."""
        return max((self.days_to_mature(row) for row in self.criteria), default=0.0)

    @property
    def sha256(self) -> str:
        """The hash of the terms that decide."""
        planned = {"planned_days": self.planned_days, "minimum_days": self.minimum_days, "risk": self.risk}
        judges = any(row.metric in JUDGED or row.assisted for row in self.criteria)
        return sha256(
            self.criteria,
            planned_units=self.planned_units,
            planned=planned if self.planned_days else None,
            judge=self.judge if judges else "",
            metrics=self.metrics,
        )

    def days_to_mature(self, row: Criterion) -> float:
        """The days after a unit's first request until its value of this row's metric is complete."""
        metric = self.metrics.get(row.metric)
        return metric.matures_after_s / DAY_S if metric is not None else 0.0

    @property
    def critical_parts(self) -> Sequence[PartPlace]:
        """The critical categories, then the critical segments."""
        categories = [(None, value) for value in sorted(self.critical_categories)]
        return [*categories, *sorted(self.critical_segments)]

    def is_critical(self, by: str | None, value: str) -> bool:
        """True if a loss in this value of the tag `by`, or of the category (`by` None), blocks shipping."""
        return value in self.critical_categories if by is None else (by, value) in self.critical_segments


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """The part of the config that reports need: each canary's terms, and all metrics."""

    canaries: Mapping[str, JudgedCanary]
    metrics: Mapping[str, Metric]
