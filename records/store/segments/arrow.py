"""Outcomes as Arrow tables, and segments that are built of them: one Parquet file an hour, a row group at a
time. Arrow takes 80 MiB, so only what reads or writes segments imports it.
"""

import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from records.outcome import Outcome
from records.store.segments.columns import COLUMNS, HOUR_S, Kind, unpack

AT_ONCE = 5000
"""Outcomes that become a table together."""

pa.set_memory_pool(pa.system_memory_pool())  # Arrow's own keeps some 40 MiB more of what it has freed.

_FAR_S = 9e12
"""The last second, in the year 287,000."""

TYPES: dict[Kind, Any] = {
    "text": pa.string(),
    "number": pa.float64(),
    "count": pa.int64(),
    "truth": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}


def schema_of(columns: Iterable[str]) -> Any:
    """The schema of these columns."""
    return pa.schema([(name, TYPES[COLUMNS[name].kind]) for name in columns])


SCHEMA = schema_of(COLUMNS)


def table_of(outcomes: Sequence[Outcome], columns: Sequence[str] = tuple(COLUMNS)) -> Any:
    """These columns of the outcomes. A value that its column cannot hold is null."""
    return pa.table([_array(outcomes, name) for name in columns], schema=schema_of(columns))


def tables_of(batches: Iterable[bytes]) -> Iterator[Any]:
    """All columns of packed batches, of about `AT_ONCE` outcomes a table: those of a quiet hour are small."""
    waiting: list[Outcome] = []
    for packed in batches:
        waiting += unpack(packed)
        if len(waiting) >= AT_ONCE:
            yield table_of(waiting)
            waiting = []
    if waiting:
        yield table_of(waiting)


def _array(outcomes: Sequence[Outcome], name: str) -> Any:
    column = COLUMNS[name]
    values = list(map(column.of, outcomes))
    if column.kind == "time":
        values = [round(value * 1e6) for value in values]
    type_ = TYPES[column.kind]
    try:
        return pa.array(values, type_)
    except (pa.ArrowException, OverflowError):
        return pa.array([_held(value, type_) for value in values], type_)


def _held(value: Any, type_: Any) -> Any:
    try:
        pa.scalar(value, type_)
    except (pa.ArrowException, OverflowError):
        return None
    return value


def micros(times: Any) -> Any:
    """A column of times as UTC microseconds, a NumPy array."""
    return times.cast(pa.int64()).to_numpy()


def latencies(table: Any) -> Any:
    """Each outcome's `latency_s`, 0 where it is unknown, a NumPy array."""
    return table["latency_s"].fill_null(0.0).to_numpy()


def moment(at: float) -> Any:
    """UTC seconds, infinite ones too, as a time to compare a column with."""
    return pa.scalar(round(min(max(at, 0.0), _FAR_S) * 1e6), TYPES["time"])


_GROUP = 25_000
"""Rows of a row group. They are sorted by time; the groups of a file may overlap."""

_LEVEL = 1
"""Of zstd: 9 takes five times as long for a hundredth of the size (docs/performance.md)."""

_UNLIKE = (
    "exchange_id",
    "request_id",
    "provider_request_id",
    "at",
    "latency_s",
    "ttft_s",
    "ttfb_s",
    "overhead_s",
)
"""Columns whose values hardly repeat: a dictionary of them costs time and space."""

_REPEATING = [name for name in SCHEMA.names if name not in _UNLIKE]


@dataclass(frozen=True, slots=True)
class BuiltSegment:
    """A Parquet file, with the times of its first and last outcome, and when its last exchange ended, in UTC
    seconds."""

    content: bytes
    rows: int
    first_at: float
    last_at: float
    ended_at: float


def build(tables: Iterable[Any]) -> dict[int, BuiltSegment]:
    """A segment of each hour that the outcomes are of, oldest first; an hour is UTC seconds // 3600."""
    hours: dict[int, _Hour] = {}
    for table in tables:
        for hour, part in _by_hour(table).items():
            hours.setdefault(hour, _Hour()).add(part)
    return {hour: hours[hour].built() for hour in sorted(hours)}


def _by_hour(table: Any) -> Mapping[int, Any]:
    hour_of = micros(table["at"]) // int(HOUR_S * 1e6)
    found = np.unique(hour_of).tolist()
    if len(found) == 1:
        return {found[0]: table}
    return {hour: table.filter(pa.array(hour_of == hour)) for hour in found}


class _Hour:
    """The file of an hour, growing."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        options: Any = {"compression": "zstd", "compression_level": _LEVEL, "use_dictionary": _REPEATING}
        self._writer = ParquetWriter(self._file, SCHEMA, **options)
        self._waiting: list[Any] = []
        self._rows = self._waits = 0
        self._first_at, self._last_at, self._ended_at = math.inf, -math.inf, -math.inf

    def add(self, table: Any) -> None:
        at = micros(table["at"]) / 1e6
        self._first_at, self._last_at = min(self._first_at, at.min()), max(self._last_at, at.max())
        self._ended_at = max(self._ended_at, (at + latencies(table)).max())
        self._waiting.append(table)
        self._waits += table.num_rows
        if self._waits >= _GROUP:
            self._flush()

    def built(self) -> BuiltSegment:
        if self._waits:
            self._flush()
        self._writer.close()
        times = float(self._first_at), float(self._last_at), float(self._ended_at)
        return BuiltSegment(self._file.getvalue(), self._rows, *times)

    def _flush(self) -> None:
        self._writer.write_table(pa.concat_tables(self._waiting).sort_by("at"))
        self._rows += self._waits
        self._waiting, self._waits = [], 0
