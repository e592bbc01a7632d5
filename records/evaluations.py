"""Finished evaluations in the store: one JSON document each, under a key, written once and never changed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite

from records import tables
from records.store import Audited, Store
from records.store.store import audited

CLOSING = ("decide", "end", "promote", "rollback")
"""What somebody may do to a canary, in the audit log's words, that is worth an evaluation."""

LATE = 100
"""Entries of the audit log may become visible a little out of their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvaluation:
    """One evaluation: a key that no other has, UTC seconds, and the report room's document."""

    key: str
    at: float
    canary: str
    document: Mapping[str, Any]


class Evaluations:
    """The evaluations of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, evaluations: Sequence[StoredEvaluation]) -> int:
        """Add those whose key is not there yet; how many were."""
        if not evaluations:
            return 0
        table = tables.evaluations
        rows = [asdict(each) for each in evaluations]
        with self._store.writing() as connection:
            insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            added = insert(table).on_conflict_do_nothing().returning(table.c.key)
            return len(connection.execute(added, rows).all())

    def all(self, canary: str | None = None) -> list[dict[str, Any]]:
        """Every document, oldest first, or only one canary's."""
        table = tables.evaluations
        query = select(table.c.document).order_by(table.c.at, table.c.key)
        if canary is not None:
            query = query.where(table.c.canary == canary)
        with self._store.reading() as connection:
            return [dict(row.document) for row in connection.execute(query)]

    def has(self, key: str) -> bool:
        """True when this evaluation is kept."""
        table = tables.evaluations
        with self._store.asking() as connection:
            return connection.execute(select(func.count()).where(table.c.key == key)).scalar_one() > 0

    def closings(self, after: int) -> Iterator[Audited]:
        """What closed, or decided of, canaries since the audit entry `after`, oldest first; some again."""
        table = tables.audit
        query = (
            select(table).where(table.c.id > after - LATE, table.c.action.in_(CLOSING)).order_by(table.c.id)
        )
        with self._store.asking() as connection:
            found = connection.execute(query).all()
        yield from map(audited, found)
