"""The reasons of rollbacks: one row per rollback, written in the same transaction and never deleted."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, select

from records.store.facts import StoredRollback
from records.tables import audit, rollbacks
from routing.plan import State


class ReadableStore(Protocol):
    """A store that answers short queries."""

    def asking(self) -> AbstractContextManager[Connection]: ...


def insert(
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


def newest(
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
