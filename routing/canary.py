"""One canary as configured: which requests it matches, and its two arms. Its progress: `routing.states`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

from routing.request_changes import NO_CHANGES, RequestChanges

ArmName = Literal["baseline", "candidate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The name of a provider entry, the model sent to it, and how its request differs from the caller's."""

    provider: str
    model: str
    request: RequestChanges = NO_CHANGES


def arm_names(baseline: Arm, candidate: Arm) -> tuple[str, str]:
    """Both arms as `provider/model`. Arms of one model have their requests too, by which alone they differ:
    `openai/assistant-3 · low effort`."""
    arms = (baseline, candidate)
    variant = len({(arm.provider, arm.model) for arm in arms}) == 1
    first, second = (
        f"{arm.provider}/{arm.model}{f' · {arm.request.words}' if variant and arm.request else ''}"
        for arm in arms
    )
    return first, second


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests a canary takes: all non-empty fields must match; an empty field matches anything."""

    models: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def accepts(self, *, model: str, path: str, headers: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        """True when the request satisfies all non-empty fields; header names are lower case."""
        return (
            (not self.models or model in self.models)
            and (not self.paths or path in self.paths)
            and (not self.headers or _has_all(headers, self.headers))
            and (not self.tags or _has_all(tags, self.tags))
        )

    def overlaps(self, other: "Match") -> bool:
        """True when one request could match both."""
        return (
            _share_a_value(self.models, other.models)
            and _share_a_value(self.paths, other.paths)
            and _agree(self.headers, other.headers)
            and _agree(self.tags, other.tags)
        )


def _has_all(given: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(given.get(name) == value for name, value in wanted.items())


def _share_a_value(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    return not mine or not theirs or bool(mine & theirs)


def _agree(mine: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    return all(theirs.get(name, value) == value for name, value in mine.items())


UnitSource = Literal["header", "body", "session"]
"""`x-canary-unit`; `user`, `metadata.user_id` or `safety_identifier` in the body; `x-canary-session`."""

UNIT_FROM: Sequence[UnitSource] = ("header", "body", "session")
"""Where the unit is looked for unless the canary says otherwise, and for requests without a canary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a ramp: a share in [0, 1] and its duration (None: until a person changes the share)."""

    share: float
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One rollout: a candidate tested against a baseline."""

    name: str
    match: Match
    baseline: Arm
    candidate: Arm
    steps: Sequence[Step]
    unit_from: Sequence[UnitSource] = UNIT_FROM
    random_without_unit: bool = False
    fall_back: bool = True
    start_by_hand: bool = False
    assigned_outside: bool = False
    """Each unit's arm comes with its requests, from a flag system, instead of from the hash."""
    lane: float | None = None
    """The part of the units, in (0, 1], among canaries that match the same requests; None: an equal one."""

    def meets(self, other: "Canary") -> bool:
        """True when one request could be taken by both."""
        return self.baseline.provider == other.baseline.provider and self.match.overlaps(other.match)

    def arm(self, name: ArmName) -> Arm:
        """Return the arm called `name`."""
        return self.baseline if name == "baseline" else self.candidate


def definition(canary: Canary) -> str:
    """Fingerprint the parts that must not change once a canary has started: match, arms, unit rule and lane.

    They determine a unit's assignment and what the arms' records mean. A canary without changes of its
    requests, a declared lane or a flag system has the fingerprint that it had before these could be
    configured.
    """
    match = canary.match
    parts: tuple[object, ...] = (
        sorted(match.models),
        sorted(match.paths),
        sorted(match.headers.items()),
        sorted(match.tags.items()),
        (canary.baseline.provider, canary.baseline.model),
        (canary.candidate.provider, canary.candidate.model),
        list(canary.unit_from),
        canary.random_without_unit,
    )
    if canary.baseline.request or canary.candidate.request:
        parts = (*parts, canary.baseline.request.parts, canary.candidate.request.parts)
    if canary.lane is not None:
        parts = (*parts, "lane", canary.lane)
    if canary.assigned_outside:
        parts = (*parts, "assigned outside")
    return sha256(repr(parts).encode()).hexdigest()[:16]
