"""Exports as files: pages of rows as CSV or JSON, tables of outcomes as Parquet.

An export of outcomes may last longer than a transaction. One snapshot lists the segments and copies what no
segment has yet into a temporary file, compressed as it is stored. Segments, which never change, are read
afterwards. So every outcome that was stored at the start comes once, whatever is shipped and rolled
meanwhile; what retention deletes meanwhile may be missing.
"""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal, TextIO

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile, ParquetWriter
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
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

from common.clock import rfc3339
from common.text import cell
from records.errors import StoreDown
from records.facts.metric import Metric
from records.store import Store, tables
from records.store.segments.arrow import AT_ONCE, SCHEMA, TYPES, micros, moment, tables_of
from records.store.segments.columns import COLUMNS, Kind
from records.store.segments.sources import folder_of

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


What = Literal["outcomes", "sessions", "feedback", "labels", "judgements"]

PAGE = 5000
"""Rows read in one transaction and held in memory at once."""

_TABLES: Mapping[What, Table] = {
    "sessions": tables.sessions,
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
_TIMES = ("at", "asked_at", "first_at", "last_at")
_INTERNAL = ("day", "fingerprint", "id", "asked")
"""Columns that are internal to the store and not exported."""


def export_columns(what: What) -> dict[str, Kind]:
    """Return the columns in order with their kinds. A time is UTC seconds."""
    if what == "outcomes":
        return {name: column.kind for name, column in COLUMNS.items()}
    return {str(column.name): _kind(column) for column in _shown(what)}


def export_pages(
    store: Store, what: What, *, canary: str | None, since: float, until: float
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield rows of `columns` for one canary (None: all) with `since` ≤ at < `until`, up to 5,000 a page. A
    session is of the time at which it began.

    Rows come in key order, outcomes about by time. JSON is text. A record stored during the export may be
    missing, and no record appears twice. Raises StoreDown.
    """
    if what == "outcomes":
        yield from _outcomes(store, canary, since, until)
        return
    table, key, shown = _TABLES[what], list(_TABLES[what].primary_key), _shown(what)
    at = table.c.first_at if what == "sessions" else table.c.at
    wanted = (at >= since) & (at < until)
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


def with_definitions(
    columns: Mapping[str, Kind], pages: Iterable[Sequence[tuple[Any, ...]]], metrics: Mapping[str, Metric]
) -> tuple[dict[str, Kind], Iterator[list[tuple[Any, ...]]]]:
    """Feedback's columns and rows with each metric's `kind` and `per`; both are "" for an undeclared one."""
    place = list(columns).index("metric")
    known = {name: (metric.kind, metric.per) for name, metric in metrics.items()}
    rows = ([(*row, *known.get(row[place], ("", ""))) for row in page] for page in pages)
    return {**columns, "kind": "text", "per": "text"}, rows


def _outcomes(
    store: Store, canary: str | None, since: float, until: float
) -> Iterator[list[tuple[Any, ...]]]:
    for found in outcome_tables(store, canary=canary, since=since, until=until):
        table = found.set_column(1, "at", [micros(found["at"]) / 1e6])
        for start in range(0, table.num_rows, PAGE):
            part = table.slice(start, PAGE)
            yield list(zip(*(column.to_pylist() for column in part.columns), strict=True))


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


Format = Literal["csv", "parquet"]
Rows = Sequence[tuple[Any, ...]]


GROUP = 25_000
"""Rows of a row group at most, where outcomes go from segment to file as Arrow tables."""


def write_table(path: Path, form: Format, columns: Mapping[str, Kind], pages: Iterable[Rows]) -> int:
    """Write all pages and return the number of rows. `path` is replaced after the last row is written.

    Raises OSError.
    """
    with _replacing(path) as part:
        if form == "parquet":
            schema = pa.schema([(name, TYPES[kind]) for name, kind in columns.items()])
            return _write_parquet(part, schema, (_batch(schema, columns, rows) for rows in pages))
        with part.open("w", newline="", encoding="utf-8") as file:
            return write_csv(file, columns, pages)


def write_csv(file: TextIO, columns: Mapping[str, Kind], pages: Iterable[Rows]) -> int:
    """Write CSV to an open file (RFC 4180, but LF line ends): a header row, empty cells for unknowns."""
    kinds, count = list(columns.values()), 0
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for rows in pages:
        writer.writerows(
            [[_cell(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in rows]
        )
        count += len(rows)
    return count


def write_json(file: TextIO, columns: Mapping[str, Kind], pages: Iterable[Rows]) -> int:
    """Write one JSON array of objects to an open file: null for unknown values."""
    count = 0
    file.write("[")
    for row in (row for rows in pages for row in rows):
        file.write(",\n " if count else "\n ")
        cells = zip(columns.items(), row, strict=True)
        file.write(json.dumps({name: _python_value(value, kind) for (name, kind), value in cells}))
        count += 1
    file.write("\n]\n")
    return count


def _cell(value: Any, kind: Kind) -> Any:
    if value is None:
        return ""
    if kind == "time":
        return rfc3339(value, "microseconds")
    if kind == "truth":
        return "true" if value else "false"
    return cell(value) if isinstance(value, str) else value


def _python_value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "truth":
        return bool(value)
    return value if isinstance(value, str) else _cell(value, kind)


def write_arrow(path: Path, tables: Iterable[Any]) -> int:
    """Write Arrow tables of outcomes to a Parquet file and return the number of rows, as `write_table`."""
    with _replacing(path) as part:
        return _write_parquet(part, SCHEMA, _groups(tables))


def _groups(tables: Iterable[Any]) -> Iterator[Any]:
    """The tables joined to about `GROUP` rows each."""
    waiting: list[Any] = []
    for table in tables:
        waiting.append(table)
        if sum(each.num_rows for each in waiting) >= GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def _batch(schema: pa.Schema, columns: Mapping[str, Kind], rows: Rows) -> Any:
    values = [
        [_micros(value) for value in column] if kind == "time" else list(column)
        for column, kind in zip(zip(*rows, strict=True), columns.values(), strict=True)
    ]
    arrays = [pa.array(column, type=field.type) for column, field in zip(values, schema, strict=True)]
    return pa.record_batch(arrays, schema=schema)


def _write_parquet(path: Path, schema: pa.Schema, parts: Iterable[Any]) -> int:
    """Write tables or batches, and return the number of rows."""
    count = 0
    with path.open("wb") as file, ParquetWriter(file, schema, compression="zstd") as writer:
        for part in parts:
            writer.write(part)
            count += part.num_rows
    return count


def _micros(at: float | None) -> int | None:
    return None if at is None or not math.isfinite(at) else round(at * 1e6)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that replaces `path` on success and is deleted on failure."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
