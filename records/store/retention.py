"""Deleting what is older than it is kept, in slices: each a transaction, so that writers get in."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Connection, Table, delete, literal_column, select

from records import tables

SLICE = 2000


def expire(
    begin: Callable[[], AbstractContextManager[Connection]],
    before: float,
    breathe: Callable[[], object],
    *,
    outcomes: bool,
) -> int:
    """Delete rows from before this UTC second; how many outcomes (if asked for) and feedback values."""
    day = int(before // 86400)
    feedback, sessions, cursors = tables.feedback.c, tables.sessions.c, tables.cursors.c

    def sweep(table: Table, old: ColumnElement[bool]) -> int:
        return _sweep(begin, table, old, breathe)

    gone = sweep(tables.feedback, feedback.at < before)
    sweep(tables.sessions, (sessions.first_at < before) & (sessions.last_at < before))
    sweep(tables.cursors, cursors.moved_at < before)  # of spools that are no more
    if outcomes:
        gone += sweep(tables.outcomes, tables.outcomes.c.at < before)
        sweep(tables.unit_days, tables.unit_days.c.day < day)
    return gone


def _sweep(
    begin: Callable[[], AbstractContextManager[Connection]],
    table: Table,
    old: ColumnElement[bool],
    breathe: Callable[[], object],
) -> int:
    gone = 0
    while True:
        with begin() as connection:
            row: ColumnElement[int] = literal_column("ctid" if _is_postgresql(connection) else "rowid")
            slice_ = select(row).select_from(table).where(old).limit(SLICE)
            deleted = connection.execute(delete(table).where(row.in_(slice_))).rowcount
        gone += deleted
        if deleted < SLICE:
            return gone
        breathe()


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
