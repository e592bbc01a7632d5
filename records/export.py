"""Exports records as a table, page by page: columns, types, rows. Prompts, answers and a judge's reasons are
never exported.

`records.export_file` writes the table to a file. docs/records.md describes the columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Integer,
    Numeric,
    Table,
    Text,
    cast,
    func,
    select,
    tuple_,
)

from records import tables
from records.segments.columns import COLUMNS, Kind
from records.store import Store

What = Literal["outcomes", "feedback", "labels", "judgements"]

PAGE = 5000
"""Rows read in one transaction and held in memory at once."""

_TABLES: Mapping[What, Table] = {
    "feedback": tables.feedback,
    "labels": tables.labels,
    "judgements": tables.judgements,
}
_CALLS = tables.judge_calls.c
_COST = (
    select(func.sum(func.coalesce(_CALLS.cost_usd, _CALLS.reserved_usd)))
    .where(_CALLS.exchange_id == tables.judgements.c.exchange_id)
    .scalar_subquery()
)
_ADDED: Mapping[What, Sequence[ColumnElement[Any]]] = {"judgements": (_COST.label("cost_usd"),)}
"""Columns from other tables."""
_TIMES = ("at", "asked_at")
_INTERNAL = ("day", "fingerprint", "id")
"""Columns that are internal to the store and not exported."""


def columns(what: What) -> dict[str, Kind]:
    """Return the columns in order with their kinds. A time is UTC seconds."""
    if what == "outcomes":
        return {name: column.kind for name, column in COLUMNS.items()}
    return {str(column.name): _kind(column) for column in _shown(what)}


def pages(
    store: Store, what: What, *, canary: str | None, since: float, until: float
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield rows of `columns` for one canary (None: all) with `since` ≤ at < `until`, up to 5,000 a page.

    Rows come in key order, outcomes about by time. JSON is text. A record stored during the export may be
    missing, and no record appears twice. Raises StoreDown.
    """
    if what == "outcomes":
        yield from _outcomes(store, canary, since, until)
        return
    table, key, shown = _TABLES[what], _key(what), _shown(what)
    wanted = (table.c.at >= since) & (table.c.at < until)
    if canary is not None:
        wanted &= table.c.canary == canary
    query = select(*key, *map(_plain, shown)).where(wanted).order_by(*key).limit(PAGE)
    after: tuple[Any, ...] = ()
    while True:
        with store.reading() as connection:
            rows = connection.execute(query.where(_beyond(key, after)) if after else query).all()
        if not rows:
            return
        yield [tuple(row)[len(key) :] for row in rows]
        after = tuple(rows[-1][: len(key)])


def _outcomes(
    store: Store, canary: str | None, since: float, until: float
) -> Iterator[list[tuple[Any, ...]]]:
    from records.outcome_export import outcome_tables
    from records.segments.arrow import micros

    for found in outcome_tables(store, canary=canary, since=since, until=until):
        table = found.set_column(1, "at", [micros(found["at"]) / 1e6])
        for start in range(0, table.num_rows, PAGE):
            part = table.slice(start, PAGE)
            yield list(zip(*(column.to_pylist() for column in part.columns), strict=True))


def _key(what: What) -> list[Column[Any]]:
    return list(_TABLES[what].primary_key.columns)


def _beyond(key: list[Column[Any]], after: tuple[Any, ...]) -> ColumnElement[bool]:
    """Match rows after key `after`. The first column is compared alone too, for index and partition use."""
    beyond: ColumnElement[bool] = (key[0] >= after[0]) & (tuple_(*key) > tuple_(*after))
    return beyond


def _shown(what: What) -> list[ColumnElement[Any]]:
    own = [column for column in _TABLES[what].columns if column.name not in _INTERNAL]
    return [*own, *_ADDED.get(what, ())]


def _kind(column: ColumnElement[Any]) -> Kind:
    if column.name in _TIMES:
        return "time"
    if isinstance(column.type, Boolean):
        return "truth"
    if isinstance(column.type, Integer):
        return "count"
    return "number" if isinstance(column.type, Float | Numeric) else "text"


def _plain(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Select JSON as its stored text."""
    return cast(column, Text) if isinstance(column.type, JSON) else column
