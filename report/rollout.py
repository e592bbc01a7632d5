"""What the report must know of a canary besides its sample: the rubric and the rules fixed before the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from records.metric import BUILT_IN, Metric
from report.rubric import DEFAULT_PLANNED_UNITS, Criterion


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One canary as it is to be judged.

    `planned_units` is n*, the candidate units the intervals are tuned for; `segments` the tags to break down
    by; `shares` the candidate's share in each phase (a sample from the store brings its own);
    `rubric_sha256` the fingerprint taken at the start (None: not fixed); `compensating_factor` what a person
    recorded to outweigh a miss; `retro` says that the criteria are others than the canary's own, chosen
    after the fact. `critical_segments` are (tag, value).
    """

    canary: str
    criteria: Sequence[Criterion]
    minimum_days: float = 7
    planned_units: int = DEFAULT_PLANNED_UNITS
    segments: Sequence[str] = ()
    critical_categories: frozenset[str] = frozenset()
    critical_segments: frozenset[tuple[str, str]] = frozenset()
    rolled_back: bool = False
    rubric_sha256: str | None = None
    compensating_factor: str | None = None
    retro: bool = False
    shares: Mapping[int, float] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=lambda: BUILT_IN)

    def is_critical(self, by: str | None, value: str) -> bool:
        """True where a loss blocks: in this value of a tag, or of the category (`by` is None)."""
        return value in self.critical_categories if by is None else (by, value) in self.critical_segments
