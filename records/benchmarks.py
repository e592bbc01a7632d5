"""Finished benchmarks in the store: one JSON document per benchmark, written once and never changed."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, insert, select

from records import tables
from records.releases import entered, is_variant
from records.store import Store


class Benchmarks:
    """The benchmarks of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, document: Mapping[str, Any], *, baseline: str, candidate: str | None, at: float) -> int:
        """Add a benchmark of models named `provider/model`, and their release, and return its id; `at` is UTC
        seconds.

        `candidate` is None when only the current model was measured.
        """
        row = {"at": at, "baseline": baseline, "candidate": candidate or "", "document": dict(document)}
        with self._store.writing() as connection:
            added = insert(tables.benchmarks).values(row).returning(tables.benchmarks.c.id)
            benchmark = int(connection.execute(added).scalar_one())
            if candidate is not None:
                entered(connection, candidate, baseline, at=at)
            return benchmark

    def first_at(self, candidate: str, baseline: str) -> float | None:
        """When the candidate was first measured against this baseline, UTC seconds; None if it was not."""
        table = tables.benchmarks
        query = select(func.min(table.c.at)).where(
            table.c.candidate == candidate, table.c.baseline == baseline
        )
        with self._store.asking() as connection:
            found: float | None = connection.execute(query).scalar()
        return found

    def refused(self) -> dict[str, float]:
        """The candidates that their newest benchmark refused and no user tried, with its UTC second."""
        table, tried = tables.benchmarks, set()
        verdict = table.c.document["verdict"].as_string().label("verdict")
        query = select(table.c.candidate, table.c.baseline, table.c.at, verdict).order_by(
            table.c.at, table.c.id
        )
        with self._store.asking() as connection:
            newest = {row.candidate: row for row in connection.execute(query)}
            of_runs = select(tables.releases.c.candidate).join(
                tables.runs, tables.runs.c.release == tables.releases.c.id
            )
            tried = {str(row.candidate) for row in connection.execute(of_runs)}
        return {
            name: row.at
            for name, row in newest.items()
            if row.verdict == "dont_ship" and name not in tried and not is_variant(name, row.baseline)
        }

    def latest(self, candidate: str, baseline: str) -> dict[str, Any] | None:
        """Return the newest document of a candidate against this baseline, or None without one."""
        table = tables.benchmarks
        query = (
            select(table.c.document)
            .where(table.c.candidate == candidate, table.c.baseline == baseline)
            .order_by(table.c.at.desc(), table.c.id.desc())
            .limit(1)
        )
        with self._store.asking() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else dict(found)
