"""Values that go into and come out of the store, other than the records themselves; and rollbacks, one
row each, written with the change of state."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, select

from records.store.tables import audit, rollbacks
from routing.states import State


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolCounts:
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
    totals: SpoolCounts


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


# The reasons of rollbacks: one row per rollback, written in the same transaction and never deleted.


class ReadableStore(Protocol):
    """A store that answers short queries."""

    def asking(self) -> AbstractContextManager[Connection]: ...


def insert_rollback(
    connection: Connection,
    canary: str,
    at: float,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    why: Mapping[str, Any],
) -> None:
    """Insert a rollback in the transaction that changes the state. A run has at most one."""
    row = {"canary": canary, "run": after["run"], "at": at, "before": before, "after": after, "why": why}
    connection.execute(rollbacks.insert().values(**row))


def was_rolled_back(store: ReadableStore, canary: str, state: State) -> bool:
    """True if the state's run was rolled back, even if the canary has ended since. May raise StoreDown."""
    if state.state != "ended":
        return state.state == "rolled_back"
    query = select(audit.c.before).where(audit.c.canary == canary, audit.c.action == "end")
    with store.asking() as connection:
        before = connection.execute(query.order_by(audit.c.id.desc()).limit(1)).scalar()
    return before is not None and before.get("state") == "rolled_back"


def newest_rollbacks(
    store: ReadableStore, canary: str, *, limit: int = 100, run: int | None = None
) -> list[StoredRollback]:
    """Return a canary's rollbacks, or those of one run, newest first. May raise StoreDown."""
    query = select(rollbacks).where(rollbacks.c.canary == canary)
    if run is not None:
        query = query.where(rollbacks.c.run == run)
    with store.asking() as connection:
        rows = connection.execute(query.order_by(rollbacks.c.run.desc()).limit(limit)).all()
    return [
        StoredRollback(
            canary=row.canary,
            at=row.at,
            before=msgspec.convert(row.before, State),
            after=msgspec.convert(row.after, State),
            why=row.why,
        )
        for row in rows
    ]
