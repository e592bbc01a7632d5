"""Why a candidate was rolled back, as it stood then: what a person reads afterwards. Never prompts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from alerts.windows import Window
from records.outcome import Outcome

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

    def add(self, point: Point) -> None:
        """Take in a later point; one without a new observation is not kept."""
        if self.last and self.last[-1].observations == point.observations:
            return
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
class Why:
    """The frozen evidence of one rollback. Times are UTC seconds, shares in [0, 1]."""

    canary: str
    run: int
    rule: str
    at: float
    sentence: str
    value: float | None
    threshold: float | None
    evidence: Mapping[str, float]
    path: tuple[Point, ...]
    arms: Mapping[str, ArmFigures]
    failures: tuple[FailureSample, ...]
    share_before: float
    share_after: float


def sample_of(outcome: Outcome) -> FailureSample:
    """What is kept of a failed exchange."""
    return FailureSample(
        outcome.exchange_id, outcome.at, outcome.error_type or outcome.outcome, outcome.status
    )
