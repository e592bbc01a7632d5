"""Deletes expired rows in slices, one transaction each, so that writers can run in between."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, literal_column, select

from records import tables
from records.store.prior import MOST_ROWS

SLICE = 2000


def expire(
    begin: Callable[[], AbstractContextManager[Connection]],
    before: float,
    breathe: Callable[[], object],
    *,
    partitioned: bool,
) -> int:
    """Delete rows before this UTC second; return the number of feedback values deleted.

    `breathe` is called between slices. Unit totals are left where they are `partitioned` by day. A judgement
    stays as long as the text that it is about, or that would be judged again.
    """
    day = int(before // 86400)
    feedback, sessions, cursors = tables.feedback.c, tables.sessions.c, tables.cursors.c

    def sweep(table: Table, old: ColumnElement[bool]) -> int:
        return _sweep(begin, table, old, breathe)

    deleted = sweep(tables.feedback, feedback.at < before)
    sweep(tables.sessions, (sessions.first_at < before) & (sessions.last_at < before))
    sweep(tables.cursors, cursors.moved_at < before)  # of deleted spools
    sweep(tables.prior_weeks, tables.prior_weeks.c.week < max(day // 7, _first_week(begin, MOST_ROWS)))
    judged, calls = tables.judgements.c, tables.judge_calls.c
    captured = exists().where(tables.captures.c.exchange_id == judged.exchange_id)
    sweep(tables.judgements, (judged.at < before) & ~captured)
    sweep(tables.judge_calls, (calls.day < day) & ~exists().where(judged.exchange_id == calls.exchange_id))
    sweep(tables.failure_days, tables.failure_days.c.day < day)
    sweep(tables.model_days, tables.model_days.c.day < day)
    if not partitioned:
        sweep(tables.unit_days, tables.unit_days.c.day < day)
    return deleted


def _first_week(begin: Callable[[], AbstractContextManager[Connection]], most: int) -> int:
    """The first of the newest weeks of `prior_weeks` that have at most this many rows; always the newest."""
    week, rows = tables.prior_weeks.c.week, 0
    with begin() as connection:
        weeks = connection.execute(select(week, func.count()).group_by(week).order_by(week.desc())).all()
    kept = 0
    for number, count in weeks:
        rows += count
        if rows > most and kept:
            break
        kept = number
    return kept


def _sweep(
    begin: Callable[[], AbstractContextManager[Connection]],
    table: Table,
    old: ColumnElement[bool],
    breathe: Callable[[], object],
) -> int:
    total = 0
    while True:
        with begin() as connection:
            row: ColumnElement[int] = literal_column("ctid" if _is_postgresql(connection) else "rowid")
            slice_ = select(row).select_from(table).where(old).limit(SLICE)
            deleted = connection.execute(delete(table).where(row.in_(slice_))).rowcount
        total += deleted
        if deleted < SLICE:
            return total
        breathe()


def _is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
