"""What one canary is, as a person wrote it: whom it matches, its two arms. How far it has got is `plan`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Literal

ArmName = Literal["baseline", "candidate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """A provider entry's name and the model value sent to it."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which requests a canary takes: every part that is given must hold; an empty part holds for all."""

    models: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    def accepts(self, *, model: str, path: str, headers: Mapping[str, str], tags: Mapping[str, str]) -> bool:
        """True when the request's model, path, lower-case headers and tags satisfy every given part."""
        return (
            (not self.models or model in self.models)
            and (not self.paths or path in self.paths)
            and all(headers.get(name) == value for name, value in self.headers.items())
            and all(tags.get(name) == value for name, value in self.tags.items())
        )

    def overlaps(self, other: "Match") -> bool:
        """True when one request could satisfy both."""
        return (
            _share_a_value(self.models, other.models)
            and _share_a_value(self.paths, other.paths)
            and _agree(self.headers, other.headers)
            and _agree(self.tags, other.tags)
        )


def _share_a_value(mine: frozenset[str], theirs: frozenset[str]) -> bool:
    return not mine or not theirs or bool(mine & theirs)


def _agree(mine: Mapping[str, str], theirs: Mapping[str, str]) -> bool:
    return all(theirs.get(name, value) == value for name, value in mine.items())


UnitSource = Literal["header", "body", "session"]
"""`x-canary-unit`; `user`, `metadata.user_id` or `safety_identifier` in the body; `x-canary-session`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a ramp: a share in [0, 1] held for some seconds (None: until somebody changes it)."""

    share: float
    for_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One rollout under test."""

    name: str
    match: Match
    baseline: Arm
    candidate: Arm
    steps: Sequence[Step]
    unit_from: Sequence[UnitSource] = ("header", "body", "session")
    random_without_unit: bool = False
    fall_back: bool = True
    start_by_hand: bool = False

    def arm(self, name: ArmName) -> Arm:
        """The arm of that name."""
        return self.baseline if name == "baseline" else self.candidate


def definition(canary: Canary) -> str:
    """A fingerprint of what must not change once a canary has started: its match, its arms, its unit rule.

    A unit's place in the cohort, and what the two arms mean in the records, hang on these.
    """
    match = canary.match
    parts = (
        sorted(match.models),
        sorted(match.paths),
        sorted(match.headers.items()),
        sorted(match.tags.items()),
        (canary.baseline.provider, canary.baseline.model),
        (canary.candidate.provider, canary.candidate.model),
        list(canary.unit_from),
        canary.random_without_unit,
    )
    return sha256(repr(parts).encode()).hexdigest()[:16]
