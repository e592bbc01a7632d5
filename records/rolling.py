"""Rolls stored outcomes into Parquet segments, and deletes segments past their retention.

A segment's row in the store tells what becomes of its file:

    writing     the file may be there, in part or as a whole; its outcomes are still fresh
    whole       the file has its outcomes, and they are fresh no more: one transaction
    deleting    the file may still be there; nobody reads it

What a crash left as `writing` or `deleting` is deleted at the next turn. Two processes that roll at once do
no harm: a segment becomes whole only where it still is `writing`, and its outcomes still are where they were.
"""

import io
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, delete, func, insert, select, update

from records import tables
from records.errors import StoreDown
from records.outcome import Outcome
from records.segments import old_rows
from records.segments.arrow import micros, table_of
from records.segments.fresh import unpack
from records.store.store import Store

ROWS = 200_000
"""The outcomes of a segment at most, and with this many fresh ones the oldest are rolled at once."""

OLD_ROWS = 50_000
"""Rows of an older version that are rolled at once."""

HOUR_S = 3600.0
GRACE_S = 120.0
"""After its end, an hour may still get outcomes: those of exchanges that lasted."""

_GROUP = 50_000
_LEVEL = 3
"""Of zstd: a higher one takes three times as long for a twentieth of the size."""


def roll(store: Store, now: float, *, all_of_it: bool = False) -> int:
    """Roll what is due as of UTC second `now`, or all that is fresh, and what version 0.2 stored; return the
    number of outcomes.

    Raises StoreDown; what was rolled until then stays so.
    """
    clean(store)
    rolled = 0
    while ids := _due(store, now, all_of_it=all_of_it):
        rolled += _roll(store, ids)
    return rolled + roll_old(store)


def expire(store: Store, before: float) -> int:
    """Delete the segments whose outcomes are all from before this UTC second; return how many these were."""
    table = tables.segments.c
    old = (table.state == "whole") & (table.last_at < before)
    with store.writing() as connection:
        outcomes = connection.execute(select(func.sum(table.rows)).where(old)).scalar() or 0
        connection.execute(update(tables.segments).where(old).values(state="deleting"))
    clean(store)
    return int(outcomes)


def clean(store: Store) -> None:
    """Delete the files of segments that are not whole, then their rows."""
    table = tables.segments.c
    with store.writing() as connection:
        connection.execute(update(tables.segments).where(table.state == "writing").values(state="deleting"))
        left = connection.execute(select(table.id, table.path).where(table.state == "deleting")).all()
    for row in left:
        if store.folder is not None:
            store.folder.delete(row.path)
        with store.writing() as connection:
            connection.execute(delete(tables.segments).where(table.id == row.id))


def is_due(store: Store, now: float, before: float) -> bool:
    """True if there is something to roll, or a segment to expire."""
    table = tables.segments.c
    with store.asking() as connection:
        left = connection.execute(
            select(table.id).where((table.state != "whole") | (table.last_at < before)).limit(1)
        ).first()
        has_old = old_rows.old_table(connection) is not None
    return has_old or left is not None or bool(_due(store, now, all_of_it=False))


