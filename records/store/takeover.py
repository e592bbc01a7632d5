"""Computes the totals of a database of version 0.1, which stored exchanges without totals. Runs once."""

from sqlalchemy import Connection, select, update

from records import tables
from records.exchange_id import day_of
from records.segments.old_rows import days, of_day, old_table
from records.store.ingest import Ingest


def add_up(connection: Connection) -> None:
    """Fill unit_days, sessions and the days of feedback from the exchanges, in the caller's transaction."""
    ingest, table = Ingest(connection.dialect), old_table(connection)
    if table is None:
        return
    for day in days(connection, table):
        for outcomes in of_day(connection, table, day):
            ingest.add_up(connection, outcomes)
    _date_feedback(connection)


def _date_feedback(connection: Connection) -> None:
    table = tables.feedback
    for row in connection.execute(select(table.c.key, table.c.exchange_id)).all():
        day = day_of(row.exchange_id) if row.exchange_id else None
        if day is not None:
            connection.execute(update(table).where(table.c.key == row.key).values(day=day))
