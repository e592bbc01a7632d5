"""The looks of verdicts' plans in the store: each stored once, never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from records import tables
from records.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLook:
    """One look at one metric of a run's rubric, on a day of its plan. `at` is UTC seconds."""

    metric: str
    day: int
    at: float
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookScope:
    """The looks of one run by one rubric."""

    canary: str
    run: int
    rubric_sha256: str


class Looks:
    """The looks of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, scope: LookScope) -> list[StoredLook]:
        """Return the stored looks, by metric and day."""
        table = tables.looks
        query = select(table).where(
            table.c.canary == scope.canary,
            table.c.run == scope.run,
            table.c.rubric_sha256 == scope.rubric_sha256,
        )
        with self._store.asking() as connection:
            rows = connection.execute(query.order_by(table.c.metric, table.c.day)).all()
        return [StoredLook(metric=row.metric, day=row.day, at=row.at, document=row.document) for row in rows]

    def keep(self, scope: LookScope, looks: Sequence[StoredLook]) -> None:
        """Store these looks, except those that somebody else stored first."""
        if looks:
            rows = [{**asdict(scope), **asdict(look)} for look in looks]
            with self._store.writing() as connection:
                insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
                connection.execute(insert(tables.looks).on_conflict_do_nothing(), rows)