def _due(store: Store, now: float, *, all_of_it: bool) -> list[int]:
    """The oldest fresh rows, as many as become segments together."""
    table = tables.fresh_outcomes.c
    with store.asking() as connection:
        total = connection.execute(select(func.sum(table.rows))).scalar() or 0
        query = select(table.id, table.rows).order_by(table.last_at, table.id)
        if total < ROWS and not all_of_it:
            query = query.where(table.last_at < (now - GRACE_S) // HOUR_S * HOUR_S)
        return _first(connection.execute(query.limit(ROWS)))


def _first(rows: Iterable[Any]) -> list[int]:
    """The ids of as many rows as a segment takes; of one at least."""
    ids, outcomes = list[int](), 0
    for row in rows:
        if ids and outcomes + row.rows > ROWS:
            break
        ids.append(row.id)
        outcomes += row.rows
    return ids


def _roll(store: Store, ids: Sequence[int]) -> int:
    fresh = tables.fresh_outcomes

    def forget(connection: Connection) -> None:
        if connection.execute(delete(fresh).where(fresh.c.id.in_(ids))).rowcount != len(ids):
            raise StoreDown("another process rolls the same outcomes: this one has given up")

    return write(store, _by_hour(_unpacked(store, ids)), forget)


def roll_old(store: Store) -> int:
    """Roll the outcomes that version 0.2 stored, and drop their table; return their number."""
    rolled = 0
    while (part := _oldest(store)) is not None:
        day, pages = part
        if pages:
            rolled += write(store, _by_hour(map(table_of, pages)), partial(_forget_old, store, day, pages))
    return rolled


def _oldest(store: Store) -> tuple[int, list[list[Outcome]]] | None:
    """The first outcomes of the oldest day; None when there is no table any more."""
    with store.writing() as connection:
        table = old_rows.old_table(connection)
        if table is None:
            return None
        days = old_rows.days(connection, table)
        if not days:
            table.drop(connection)
            return None
        return days[0], list(old_rows.of_day(connection, table, days[0], most=OLD_ROWS))


def _forget_old(store: Store, day: int, pages: Sequence[Sequence[Outcome]], connection: Connection) -> None:
    """Delete the rows, whose totals by day are not counted yet."""
    table = old_rows.old_table(connection)
    if table is None:
        raise StoreDown("another process rolls the same outcomes: this one has given up")
    part = (table.c.day == day) & (table.c.exchange_id <= pages[-1][-1].exchange_id)
    if connection.execute(delete(table).where(part)).rowcount != sum(map(len, pages)):
        raise StoreDown("another process rolls the same outcomes: this one has given up")
    for page in pages:
        store.ingest.add_up_days(connection, page)


def _unpacked(store: Store, ids: Sequence[int]) -> Iterator[Any]:
    table = tables.fresh_outcomes.c
    for id_ in ids:
        with store.asking() as connection:
            packed = connection.execute(select(table.outcomes).where(table.id == id_)).scalar()
        if packed is not None:
            yield table_of(unpack(packed))


def _by_hour(batches: Iterable[Any]) -> Mapping[int, Any]:
    """The outcomes of each hour, by time."""
    hours: dict[int, list[Any]] = defaultdict(list)
    for batch in batches:
        hour_of = micros(batch["at"]) // int(HOUR_S * 1e6)
        for hour in sorted(set(hour_of.tolist())):
            hours[hour].append(batch.filter(pa.array(hour_of == hour)))
    return {hour: pa.concat_tables(parts).sort_by("at") for hour, parts in sorted(hours.items())}


def write(store: Store, hours: Mapping[int, Any], forget: Callable[[Connection], None]) -> int:
    """Write each hour's outcomes as a segment. All become whole in the transaction that forgets where the
    outcomes were before; else their files are deleted."""
    begun = {_path(hour): table for hour, table in hours.items()}
    try:
        for path, table in begun.items():
            _write_one(store, path, table)
        with store.writing() as connection:
            forget(connection)
            _make_whole(connection, list(begun))
    except BaseException:
        if store.folder is not None:
            for path in begun:
                store.folder.delete(path)
        raise
    return sum(table.num_rows for table in begun.values())


def _write_one(store: Store, path: str, table: Any) -> None:
    """Write a segment that does not count yet."""
    content, at = _parquet(table), micros(table["at"]) / 1e6
    row = {
        "path": path, "state": "writing", "first_at": float(at[0]), "last_at": float(at[-1]),
        "rows": table.num_rows, "bytes": len(content), "content": content if store.folder is None else None,
    }  # fmt: skip
    with store.writing() as connection:
        connection.execute(insert(tables.segments).values(**row))
    if store.folder is not None:
        store.folder.write(path, content)


def _make_whole(connection: Connection, paths: Sequence[str]) -> None:
    table = tables.segments.c
    begun = (table.state == "writing") & table.path.in_(paths)
    if connection.execute(update(tables.segments).where(begun).values(state="whole")).rowcount != len(paths):
        raise StoreDown(
            "another process deleted these segments before they were whole: this one has given up"
        )


def _path(hour: int) -> str:
    """day=2026-11-27/hour=05/0123456789abcdef.parquet"""
    begin = datetime.fromtimestamp(hour * HOUR_S, UTC)
    return f"day={begin:%Y-%m-%d}/hour={begin:%H}/{secrets.token_hex(8)}.parquet"


def _parquet(table: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd", compression_level=_LEVEL, row_group_size=_GROUP)
    return file.getvalue()
