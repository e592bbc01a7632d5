"""What goes into the store and comes out of it, beside the records themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routing.plan import State


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTotals:
    """Counts of a spool's records, or of all spools'. accepted = stored + dropped, and what still waits."""

    accepted: int = 0
    stored: int = 0
    dropped: int = 0
    quarantined: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Shipped:
    """What a batch added, and its spool's counts with it. `duplicates` were there already; a newer value of
    a feedback key is none."""

    inserted: int
    duplicates: int
    totals: RecordTotals


@dataclass(frozen=True, slots=True)
class Versioned:
    """A state and its version, which a swap must name."""

    version: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who did what, when (UTC seconds) and why: what the audit log keeps of a change."""

    at: float
    action: str
    who: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One entry of the audit log. `before` is None for a canary's first state."""

    id: int
    canary: str
    act: Act
    before: State | None
    after: State


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRubric:
    """The rubric as it stood when the canary started. `fixed_at` is UTC seconds."""

    sha256: str
    document: Mapping[str, Any]
    fixed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRollback:
    """One rollback: when (UTC seconds), the state before and after, and why, as its owner wrote it."""

    canary: str
    at: float
    before: State
    after: State
    why: Mapping[str, Any]
