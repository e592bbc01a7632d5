"""Values that go into and come out of the store, other than the records themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routing.plan import State


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordTotals:
    """Counts of the records of one spool, or of all spools."""

    accepted: int = 0
    stored: int = 0
    dropped: int = 0
    quarantined: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Shipped:
    """The result of storing a batch: new rows, rows that were stored already, and the spool's new totals.

    A newer value of a feedback key is not a duplicate.
    """

    inserted: int
    duplicates: int
    totals: RecordTotals


@dataclass(frozen=True, slots=True)
class Versioned:
    """A state and its version, which `Store.swap` compares."""

    version: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who did what, when (UTC seconds) and why, for the audit log; `minutes`: how long it took them."""

    at: float
    action: str
    who: str
    reason: str
    minutes: float | None = None


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
    """The rubric fixed when the canary started. `fixed_at` is UTC seconds."""

    sha256: str
    document: Mapping[str, Any]
    fixed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRollback:
    """One rollback at UTC seconds: the states before and after, and the reason as a JSON document."""

    canary: str
    at: float
    before: State
    after: State
    why: Mapping[str, Any]
