"""What is: how far each canary has got. One immutable, versioned value that flows down to every worker."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

StateName = Literal["waiting", "running", "paused", "rolled_back", "promoted", "ended"]

STALE_AFTER_S = 15 * 60
"""A plan that nobody refreshed for this long falls to share 0: an unwatched canary does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One canary's state.

    `run` counts fresh starts of the evidence (a resume after a rollback begins a new one), `phase` counts
    changes of the share within all runs, `step` is the place in the ramp, `step_elapsed_s` the time the ramp
    clock has run in it, `configured` the share steps last seen in the config, as text, `definition`
    the fingerprint of the match, arms and unit rule it started with (`routing.canary.definition`).
    """

    state: StateName = "waiting"
    share: float = 0.0
    run: int = 1
    phase: int = 0
    step: int = 0
    step_elapsed_s: float = 0.0
    configured: str = ""
    definition: str = ""
    reason: str = ""
    started_at: float | None = None
    changed_at: float | None = None

    @property
    def effective_share(self) -> float:
        """The candidate's part of the units now, in [0, 1]."""
        return self.share if self.state in ("running", "paused", "promoted") else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every canary's state at one version. `version` rises with each change; a lower one is ignored."""

    version: int = 0
    states: Mapping[str, State] = field(default_factory=dict)
    refreshed_at: float = 0.0

    def state_of(self, name: str, definition: str) -> State | None:
        """The canary's state; None when nothing is known, or it is known under another definition."""
        state = self.states.get(name)
        return state if state is not None and state.definition == definition else None


def plan_of(states: Mapping[str, tuple[int, State]], refreshed_at: float) -> Plan:
    """The plan of (version, state) by canary. Its version is the sum of theirs, which each change raises, and
    one more (ADR 3)."""
    version = 1 + sum(each for each, _ in states.values())
    return Plan(
        version=version,
        states={name: state for name, (_, state) in states.items()},
        refreshed_at=refreshed_at,
    )


NO_PLAN = Plan()
