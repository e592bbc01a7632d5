"""Records taken out as a table, page by page: its columns, their types, its rows. Never the text of a prompt.

How a table is written to a file, `records.export_file` knows. docs/records.md tells of the columns.
"""

from collections.abc import Iterator
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
    select,
    tuple_,
)

from records import tables
from records.store import Store

What = Literal["outcomes", "feedback", "labels"]
Kind = Literal["text", "number", "count", "truth", "time"]

PAGE = 5000
"""Rows that are held at once, and read in one transaction."""

_DAY_S = 86400
_FAR = 1e13
_TABLES: dict[What, Table] = {
    "outcomes": tables.outcomes,
    "feedback": tables.feedback,
    "labels": tables.labels,
}
_OURS = ("day", "fingerprint", "id")
"""Columns that are the store's own affair."""


def columns(what: What) -> dict[str, Kind]:
    """The columns in their order, and what each holds. A time is UTC seconds."""
    return {column.name: _kind(column) for column in _shown(what)}


def pages(
    store: Store, what: What, *, canary: str | None, since: float, until: float
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of `columns`, at most 5,000 at once: one canary's (None: everything), `since` ≤ at < `until`.

    In the order of their keys: outcomes day by day. JSON is text. Each page is read by itself: what is
    recorded meanwhile may be in one or not, nothing is in two. Raises StoreDown.
    """
    table, key, shown = _TABLES[what], _key(what), _shown(what)
    wanted = (table.c.at >= since) & (table.c.at < until)
    if canary is not None:
        wanted &= table.c.canary == canary
    if what == "outcomes":  # the days that can hold some: PostgreSQL reads no other partition
        wanted &= table.c.day.between(_day(since), _day(until))
    query = select(*key, *map(_plain, shown)).where(wanted).order_by(*key).limit(PAGE)
    after: tuple[Any, ...] = ()
    while True:
        with store.reading() as connection:
            found = connection.execute(query.where(_beyond(key, after)) if after else query).all()
        if not found:
            return
        yield [tuple(row)[len(key) :] for row in found]
        after = tuple(found[-1][: len(key)])


def _key(what: What) -> list[Column[Any]]:
    return list(_TABLES[what].primary_key.columns)


def _beyond(key: list[Column[Any]], after: tuple[Any, ...]) -> ColumnElement[bool]:
    """Behind that row; by the key's first column too, which an index and a partition are found by."""
    beyond: ColumnElement[bool] = (key[0] >= after[0]) & (tuple_(*key) > tuple_(*after))
    return beyond


def _shown(what: What) -> list[Column[Any]]:
    return [column for column in _TABLES[what].columns if column.name not in _OURS]


def _kind(column: Column[Any]) -> Kind:
    if column.name == "at":
        return "time"
    if isinstance(column.type, Boolean):
        return "truth"
    if isinstance(column.type, Integer):
        return "count"
    return "number" if isinstance(column.type, Float | Numeric) else "text"


def _day(at: float) -> int:
    return int(min(max(at, 0.0), _FAR) // _DAY_S)


def _plain(column: Column[Any]) -> ColumnElement[Any]:
    """JSON as the text it is stored as."""
    return cast(column, Text) if isinstance(column.type, JSON) else column
