"""Computes the totals of a database of version 0.1, which stored exchanges without totals. Runs once."""

from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, update

from records import tables
from records.exchange_id import day_of
from records.outcome import Outcome, Usage
from records.store.ingest import Ingest

_AT_ONCE = 5000
_SAME = tuple(
    name
    for name in Outcome.__struct_fields__
    if name in tables.outcomes.c and name not in ("attempts", "faults")
)


def add_up(connection: Connection) -> None:
    """Fill unit_days, sessions and the days of feedback from the exchanges, in the caller's transaction."""
    ingest = Ingest(connection.dialect)
    for outcomes in _stored(connection):
        ingest.add_up(connection, outcomes)
    _date_feedback(connection)


def _stored(connection: Connection) -> Iterator[list[Outcome]]:
    table, last = tables.outcomes.c, (-(2**31), "")
    while True:
        later = (table.day > last[0]) | ((table.day == last[0]) & (table.exchange_id > last[1]))
        query = select(tables.outcomes).where(later).order_by(table.day, table.exchange_id).limit(_AT_ONCE)
        rows = connection.execute(query).all()
        if not rows:
            return
        yield [_outcome(row) for row in rows]
        last = (rows[-1].day, rows[-1].exchange_id)


def _outcome(row: Row[Any]) -> Outcome:
    """Rebuild an outcome, without the fields that totals do not use."""
    given = {name: getattr(row, name) for name in _SAME}
    usage = Usage(
        input_tokens=row.input_tokens, output_tokens=row.output_tokens, estimated=row.usage_estimated
    )
    return msgspec.structs.replace(Outcome(mono=0.0, **given), usage=usage)


def _date_feedback(connection: Connection) -> None:
    table = tables.feedback
    for row in connection.execute(select(table.c.key, table.c.exchange_id)).all():
        day = day_of(row.exchange_id) if row.exchange_id else None
        if day is not None:
            connection.execute(update(table).where(table.c.key == row.key).values(day=day))
