"""Bulk writes to SQLite: row by row with one prepared statement."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import sqlite

from records.rows import Row


class SqliteBulkWriter:
    """The statement of one table; `conflicts` adds the ON CONFLICT clause to an INSERT."""

    def __init__(self, dialect: Dialect, table: Table, conflicts: Callable[[Any], Any]) -> None:
        self._sql = str(conflicts(sqlite.insert(table)).compile(dialect=dialect))

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert the rows, or merge them into existing rows."""
        if rows:
            connection.exec_driver_sql(self._sql, list(rows))
