"""Why a candidate was rolled back, as it stood then: what a person reads afterwards. Never prompts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from alerts.evidence import ROLLBACK_CUSUM, ROLLBACK_MIXTURE
from alerts.status import GuardrailStatus
from alerts.windows import Window
from records.outcome import Outcome
from routing.plan import State

POINTS = 60
FAILURES = 20
RECENT_S = 600.0


class Point(NamedTuple):
    """The evidence at one moment: UTC seconds, natural logarithms, observations so far."""

    at: float
    ln_mixture: float
    ln_cusum: float
    observations: float


@dataclass(slots=True)
class Path:
    """One rule's evidence over time in bounded memory: the whole run coarsely, the last moments closely."""

    whole: list[Point] = field(default_factory=list)
    last: list[Point] = field(default_factory=list)
    spacing_s: float = 1.0
    ended: bool = False

    def add(self, point: Point) -> None:
        """Take in a later point; one without a new observation is not kept, and none once it has ended."""
        if self.ended or (self.last and self.last[-1].observations == point.observations):
            return
        if self.last and self.last[-1].at > point.at:  # outcomes come in order of their end, but for a few
            point = point._replace(at=self.last[-1].at)
        self.last.append(point)
        del self.last[:-POINTS]
        if not self.whole or point.at - self.whole[-1].at >= self.spacing_s:
            self.whole.append(point)
        if len(self.whole) > POINTS:
            self.whole = self.whole[::2]
            self.spacing_s *= 2.0

    def points(self) -> tuple[Point, ...]:
        """Both together, in order of time, at most 120."""
        closely_from = self.last[0].at if self.last else 0.0
        return tuple(point for point in self.whole if point.at < closely_from) + tuple(self.last)


class FailureSample(NamedTuple):
    """A failed exchange of the candidate, to look up: its id, when, and how it failed."""

    exchange_id: str
    at: float
    error_type: str
    status: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmFigures:
    """One arm in this run. `p95_s` is of the last ten minutes; None is unknown."""

    exchanges: int
    failed: int
    p95_s: float | None
    mean_cost_usd: float | None


@dataclass(slots=True)
class ArmTally:
    """What ArmFigures are read from."""

    exchanges: int = 0
    failed: int = 0
    latency: Window = field(default_factory=lambda: Window(RECENT_S, binned=True))
    cost: Window = field(default_factory=lambda: Window(None))

    def add(self, completed: float, latency_s: float | None, cost_usd: float | None, *, failed: bool) -> None:
        """Take in one exchange that ended at monotonic `completed`."""
        self.exchanges += 1
        self.failed += failed
        if latency_s is not None:
            self.latency.add(completed, latency_s)
        if cost_usd is not None:
            self.cost.add(completed, cost_usd)

    def figures(self, now: float) -> ArmFigures:
        """The figures at monotonic `now`."""
        return ArmFigures(
            exchanges=self.exchanges,
            failed=self.failed,
            p95_s=self.latency.quantile(0.95, now),
            mean_cost_usd=self.cost.mean(now),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleThen:
    """How one guardrail stood at that moment (`alerts.status`), and how its evidence had grown to there."""

    rule: str
    state: str
    sentence: str
    value: float | None
    threshold: float | None
    evidence: Mapping[str, float]
    path: tuple[Point, ...]


def rule_then(status: GuardrailStatus, path: Path) -> RuleThen:
    """Freeze how a rule stands."""
    return RuleThen(
        rule=status.key,
        state=status.state,
        sentence=status.sentence,
        value=status.value,
        threshold=status.threshold,
        evidence=dict(status.evidence),
        path=path.points(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackEvidence:
    """What stood when a candidate was rolled back. Times are UTC seconds, shares in [0, 1].

    `rule` is the guardrail that did it, "" where a person did; `who` and `reason` are as in the audit log;
    `rules` are all guardrails, `failures` the candidate's last failed exchanges. What convicts are an
    `ln_mixture` or an `ln_cusum` of `limits`.
    """

    canary: str
    run: int
    rule: str
    who: str
    reason: str
    at: float
    rules: tuple[RuleThen, ...]
    arms: Mapping[str, ArmFigures]
    failures: tuple[FailureSample, ...]
    share_before: float
    share_after: float
    limits: Mapping[str, float] = field(default_factory=lambda: dict(LIMITS))

    @property
    def convicting(self) -> RuleThen | None:
        """The guardrail that did it; None where a person did."""
        return next((each for each in self.rules if each.rule == self.rule), None)

    @property
    def sentence(self) -> str:
        """What happened, in words."""
        found = self.convicting
        return found.sentence if found is not None else self.reason

    @property
    def value(self) -> float | None:
        """The convicting rule's value, in its own unit."""
        return found.value if (found := self.convicting) is not None else None

    @property
    def threshold(self) -> float | None:
        """Its limit, in the same unit."""
        return found.threshold if (found := self.convicting) is not None else None

    @property
    def evidence(self) -> Mapping[str, float]:
        """Its numbers; empty where a person did it."""
        return found.evidence if (found := self.convicting) is not None else {}

    @property
    def path(self) -> tuple[Point, ...]:
        """Its evidence over time; empty where a person did it."""
        return found.path if (found := self.convicting) is not None else ()


LIMITS: Mapping[str, float] = {"ln_mixture": ROLLBACK_MIXTURE, "ln_cusum": ROLLBACK_CUSUM}
"""What either statistic must reach to roll back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """One rollback: why, and the canary's state before and after; `stored` once the database has it."""

    why: RollbackEvidence
    before: State
    after: State
    stored: bool


def to_document(why: RollbackEvidence) -> dict[str, Any]:
    """JSON-able, to be kept."""
    document: dict[str, Any] = msgspec.to_builtins(why, str_keys=True)
    return document


def rolled_back(
    document: Mapping[str, Any] | None, before: State, after: State, *, stored: bool
) -> RolledBack | None:
    """A rollback that was kept; None where no why was, or one of a shape that this version does not know."""
    try:
        why = msgspec.convert(document, RollbackEvidence)
    except msgspec.ValidationError:
        return None
    return RolledBack(why=why, before=before, after=after, stored=stored)


def sample_of(outcome: Outcome) -> FailureSample:
    """What is kept of a failed exchange."""
    return FailureSample(
        outcome.exchange_id, outcome.at, outcome.error_type or outcome.outcome, outcome.status
    )
