"""Outcomes that earlier versions stored, a row each, in the table that is `old_outcomes` now."""

from collections.abc import Iterator

from sqlalchemy import Connection, MetaData, Table, func, inspect, select

from records.outcome import Outcome
from records.segments.columns import outcome_of

NAME = "old_outcomes"
AT_ONCE = 5000


def old_table(connection: Connection) -> Table | None:
    """The table; None in a database without it."""
    if not inspect(connection).has_table(NAME):
        return None
    return Table(NAME, MetaData(), autoload_with=connection)


def days(connection: Connection, table: Table) -> list[int]:
    """The UTC day numbers with rows, found one after the other by the key, oldest first."""
    found: list[int] = []
    day = connection.execute(select(func.min(table.c.day))).scalar()
    while day is not None:
        found.append(day)
        day = connection.execute(select(func.min(table.c.day)).where(table.c.day > day)).scalar()
    return found


def of_day(
    connection: Connection, table: Table, day: int, most: int | None = None
) -> Iterator[list[Outcome]]:
    """The day's outcomes by id, 5,000 at once, `most` in all."""
    last, left = "", most
    while left is None or left > 0:
        size = AT_ONCE if left is None else min(left, AT_ONCE)
        query = select(table).where(table.c.day == day, table.c.exchange_id > last)
        rows = connection.execute(query.order_by(table.c.exchange_id).limit(size)).all()
        if not rows:
            return
        yield [outcome_of(row._asdict()) for row in rows]
        last, left = rows[-1].exchange_id, None if left is None else left - len(rows)
