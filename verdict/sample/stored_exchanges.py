"""Reads single exchanges of the store as Arrow tables: those with given ids, and the newest of some kind.

They are read source by source, so that few of them are in memory at once, and only the columns that are asked
for. Arrow takes 40 MiB: it is loaded with the first source.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa

from records.facts.exchange_id import time_and_serial
from records.store.segments.sources import OutcomeSource, sources
from verdict.statistics.types import Ints

_NOT_AN_ID = (-1, 0)
_AT_ONCE = 50_000

Condition: TypeAlias = Callable[[], Any]
"""Makes an expression of `pyarrow.compute` about the columns that are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeKeys:
    """The UTC microseconds and the serials of exchange ids, (n,) each; −1 microseconds for any other text."""

    micros: Ints
    serial: np.ndarray

    @classmethod
    def of(cls, ids: Iterable[str]) -> "ExchangeKeys":
        pairs = [time_and_serial(text) or _NOT_AN_ID for text in ids]
        return cls(
            micros=np.array([micros for micros, _ in pairs], dtype=np.int64),
            serial=np.array([serial for _, serial in pairs], dtype=np.uint64),
        )

    def at(self, places: Ints) -> "ExchangeKeys":
        """The keys at these places."""
        return ExchangeKeys(micros=self.micros[places], serial=self.serial[places])


def find(
    connection: sa.Connection, keys: ExchangeKeys, columns: Sequence[str], where: Condition
) -> Iterator[tuple[Ints, Any]]:
    """Those of the exchanges that fulfil `where`, in parts: their places in `keys`, (m,), and as many rows.

    The time in an id tells which source to read, each once, and the row in it.
    """
    waiting, rows = list[tuple[Ints, Any]](), 0
    for places, table in _found(connection, keys, columns):
        waiting.append((places, table))
        rows += len(places)
        if rows >= _AT_ONCE:
            yield _fulfilling(waiting, where)
            waiting, rows = [], 0
    if waiting:
        yield _fulfilling(waiting, where)


def _found(
    connection: sa.Connection, keys: ExchangeKeys, columns: Sequence[str]
) -> Iterator[tuple[Ints, Any]]:
    """The exchanges of each source."""
    from records.store.segments.arrow import schema_of

    schema = schema_of(columns)
    order = np.argsort(keys.micros, kind="stable")
    order = order[np.searchsorted(keys.micros[order], 0) :]
    if len(order) == 0:
        return
    micros = keys.micros[order]
    for source in sources(connection, since=micros[0] / 1e6 - 1, until=micros[-1] / 1e6 + 1):
        begin, end = np.searchsorted(micros, _bounds(source))
        if begin < end:
            places = order[begin:end]
            table = source.read_coded(["at", *columns])
            rows = _rows(source, table, keys.at(places))
            yield places[rows >= 0], table.select(columns).take(rows[rows >= 0]).cast(schema)


def newest(
    connection: sa.Connection,
    columns: Sequence[str],
    where: Condition,
    *,
    since: float,
    until: float,
    most: int,
) -> Any:
    """A table of the newest `most` exchanges from `since` to `until` that fulfil `where`, newest first. One
    of the columns has to be `at`."""
    from pyarrow import concat_tables

    from records.store.segments.arrow import moment, schema_of

    found = schema_of(columns).empty_table()
    last_first = sorted(sources(connection, since=since, until=until), key=lambda each: -each.last_at)
    for source in last_first:
        if found.num_rows >= most:
            found = _newest_of(found, most)
            if moment(source.last_at).value < found["at"][-1].value:
                break
        more = source.read_coded(columns).filter(where()).cast(found.schema)
        found = concat_tables([found, more])
    return _newest_of(found, most)


def _fulfilling(parts: Sequence[tuple[Ints, Any]], where: Condition) -> tuple[Ints, Any]:
    """Filters many parts at once: Arrow takes milliseconds to begin."""
    from pyarrow import array, concat_tables

    places = np.concatenate([places for places, _ in parts])
    table = concat_tables([table for _, table in parts]).append_column("place", array(places)).filter(where())
    return table["place"].to_numpy(), table


def _newest_of(table: Any, most: int) -> Any:
    return table.sort_by([("at", "descending")]).slice(0, most)


def _bounds(source: OutcomeSource) -> tuple[int, int]:
    """The microseconds that ids of its exchanges may have, without the second one: the time in an id is cut
    to them, the stored one is rounded."""
    return int(source.first_at * 1e6) - 1, int(source.last_at * 1e6) + 2


def _rows(source: OutcomeSource, table: Any, keys: ExchangeKeys) -> Ints:
    """Each exchange's row in the source's table, (m,); −1 for one that is not there."""
    from records.store.segments.arrow import micros

    at = micros(table["at"])
    by_time = np.argsort(at, kind="stable")
    first = np.searchsorted(at[by_time], keys.micros)
    end = np.searchsorted(at[by_time], keys.micros + 1, side="right")
    rows = np.where(first < end, by_time[np.minimum(first, len(at) - 1)], -1)
    if np.all(end - first <= 1) and not _share_a_row(rows, keys):
        return rows
    near = np.flatnonzero(np.isin(at, keys.micros) | np.isin(at, keys.micros + 1))
    return _by_id(source, near, keys)


def _share_a_row(rows: Ints, keys: ExchangeKeys) -> bool:
    """True if two ids of the same microsecond have one row, and so one of them is not there."""
    order = np.lexsort((keys.serial, rows))
    rows, serial = rows[order], keys.serial[order]
    return bool(np.any((rows[1:] == rows[:-1]) & (rows[1:] >= 0) & (serial[1:] != serial[:-1])))


def _by_id(source: OutcomeSource, near: Ints, keys: ExchangeKeys) -> Ints:
    """As `_rows`, for exchanges of the same microsecond: only their ids tell them apart, and reading the ids
    takes longer than all else."""
    ids = source.read_coded(["exchange_id"])["exchange_id"].take(near).to_pylist()
    row_of = {time_and_serial(text): row for text, row in zip(ids, near.tolist(), strict=True)}
    pairs = zip(keys.micros.tolist(), keys.serial.tolist(), strict=True)
    return np.array([row_of.get(pair, -1) for pair in pairs], dtype=np.int64)
