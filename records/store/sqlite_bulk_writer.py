"""Rows into SQLite: line by line, by one prepared statement."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import sqlite

from records.rows import Row


class SqliteBulkWriter:
    """One table's statement; `conflicts` says what becomes of a row whose key is there."""

    def __init__(self, dialect: Dialect, table: Table, conflicts: Callable[[Any], Any]) -> None:
        self._sql = str(conflicts(sqlite.insert(table)).compile(dialect=dialect))

    def insert(self, connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        """Store what is not there yet; the places of the rows that were."""
        if not rows:
            return []
        savepoint = connection.begin_nested()
        if connection.exec_driver_sql(self._sql, list(rows)).rowcount == len(rows):
            savepoint.commit()
            return []
        # A replay, which is rare: only one by one the driver tells which of them changed nothing.
        savepoint.rollback()
        execute = connection.exec_driver_sql
        return [place for place, row in enumerate(rows) if execute(self._sql, row).rowcount == 0]

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store the rows, or add them to what is there."""
        if rows:
            connection.exec_driver_sql(self._sql, list(rows))
