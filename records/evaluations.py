"""Finished evaluations in the store: one JSON document per key, written once and never changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from records import tables
from records.store import Audited, Store
from records.store.store import audited

CLOSING = ("decide", "end", "promote", "rollback")
"""Actions in the audit log after which a canary is evaluated."""

LATE = 100
"""How many entries to read again, since audit entries may become visible slightly out of order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvaluation:
    """One evaluation: a unique key, UTC seconds, the canary and the document made by `report`."""

    key: str
    at: float
    canary: str
    document: Mapping[str, Any]


class Evaluations:
    """The evaluations of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, evaluations: Sequence[StoredEvaluation]) -> int:
        """Add the evaluations whose keys are new, and return how many were."""
        if not evaluations:
            return 0
        table = tables.evaluations
        rows = [asdict(evaluation) for evaluation in evaluations]
        with self._store.writing() as connection:
            insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            added = insert(table).on_conflict_do_nothing().returning(table.c.key)
            return len(connection.execute(added, rows).all())

    def all(self, canary: str | None = None) -> list[dict[str, Any]]:
        """Return all documents, or those of one canary, oldest first."""
        table = tables.evaluations
        query = select(table.c.document).order_by(table.c.at, table.c.key)
        if canary is not None:
            query = query.where(table.c.canary == canary)
        with self._store.reading() as connection:
            return [dict(row.document) for row in connection.execute(query)]

    def has(self, key: str) -> bool:
        """True when an evaluation with this key is stored."""
        table = tables.evaluations
        with self._store.asking() as connection:
            return connection.execute(select(func.count()).where(table.c.key == key)).scalar_one() > 0

    def closings(self, after: int) -> Iterator[Audited]:
        """Yield audit entries with an action in CLOSING since entry `after`, oldest first.

        The last LATE entries up to `after` are yielded again.
        """
        table = tables.audit
        query = (
            select(table).where(table.c.id > after - LATE, table.c.action.in_(CLOSING)).order_by(table.c.id)
        )
        with self._store.asking() as connection:
            found = connection.execute(query).all()
        yield from map(audited, found)
