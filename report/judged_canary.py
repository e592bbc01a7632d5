"""What the report must know of a canary besides its sample: the terms that were fixed before the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from records.metric import BUILT_IN, Metric
from report.rubric import DEFAULT_PLANNED_UNITS, Criterion
from routing.canary import Arm


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedCanary:
    """One canary as it is to be judged.

    `planned_units` is n*, the candidate units for which the intervals are narrowest; `segments` the tags to
    break down by; `critical_segments` are (tag, value); `shares` the candidate's share in each phase (a
    sample from the store brings its own); `baseline` and `candidate` are None where they are not known;
    `rubric_sha256` is the fingerprint taken at the start (None: not fixed); `compensating_factor` what a
    person recorded to outweigh a miss; `retro` is True where the criteria were chosen after the fact.
    """

    canary: str
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
    rubric_sha256: str | None = None
    compensating_factor: str | None = None
    retro: bool = False

    def is_critical(self, by: str | None, value: str) -> bool:
        """True where a loss blocks: in this value of a tag, or of the category (`by` is None)."""
        return value in self.critical_categories if by is None else (by, value) in self.critical_segments


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSettings:
    """What the config says of reports: each canary as it is to be judged, and every metric."""

    canaries: Mapping[str, JudgedCanary]
    metrics: Mapping[str, Metric]
