"""Outcomes as Arrow tables. Its library takes 80 MiB, so only what reads or writes segments imports it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from records.outcome import Outcome
from records.segments.columns import COLUMNS, Kind
from records.segments.fresh import unpack

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
