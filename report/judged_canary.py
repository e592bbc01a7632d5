"""The terms on which a canary is judged, fixed before the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from records.metric import BUILT_IN, Metric
from report.rubric import DEFAULT_PLANNED_UNITS, Criterion
from routing.canary import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCanary:
    """One canary and its terms.

    `planned_units` is n*, the number of candidate units for which the intervals are narrowest. `segments` are
    the tags to break down by; `critical_segments` are (tag, value). `shares` is the candidate's share in each
    phase (a sample from the store has its own). `baseline` and `candidate` are None if unknown.
    `rubric_sha256` is the hash taken at the start (None: not fixed). `compensating_factor` is what a person
    recorded to outweigh a miss. `retro`: the criteria were chosen after the run.
    `rollback` says in a sentence who rolled this run back, and why; "" if unknown.
    """

    name: str
    criteria: Sequence[Criterion]
    minimum_days: float = 7.0
    planned_units: int = DEFAULT_PLANNED_UNITS
    segments: Sequence[str] = ()
    critical_categories: frozenset[str] = frozenset()
    critical_segments: frozenset[tuple[str, str]] = frozenset()
    metrics: Mapping[str, Metric] = field(default_factory=lambda: BUILT_IN)
    shares: Mapping[int, float] = field(default_factory=dict)
    baseline: Arm | None = None
    candidate: Arm | None = None
    rolled_back: bool = False
    rollback: str = ""
    rubric_sha256: str | None = None
    compensating_factor: str | None = None
    retro: bool = False

    def is_critical(self, by: str | None, value: str) -> bool:
        """True if a loss in this value of the tag `by`, or of the category (`by` None), blocks shipping."""
        return value in self.critical_categories if by is None else (by, value) in self.critical_segments


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """The part of the config that reports need: each canary's terms, and all metrics."""

    canaries: Mapping[str, JudgedCanary]
    metrics: Mapping[str, Metric]
