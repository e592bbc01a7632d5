"""Rolls stored outcomes into Parquet segments, and deletes segments past their retention; and what is due of
that, which is cheap to ask: Arrow is loaded by the first segment.

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
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, true, update

from records.errors import StoreDown
from records.store import tables
from records.store.database import StoreTimeouts
from records.store.segments.columns import HOUR_S
from records.store.store import Store
from records.store.tables import fresh_outcomes, segments

if TYPE_CHECKING:
    from records.store.segments.arrow import BuiltSegment

ROWS = 200_000
"""The outcomes of a segment at most, and with this many fresh ones the oldest are rolled at once."""

GRACE_S = 120.0
"""After its end, an hour may still get outcomes: those of exchanges that lasted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStanding:
    """`fresh` outcomes are in no segment yet, `segments` are whole. `is_due`: there is something to roll, to
    expire or to delete."""

    fresh: int
    segments: int
    is_due: bool


def standing(store: Store, now: float, before: float) -> SegmentStanding:
    """How far rolling is as of UTC second `now`, where outcomes from before UTC second `before` expire."""
    table, fresh = segments.c, fresh_outcomes.c
    whole = table.state == "whole"
    with store.asking() as connection:
        rows, first = connection.execute(select(func.sum(fresh.rows), func.min(fresh.last_at))).one()
        number = connection.execute(select(func.count()).where(whole)).scalar_one()
        expires = connection.execute(select(table.id).where(whole, table.last_at < before).limit(1)).first()
        left = connection.execute(select(table.id).where(_unfinished(store)).limit(1)).first()
    rolls = first is not None and (rows >= ROWS or first < _over(now))
    is_due = rolls or expires is not None or left is not None
    return SegmentStanding(fresh=int(rows or 0), segments=number, is_due=is_due)


def _unfinished(store: Store) -> ColumnElement[bool]:
    """Segments that are not whole, without those in a folder that the config names no more."""
    left = segments.c.state != "whole"
    return left if store.folder is not None else left & segments.c.content.is_not(None)


def _newest(store: Store) -> int:
    """The id of the newest fresh row; 0 without one."""
    with store.asking() as connection:
        return connection.execute(select(func.max(fresh_outcomes.c.id))).scalar() or 0


def _oldest(store: Store, now: float, until: int | None) -> list[int]:
    """The oldest fresh rows, as many as a segment takes and one at least: up to the id `until`, or without
    one if they are due as of `now`."""
    table, ids, outcomes = fresh_outcomes.c, list[int](), 0
    with store.asking() as connection:
        if until is not None:
            wanted: ColumnElement[bool] = table.id <= until
        else:
            many = (connection.execute(select(func.sum(table.rows))).scalar() or 0) >= ROWS
            wanted = true() if many else table.last_at < _over(now)
        query = select(table.id, table.rows).where(wanted).order_by(table.last_at, table.id).limit(ROWS)
        for row in connection.execute(query):
            if ids and outcomes + row.rows > ROWS:
                break
            ids.append(row.id)
            outcomes += row.rows
    return ids


def _over(now: float) -> float:
    """The end of the last hour that is over."""
    return (now - GRACE_S) // HOUR_S * HOUR_S


class SegmentTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn: the store's URL, relative to the folder `data`; its `outcomes`, as in the config; and the UTC
    second `before` which they expire."""

    url: str
    data: str
    outcomes: str
    before: float

    def __repr__(self) -> str:
        return f"RollingTurn(data={self.data!r}, outcomes={self.outcomes!r})"  # the URL may have a password


class SegmentTurnResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many outcomes went into how many segments, and how many expired. `problem`: why not all of it ("":
    nothing is left)."""

    rolled: int = 0
    segments: int = 0
    expired: int = 0
    problem: str = ""


TIMEOUTS = StoreTimeouts(answer_s=60.0)
"""What a store has that rolls: a segment in the database has some 20 MB."""

ALONE_WITHIN_S = 60.0
"""How long a roller waits for another one to end."""

_IDS = 5000
"""Rows that one statement deletes: PostgreSQL takes 65,535 values, SQLite 32,766."""

_AT_ONCE = 10
"""Batches that are read at once."""


@dataclass(frozen=True, slots=True)
class SegmentsWritten:
    """What was rolled: outcomes, into so many segments."""

    outcomes: int = 0
    segments: int = 0

    def __add__(self, other: "SegmentsWritten") -> "SegmentsWritten":
        return SegmentsWritten(self.outcomes + other.outcomes, self.segments + other.segments)


class RolledElsewhere(StoreDown):
    """Another process has rolled the same outcomes. Nothing of this segment is stored."""


def roll(store: Store, now: float, *, all_of_it: bool = False) -> SegmentsWritten:
    """Roll what is due as of UTC second `now`, or all that is fresh when it begins.

    Raises StoreDown; what was rolled until then stays so.
    """
    with store.rolling(ALONE_WITHIN_S):
        _clean(store)
        until, rolled = _newest(store) if all_of_it else None, SegmentsWritten()
        while ids := _oldest(store, now, until):
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
        left = connection.execute(select(table.id, table.path).where(_unfinished(store))).all()
    for row in left:
        _delete(store, row.path)
        with store.writing() as connection:
            connection.execute(delete(tables.segments).where(table.id == row.id))


def _delete(store: Store, path: str) -> None:
    if store.folder is not None:
        store.folder.delete(path)


def _roll(store: Store, ids: Sequence[int]) -> SegmentsWritten:
    from records.store.segments.arrow import build, tables_of

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


def write(
    store: Store, hours: "Mapping[int, BuiltSegment]", forget: Callable[[Connection], None]
) -> SegmentsWritten:
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
    return SegmentsWritten(sum(built.rows for built in begun.values()), len(begun))


def _write_one(store: Store, path: str, built: "BuiltSegment") -> None:
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
