"""The states of all canaries, as one immutable, versioned value that all workers read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import msgspec

from routing.canary import Arm, Canary, Match
from routing.cohort import SPACE, hmac_sha256

Span = tuple[int, int]
"""Places from the first, up to and without the second, in [0, 2³²]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The places of one canary's units, of several canaries that match the same requests. `match` and
    `baseline` are the canary's: once it has ended, its users get that baseline for the same requests."""

    spans: tuple[Span, ...]
    match: Match
    baseline: Arm

    @property
    def size(self) -> float:
        """The lane's part of all units, in [0, 1]."""
        return sum(end - start for start, end in self.spans) / SPACE

    @property
    def part(self) -> float:
        """The size as people are shown it, with 9 digits."""
        return round(self.size, 9)

    def has(self, place: int) -> bool:
        """True when the units at this place belong to the lane."""
        return any(start <= place < end for start, end in self.spans)

    def meets(self, canary: Canary) -> bool:
        """True when one request could be taken by the lane's canary and by this one."""
        return self.baseline.provider == canary.baseline.provider and self.match.overlaps(canary.match)


def lane_place(assignment_key: bytes, unit: str) -> int:
    """Hash a unit to [0, 2³²) for lanes: the first 4 bytes, big-endian, of HMAC-SHA-256(assignment key,
    \\x00 lane \\x00 unit). No canary's name is empty, so it is independent of every arm's hash."""
    return int.from_bytes(hmac_sha256(assignment_key, f"\0lane\0{unit}".encode())[:4], "big")


StateName = Literal["waiting", "running", "paused", "rolled_back", "promoted", "ended"]

STALE_AFTER_S = 15 * 60
"""States not refreshed for this long count as share 0: an unwatched canary does not run."""

UNKNOWN_PATIENCE_S = 30.0
"""The patience with a candidate whose baseline is not known well enough yet."""

PREFLIGHT_RUNS = "preflight: the candidate is being asked"
"""The reason of a waiting canary that is about to start by itself."""

LEAST_SILENCE_S = 5.0
"""No shorter silence of a stream is a stall."""

NO_PATIENCE: Mapping[str, Mapping[str, float]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The units that a change of share would have moved in the middle of something (`routing.holds`).

    `span`: the places where it changed arms. `before`: the state that they keep. `share`: the candidate's
    after it; None where a flag system gives the arms. `until`: UTC seconds, when they move at the latest.
    """

    span: Span
    before: "State"
    share: float | None
    until: float

    def has(self, place: int) -> bool:
        """True when the change may have moved the units at this place."""
        return self.span[0] <= place < self.span[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdback:
    """The units that keep the baseline after a promotion: those that the share leaves to it, in this phase.

    Times are UTC seconds: it began, it ends by itself, it ended (None: it lasts). `rollback`: guardrails may
    roll the candidate back.
    """

    phase: int
    since: float
    until: float
    rollback: bool = False
    ended_at: float | None = None

    def lasted(self, now: float) -> str:
        """How much of its time has passed at its end: ended early, after 2.5 of 7 days."""
        days, passed = (self.until - self.since) / 86400, (now - self.since) / 86400
        if passed >= days:
            return f"its {days:.3g} days are over"
        part = f"{passed:.2g}" if passed >= 0.1 else "less than 0.1"
        return f"ended early, after {part} of {days:.3g} days"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One canary's state.

    `run`: counts fresh starts of the evidence; a resume after a rollback begins a new run.
    `phase`: counts changes of the effective share over all runs.
    `step`, `step_phase`, `step_elapsed_s`: the index of the ramp step, the phase with which it began, and how
    long the ramp clock has run in it.
    `configured`: the ramp last seen in the config, as text (`routing.transitions.steps_text`).
    `cap`: the most of the units that the candidate's provider has quota for; None while that is no question.
    `highest_share`: the most that the candidate has had of the units, in any run.
    `hard`: rolled back so that the candidate gets no request any more, not even of conversations it began.
    `definition`: fingerprint of match, arms, unit rule and lane at the start (`routing.canary.definition`).
    `lane`: the units that it has, where other canaries match the same requests; None: all.
    `holds`: the units that keep an earlier state for a while, by the change that would have moved them.
    `holdback`: of the run's promotion, also once it has ended; None without one.
    """

    state: StateName = "waiting"
    share: float = 0.0
    cap: float | None = None
    highest_share: float = 0.0
    hard: bool = False
    run: int = 1
    phase: int = 0
    step: int = 0
    step_phase: int = 0
    step_elapsed_s: float = 0.0
    configured: str = ""
    definition: str = ""
    reason: str = ""
    started_at: float | None = None
    changed_at: float | None = None
    lane: Lane | None = None
    holds: tuple[Hold, ...] = ()
    holdback: Holdback | None = None

    @property
    def holds_back(self) -> bool:
        """True while units keep the baseline after a promotion."""
        return self.holdback is not None and self.holdback.ended_at is None

    @property
    def document(self) -> dict[str, Any]:
        """The state as JSON types, as stores and rollbacks keep it."""
        found: dict[str, Any] = msgspec.to_builtins(self, order="deterministic")
        return found

    @property
    def effective_share(self) -> float:
        """The candidate's current part of the units, in [0, 1]."""
        if self.cap is not None:
            return min(self.share, self.cap)
        return self.share if self.state in ("running", "paused", "promoted") else 0.0

    @property
    def recallable(self) -> bool:
        """True while the candidate may be asked to go on with conversations that it began."""
        return not self.hard and self.state in ("running", "paused", "promoted", "rolled_back")


@dataclass(frozen=True, slots=True, kw_only=True)
class States:
    """The state of every canary at one version. Each change raises `version`; readers ignore a lower one.

    `patience`: by canary, then by kind (`request_kind`), the seconds that a request may wait for the
    candidate, and `silence`, after how many seconds of silence a stream of either arm is stalled; a missing
    entry means that the baseline is not known well enough yet.
    """

    version: int = 0
    states: Mapping[str, State] = field(default_factory=dict)
    refreshed_at: float = 0.0
    patience: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    silence: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def state_of(self, name: str, definition: str) -> State | None:
        """Return the canary's state, or None when it is unknown or belongs to another definition."""
        state = self.states.get(name)
        return state if state is not None and state.definition == definition else None

    def stall_s(self, canary: str, kind: str) -> float:
        """The seconds of silence after which a stream of this kind is stalled."""
        return self.silence.get(canary, {}).get(kind, LEAST_SILENCE_S)

    def is_settled(self, canaries: Iterable[str]) -> bool:
        """True once each of these canaries has a state, and none is about to start."""
        states = map(self.states.get, canaries)
        return all(state is not None and state.reason != PREFLIGHT_RUNS for state in states)


def request_kind(operation: str, *, stream: bool) -> str:
    """The kind of a request by which times are compared, for example "chat/stream" or "chat/json"."""
    return f"{operation}/stream" if stream else f"{operation}/json"


def states_of(
    states: Mapping[str, tuple[int, State]],
    refreshed_at: float,
    patience: Mapping[str, Mapping[str, float]] = NO_PATIENCE,
    silence: Mapping[str, Mapping[str, float]] = NO_PATIENCE,
) -> States:
    """All states from (version, state) by canary. Their version is 1 + the sum of theirs (ADR 3)."""
    version = 1 + sum(canary_version for canary_version, _ in states.values())
    return States(
        version=version,
        states={name: state for name, (_, state) in states.items()},
        refreshed_at=refreshed_at,
        patience=patience,
        silence=silence,
    )


NO_STATES = States()
