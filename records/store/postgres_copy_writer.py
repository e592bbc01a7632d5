"""Bulk writes to PostgreSQL: one COPY into a staging table, then one INSERT from there."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table, literal_column, select, text
from sqlalchemy.dialects import postgresql

from records.rows import Row
from records.store.database import driver_of


class PostgresCopyWriter:
    """The statements of one table; `conflicts` adds the ON CONFLICT clause to an INSERT.

    The staging table is temporary and emptied by every commit. Callers sort rows by key, so that all writers
    take row locks in one order.
    """

    def __init__(self, dialect: Dialect, table: Table, conflicts: Callable[[Any], Any]) -> None:
        quote = dialect.identifier_preparer.quote
        names = [quote(column.name) for column in table.columns]
        staged = f"staged_{table.name}"
        source: Any = select(*map(literal_column, names)).select_from(text(staged))
        insert = conflicts(postgresql.insert(table).from_select(list(table.columns.keys()), source))
        self._insert = str(insert.compile(dialect=dialect))
        self._stage = (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged} (LIKE {table.name}) ON COMMIT DELETE ROWS"
        )
        self._copy = f"COPY {staged} ({', '.join(names)}) FROM STDIN"

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert the rows, or merge them into existing rows."""
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
