"""Streams the stored outcomes as Arrow tables, for exports that may last longer than a transaction.

One snapshot lists the segments and copies what no segment has yet into a temporary file, compressed as it is
stored. Segments, which never change, are read afterwards. So every outcome that was stored at the start comes
once, whatever is shipped and rolled meanwhile; what retention deletes meanwhile may be missing.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from tempfile import TemporaryFile
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile
from sqlalchemy import Connection, select

from records import tables
from records.errors import StoreDown
from records.segments.arrow import AT_ONCE, moment, tables_of
from records.segments.reading import folder_of
from records.store import Store

_SEGMENTS, _FRESH = tables.segments.c, tables.fresh_outcomes.c


def outcome_tables(store: Store, *, canary: str | None, since: float, until: float) -> Iterator[Any]:
    """Yield tables of all columns, for one canary (None: all) with `since` ≤ at < `until`, about by time.

    Raises StoreDown.
    """
    at = pc.field("at")
    wanted = (at >= moment(since)) & (at < moment(until))
    if canary is not None:
        wanted &= pc.field("canary") == canary
    for table in _all(store, since, until):
        if (found := table.filter(wanted)).num_rows:
            yield found


def _all(store: Store, since: float, until: float) -> Iterator[Any]:
    with TemporaryFile() as copies:
        with store.reading() as connection:
            found = _segments(connection, since, until)
            sizes = [copies.write(packed) for packed in _loose(connection, since, until)]
        for segment in found:
            yield from _of_segment(store, segment)
        copies.seek(0)
        yield from tables_of(map(copies.read, sizes))


def _segments(connection: Connection, since: float, until: float) -> Sequence[Any]:
    within = (_SEGMENTS.last_at >= since) & (_SEGMENTS.first_at <= until)
    query = select(_SEGMENTS.id, _SEGMENTS.path).where(_SEGMENTS.state == "whole", within)
    return connection.execute(query.order_by(_SEGMENTS.first_at, _SEGMENTS.id)).all()


def _loose(connection: Connection, since: float, until: float) -> Iterator[bytes]:
    """What no segment has: the shipped batches, packed."""
    within = (_FRESH.last_at >= since) & (_FRESH.first_at <= until)
    query = select(_FRESH.outcomes).where(within).order_by(_FRESH.first_at, _FRESH.id)
    yield from connection.execution_options(yield_per=16).execute(query).scalars()


def _of_segment(store: Store, segment: Any) -> Iterator[Any]:
    try:
        with _opened(store, segment) as file:
            for batch in ParquetFile(file).iter_batches(AT_ONCE, use_threads=False):
                yield pa.Table.from_batches([batch])
    except StoreDown:
        if _is_stored(store, segment):
            raise


def _opened(store: Store, segment: Any) -> AbstractContextManager[Any]:
    with store.reading() as connection:
        content = connection.execute(select(_SEGMENTS.content).where(_SEGMENTS.id == segment.id)).scalar()
        if content is None:
            return folder_of(connection, segment.path).open(segment.path)
    reader: AbstractContextManager[Any] = pa.BufferReader(content)
    return reader


def _is_stored(store: Store, segment: Any) -> bool:
    """False when retention has deleted the segment."""
    query = select(_SEGMENTS.id).where(_SEGMENTS.id == segment.id, _SEGMENTS.state == "whole")
    with store.asking() as connection:
        return connection.execute(query).first() is not None
