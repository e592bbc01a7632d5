"""Builds segments in memory: outcomes become one Parquet file an hour, a row group at a time.

Of each hour only the rows of one group are in memory as Arrow has them, beside the files so far.
"""

import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow.parquet import ParquetWriter

from records.segments import HOUR_S
from records.segments.arrow import SCHEMA, latencies, micros

_GROUP = 25_000
"""Rows of a row group. They are sorted by time; the groups of a file may overlap."""

_LEVEL = 1
"""Of zstd: 9 takes five times as long for a hundredth of the size (docs/performance.md)."""

_UNLIKE = ("exchange_id", "request_id", "at", "latency_s", "ttft_s", "ttfb_s", "overhead_s")
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
