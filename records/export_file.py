"""Writes a table to a CSV, JSON or Parquet file, page by page. Files are replaced atomically."""

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from records.foreign_text import cell
from records.segments.columns import Kind

Format = Literal["csv", "parquet"]
Rows = Sequence[tuple[Any, ...]]


GROUP = 25_000
"""Rows of a row group at most, where outcomes go from segment to file as Arrow tables."""


def write_table(path: Path, form: Format, columns: Mapping[str, Kind], pages: Iterable[Rows]) -> int:
    """Write all pages and return the number of rows. `path` is replaced after the last row is written.

    Raises OSError.
    """
    with _replacing(path) as part:
        return _write_csv(part, columns, pages) if form == "csv" else _write_parquet(part, columns, pages)


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
        file.write(json.dumps({name: _plain(value, kind) for (name, kind), value in cells}))
        count += 1
    file.write("\n]\n")
    return count


def _write_csv(path: Path, columns: Mapping[str, Kind], pages: Iterable[Rows]) -> int:
    with path.open("w", newline="", encoding="utf-8") as file:
        return write_csv(file, columns, pages)


def _cell(value: Any, kind: Kind) -> Any:
    if value is None:
        return ""
    if kind == "time":
        return datetime.fromtimestamp(value, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if kind == "truth":
        return "true" if value else "false"
    return cell(value) if isinstance(value, str) else value


def _plain(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "truth":
        return bool(value)
    return value if isinstance(value, str) else _cell(value, kind)


def write_arrow(path: Path, tables: Iterable[Any]) -> int:
    """Write Arrow tables of outcomes to a Parquet file and return the number of rows, as `write_table`."""
    from pyarrow.parquet import ParquetWriter

    from records.segments.arrow import SCHEMA

    count = 0
    with (
        _replacing(path) as part,
        part.open("wb") as file,
        ParquetWriter(file, SCHEMA, compression="zstd") as writer,
    ):
        for group in _groups(tables):
            writer.write_table(group)
            count += group.num_rows
    return count


def _groups(tables: Iterable[Any]) -> Iterator[Any]:
    """The tables joined to about `GROUP` rows each."""
    from pyarrow import concat_tables

    waiting: list[Any] = []
    for table in tables:
        waiting.append(table)
        if sum(each.num_rows for each in waiting) >= GROUP:
            yield concat_tables(waiting)
            waiting = []
    if waiting:
        yield concat_tables(waiting)


def _write_parquet(path: Path, columns: Mapping[str, Kind], pages: Iterable[Rows]) -> int:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    from records.segments.arrow import TYPES

    schema = pa.schema([(name, TYPES[kind]) for name, kind in columns.items()])
    times = [kind == "time" for kind in columns.values()]
    count = 0
    with path.open("wb") as file, ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in pages:
            values = [
                [_micros(value) for value in column] if is_time else list(column)
                for column, is_time in zip(zip(*rows, strict=True), times, strict=True)
            ]
            arrays = [pa.array(column, type=field.type) for column, field in zip(values, schema, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))
            count += len(rows)
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
