"""Rows into PostgreSQL: many by one COPY into a staging table, and from there by one INSERT."""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, Table, literal_column, select, text
from sqlalchemy.dialects import postgresql

from records.rows import Row
from records.store.database import driver_of


class PostgresCopyWriter:
    """One table's statements; `conflicts` says what becomes of a row whose key is there.

    The staging table is of the connection, and emptied by every commit. Rows are taken in the order they were
    copied, which is their key's: the order in which their locks are taken.
    """

    def __init__(self, dialect: Dialect, table: Table, conflicts: Callable[[Any], Any]) -> None:
        quote = dialect.identifier_preparer.quote
        names = [quote(column.name) for column in table.columns]
        keys = [column.name for column in table.primary_key.columns]
        staged = f"staged_{table.name}"
        source: Any = select(*map(literal_column, names)).select_from(text(staged))
        insert = conflicts(postgresql.insert(table).from_select(list(table.columns.keys()), source))
        self._insert = str(insert.compile(dialect=dialect))
        self._returning = f"{self._insert} RETURNING {', '.join(map(quote, keys))}"
        self._key = itemgetter(*map(list(table.columns.keys()).index, keys))
        self._stage = (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged} (LIKE {table.name}) ON COMMIT DELETE ROWS"
        )
        self._copy = f"COPY {staged} ({', '.join(names)}) FROM STDIN"

    def insert(self, connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        """Store what is not there yet; the places of the rows that were."""
        if not rows:
            return []
        self._fill(connection, rows)
        with driver_of(connection).cursor() as cursor:
            new = set(cursor.execute(self._returning.encode()).fetchall())
        if len(new) == len(rows):
            return []
        return [place for place, row in enumerate(rows) if self._key(row) not in new]

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store the rows, or add them to what is there."""
        if rows:
            self._fill(connection, rows)
            with driver_of(connection).cursor() as cursor:
                cursor.execute(self._insert.encode())

    def _fill(self, connection: Connection, rows: Sequence[Row]) -> None:
        with driver_of(connection).cursor() as cursor:
            cursor.execute(self._stage.encode())
            with cursor.copy(self._copy.encode()) as copy:
                for row in rows:
                    copy.write_row(row)
