"""One canary as configured: which requests it matches, and its two arms. Its progress: `routing.states`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

_FEW = 80
"""Characters; longer changes are named by their fingerprint."""

Members = Sequence[tuple[str, str]]
"""Pairs of a member's name, and its new name or its value as JSON text. A name is top-level, or has one dot
for a member one level down (`generationConfig.temperature`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestChanges:
    """The changes, applied in this order. All other bytes of the request stay as they came.

    `rename`: (name, new name). `remove`: names. `set`, `default`: (name, JSON text); a default only applies
    where the member is missing. False when there are none.
    """

    rename: Members = ()
    remove: Sequence[str] = ()
    set: Members = ()
    default: Members = ()

    def __post_init__(self) -> None:
        for name in ("rename", "remove", "set", "default"):  # equal to themselves when read from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def __bool__(self) -> bool:
        return bool(self.rename or self.remove or self.set or self.default)

    def concerns(self, name: str) -> bool:
        """True when the changes may rename, remove, set or give this member."""
        renamed = [each for pair in self.rename for each in pair]
        given = [each for each, _ in (*self.set, *self.default)]
        return name in (*renamed, *self.remove, *given)

    @property
    def parts(self) -> tuple[object, ...]:
        """What a fingerprint needs: plain values, independent of the order in the file."""
        return sorted(self.rename), sorted(self.remove), sorted(self.set), sorted(self.default)

    @property
    def words(self) -> str:
        """The changes in a few words, which tell two arms of one model apart; "" for none: low effort."""
        found = [
            *(_given(name, json.loads(value)) for name, value in sorted(self.set)),
            *(f"{_given(name, json.loads(value))} by default" for name, value in sorted(self.default)),
            *(f"without {name}" for name in sorted(self.remove)),
            *(f"{name} as {new}" for name, new in sorted(self.rename)),
        ]
        text = ", ".join(found)
        return text if len(text) <= _FEW else f"request {sha256(repr(self.parts).encode()).hexdigest()[:8]}"

    def document(self) -> Mapping[str, Any]:
        """The changes as in the config file; empty when there are none."""
        parts = {
            "rename": dict(self.rename),
            "remove": list(self.remove),
            "set": {name: json.loads(value) for name, value in self.set},
            "default": {name: json.loads(value) for name, value in self.default},
        }
        return {key: part for key, part in parts.items() if part}


def _given(name: str, value: Any) -> str:
    """low effort; temperature 0."""
    if name.endswith("effort") and isinstance(value, str):
        return f"{value} effort"
    return f"{name} {value if isinstance(value, str) else json.dumps(value)}"


NO_CHANGES = RequestChanges()


ArmName = Literal["baseline", "candidate"]


def text_digest(text: str) -> str:
    """The SHA-256 by which an arm's texts are known, in hex."""
    return sha256(text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPrompt:
    """An arm's own prompt: the text of the caller's that it stands for, and the text in its place, each by
    its digest."""

    find: str
    put: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What an arm is: the name of a provider entry, the model sent to it, and how its request differs from
    the caller's.

    `tools`: pairs of a tool's name and the digest of its description here. `name`: what people call the arm,
    "" if nobody said.
    """

    provider: str
    model: str
    request: RequestChanges = NO_CHANGES
    prompt: OwnPrompt | None = None
    tools: Members = ()
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tools", tuple(self.tools))  # equal when read from JSON

    @property
    def text_parts(self) -> tuple[object, ...]:
        """What a fingerprint needs of the arm's texts; empty without any."""
        prompt = () if self.prompt is None else ("prompt", self.prompt.find, self.prompt.put)
        return (*prompt, *(("tools", sorted(self.tools)) if self.tools else ()))

    @property
    def fingerprint(self) -> str:
        """What identifies the arm: 16 hex digits of provider, model, request, prompt and tools."""
        parts = (self.provider, self.model, self.request.parts, self.text_parts)
        return sha256(repr(parts).encode()).hexdigest()[:16]

    @property
    def words(self) -> str:
        """By what it differs from its plain model, in a few words: its name with the begin of its
        fingerprint, else the parts; "" for nothing: low effort, prompt 1a2b3c4d."""
        if self.name:
            return f"{self.name} ({self.fingerprint[:6]})"
        prompt = "" if self.prompt is None else f"prompt {_digest(self.prompt)}"
        names = " and ".join(sorted(name for name, _ in self.tools))
        tools = f"tools {names} {_digest(sorted(self.tools))}" if names else ""
        return ", ".join(filter(None, (self.request.words, prompt, tools)))


def _digest(value: object) -> str:
    return sha256(repr(value).encode()).hexdigest()[:8]


def arm_names(baseline: Arm, candidate: Arm) -> tuple[str, str]:
    """Both arms as `provider/model`. Arms of one model have also that by which alone they differ:
    `openai/assistant-3 · low effort`; and arms of two models their texts, if these differ too."""
    is_variant = (baseline.provider, baseline.model) == (candidate.provider, candidate.model)
    same_texts = baseline.text_parts == candidate.text_parts

    def named(arm: Arm) -> str:
        told = arm.words if is_variant or (arm.text_parts and not same_texts) else ""
        return f"{arm.provider}/{arm.model}{f' · {told}' if told else ''}"

    return named(baseline), named(candidate)


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
"""`x-canary-unit`; `user`, `metadata.user_id` or `safety_identifier` in the body; the session."""

UNIT_FROM: Sequence[UnitSource] = ("header", "body", "session")
"""Where the unit is looked for unless the canary says otherwise, and for requests without a canary."""

SessionSource = Literal["header", "harness", "metadata", "body"]
"""`x-canary-session`; a coding agent's own header; `metadata.user_id`; `session_id` or `conversation`."""

SESSION_FROM: Sequence[SessionSource] = ("header", "harness", "metadata", "body")
"""Where the session is looked for, as `UNIT_FROM`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a ramp: a share in [0, 1], and what ends it. All that it names must be reached; with
    neither, it lasts until a person changes the share.

    `for_s`: how long it lasts at least. `users`: how many of the candidate's users have had an outcome in it
    (`until: {users: 300}`).
    """

    share: float
    for_s: float | None = None
    users: int | None = None

    @property
    def ends(self) -> bool:
        """True when the step ends by itself."""
        return self.for_s is not None or self.users is not None


SETTLE_S, SETTLE_AT_MOST_S = 1_800.0, 14_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldbackTerms:
    """After a promotion, this share of the units keeps the baseline for so long. `rollback`: a guardrail that
    convicts the candidate in that time rolls it back; else it pages."""

    share: float
    for_s: float
    rollback: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One rollout: a candidate tested against a baseline."""

    name: str
    match: Match
    baseline: Arm
    candidate: Arm
    steps: Sequence[Step]
    unit_from: Sequence[UnitSource] = UNIT_FROM
    session_from: Sequence[SessionSource] = SESSION_FROM
    random_without_unit: bool = False
    fall_back: bool = True
    start_by_hand: bool = False
    assigned_outside: bool = False
    """Each unit's arm comes with its requests, from a flag system, instead of from the hash."""
    lane: float | None = None
    """The part of the units, in (0, 1], among canaries that match the same requests; None: an equal one."""
    settle_s: float = SETTLE_S
    """How long a unit must be idle before a change of share moves it; 0: everybody moves at once."""
    settle_at_most_s: float = SETTLE_AT_MOST_S
    """How long a change waits for a unit at most."""
    holdback: HoldbackTerms | None = None
    """Who keeps the baseline after a promotion; None: nobody."""

    def meets(self, other: "Canary") -> bool:
        """True when one request could be taken by both."""
        return self.baseline.provider == other.baseline.provider and self.match.overlaps(other.match)

    def would_take(self, provider: str, model: str) -> bool:
        """True when a request to this entry for this model may be the canary's."""
        return self.baseline.provider == provider and (not self.match.models or model in self.match.models)

    def arm(self, name: ArmName) -> Arm:
        """Return the arm called `name`."""
        return self.baseline if name == "baseline" else self.candidate


def definition(canary: Canary) -> str:
    """Fingerprint the parts that must not change once a canary has started: match, arms, unit rule and lane.

    They determine a unit's assignment and what the arms' records mean. A canary without changes of its
    requests, texts of its arms, a declared lane, a flag system or its own sources of a session has the
    fingerprint that it had before these could be configured.
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
    if canary.baseline.text_parts or canary.candidate.text_parts:
        parts = (*parts, "texts", canary.baseline.text_parts, canary.candidate.text_parts)
    if canary.lane is not None:
        parts = (*parts, "lane", canary.lane)
    if canary.assigned_outside:
        parts = (*parts, "assigned outside")
    if tuple(canary.session_from) != tuple(SESSION_FROM):
        parts = (*parts, "session", list(canary.session_from))
    return sha256(repr(parts).encode()).hexdigest()[:16]
