"""Why candidates were rolled back: one row a rollback, written with it, and kept for ever."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection, select

from records.store.facts import StoredRollback
from records.tables import rollbacks
from routing.plan import State


class Asked(Protocol):
    """What a store gives for a small question."""

    def asking(self) -> AbstractContextManager[Connection]: ...


def keep(
    connection: Connection,
    canary: str,
    at: float,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    why: Mapping[str, Any],
) -> None:
    """Write it in the transaction that changes the state. A run is rolled back once."""
    row = {"canary": canary, "run": after["run"], "at": at, "before": before, "after": after, "why": why}
    connection.execute(rollbacks.insert().values(**row))


def newest(store: Asked, canary: str, *, limit: int = 100, run: int | None = None) -> list[StoredRollback]:
    """A canary's rollbacks, the newest first; of one run if that is given. May raise StoreDown."""
    query = select(rollbacks).where(rollbacks.c.canary == canary)
    if run is not None:
        query = query.where(rollbacks.c.run == run)
    with store.asking() as connection:
        found = connection.execute(query.order_by(rollbacks.c.run.desc()).limit(limit)).all()
    return [
        StoredRollback(
            canary=row.canary,
            at=row.at,
            before=msgspec.convert(row.before, State),
            after=msgspec.convert(row.after, State),
            why=row.why,
        )
        for row in found
    ]
