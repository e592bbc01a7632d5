"""Rolls stored outcomes into Parquet segments, and deletes segments past their retention.

A segment's row in the store tells what becomes of its file:

    writing     the file may be there, in part or as a whole; its outcomes are still fresh
    whole       the file has its outcomes, and they are fresh no more: one transaction
    deleting    the file may still be there; nobody reads it

What a crash left as `writing` or `deleting` is deleted at the next turn. One process rolls at a time. If two
did, an outcome would still be stored once: a segment becomes whole only where it still is `writing`, and its
outcomes still are where they were.
"""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from records.errors import StoreDown
from records.store import tables
from records.store.database import Patience
from records.store.due import newest_fresh, oldest_due, oldest_until, unfinished
from records.store.segments.arrow import BuiltSegment, build, tables_of
from records.store.segments.columns import HOUR_S
from records.store.store import Store

PATIENCE = Patience(answer_s=60.0)
"""What a store has that rolls: a segment in the database has some 20 MB."""

ALONE_WITHIN_S = 60.0
"""How long a roller waits for another one to end."""

_IDS = 5000
"""Rows that one statement deletes: PostgreSQL takes 65,535 values, SQLite 32,766."""

_AT_ONCE = 10
"""Batches that are read at once."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What was rolled: outcomes, into so many segments."""

    outcomes: int = 0
    segments: int = 0

    def __add__(self, other: "Rolled") -> "Rolled":
        return Rolled(self.outcomes + other.outcomes, self.segments + other.segments)


class RolledElsewhere(StoreDown):
    """Another process has rolled the same outcomes. Nothing of this segment is stored."""


def roll(store: Store, now: float, *, all_of_it: bool = False) -> Rolled:
    """Roll what is due as of UTC second `now`, or all that is fresh when it begins.

    Raises StoreDown; what was rolled until then stays so.
    """
    with store.rolling(ALONE_WITHIN_S):
        _clean(store)
        until, rolled = newest_fresh(store) if all_of_it else None, Rolled()
        while ids := oldest_until(store, until) if until is not None else oldest_due(store, now):
            rolled += _roll(store, ids)
        return rolled


def expire(store: Store, before: float) -> int:
    """Delete the segments whose outcomes are all from before this UTC second; return how many these were.

    Raises StoreDown; the next turn deletes the files that were left.
    """
    table = tables.segments.c
    old = (table.state == "whole") & (table.last_at < before)
    with store.rolling(ALONE_WITHIN_S):
        with store.writing() as connection:
            outcomes = connection.execute(select(func.sum(table.rows)).where(old)).scalar() or 0
            connection.execute(update(tables.segments).where(old).values(state="deleting"))
        _clean(store)
    return int(outcomes)


def _clean(store: Store) -> None:
    """Delete the files of segments that are not whole, then their rows."""
    table = tables.segments.c
    with store.writing() as connection:
        connection.execute(update(tables.segments).where(table.state == "writing").values(state="deleting"))
        left = connection.execute(select(table.id, table.path).where(unfinished(store))).all()
    for row in left:
        _delete(store, row.path)
        with store.writing() as connection:
            connection.execute(delete(tables.segments).where(table.id == row.id))


def _delete(store: Store, path: str) -> None:
    if store.folder is not None:
        store.folder.delete(path)


def _roll(store: Store, ids: Sequence[int]) -> Rolled:
    fresh = tables.fresh_outcomes

    def forget(connection: Connection) -> None:
        parts = (delete(fresh).where(fresh.c.id.in_(part)) for part in _parts(ids, _IDS))
        if sum(connection.execute(part).rowcount for part in parts) != len(ids):
            raise RolledElsewhere("another process rolls the same outcomes: this one has given up")

    return write(store, build(tables_of(_packed(store, ids))), forget)


def _packed(store: Store, ids: Sequence[int]) -> Iterator[bytes]:
    table = tables.fresh_outcomes.c
    for part in _parts(ids, _AT_ONCE):
        with store.asking() as connection:
            query = select(table.outcomes).where(table.id.in_(part)).order_by(table.id)
            found = connection.execute(query).scalars().all()
        yield from found


def _parts(ids: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    return (ids[start : start + most] for start in range(0, len(ids), most))


def write(store: Store, hours: Mapping[int, BuiltSegment], forget: Callable[[Connection], None]) -> Rolled:
    """Write each hour's outcomes as a segment. All become whole in the transaction that forgets where the
    outcomes were before. After another error than RolledElsewhere, that may have happened: the files stay."""
    begun = {_path(hour): built for hour, built in hours.items()}
    for path, built in begun.items():
        _write_one(store, path, built)
    try:
        with store.writing() as connection:
            forget(connection)
            _make_whole(connection, list(begun))
    except RolledElsewhere:
        for path in begun:
            _delete(store, path)
        raise
    return Rolled(sum(built.rows for built in begun.values()), len(begun))


def _write_one(store: Store, path: str, built: BuiltSegment) -> None:
    """Write a segment that does not count yet."""
    row = {
        "path": path, "state": "writing", "first_at": built.first_at, "last_at": built.last_at,
        "ended_at": built.ended_at, "rows": built.rows, "bytes": len(built.content),
        "content": built.content if store.folder is None else None,
    }  # fmt: skip
    with store.writing() as connection:
        connection.execute(insert(tables.segments).values(**row))
    if store.folder is not None:
        store.folder.write(path, built.content)


def _make_whole(connection: Connection, paths: Sequence[str]) -> None:
    table = tables.segments.c
    begun = (table.state == "writing") & table.path.in_(paths)
    if connection.execute(update(tables.segments).where(begun).values(state="whole")).rowcount != len(paths):
        raise RolledElsewhere(
            "another process deleted these segments before they were whole: this one has given up"
        )


def _path(hour: int) -> str:
    """day=2026-11-27/hour=05/0123456789abcdef.parquet"""
    begin = datetime.fromtimestamp(hour * HOUR_S, UTC)
    return f"day={begin:%Y-%m-%d}/hour={begin:%H}/{secrets.token_hex(8)}.parquet"
