"""The store's unit totals as columns: one row for each unit, phase, arm, category and set of tags.

Days are added up in the database and rows come as a stream, so that half a million units fit into some
hundred megabytes. No exchange is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from records.durations import unpack
from records.tables import unit_days
from report.keys import Names, RowKeys, TotalsScope
from report.sample import MeasureTotals, Values
from report.statistics.types import Floats, Ints

Sum: TypeAlias = sa.ColumnElement[Any]

AT_ONCE = 20_000
"""Rows that are held as Python objects at a time."""

_DAYS = unit_days.c
_SUMS = {
    "errors": (_DAYS.counted, _DAYS.failed),
    "cost": (_DAYS.cost_n, _DAYS.cost_sum),
    "tokens": (_DAYS.tokens_n, _DAYS.tokens_sum),
}
_KEYS = ("i4", "i4", "?", "i4", "i4")
"""The kinds of `RowKeys.columns`."""

_VALUES = {"latency": _DAYS.latency, "ttft": _DAYS.ttft}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The rows in the order of `first_at`, (n,) each, and what they are about."""

    names: Names
    keys: RowKeys
    first_at: Floats
    last_at: Floats
    share: Floats
    totals: Mapping[str, MeasureTotals]
    values: Mapping[str, Values]


def read_cells(connection: sa.Connection, scope: TotalsScope) -> Cells:
    """All cells of the run that a hash assigned while both arms had a share."""
    names, keys = Names(scope), [Growing(kind) for kind in _KEYS]
    sums = [name for name in _SUMS if name in scope.sources]
    numbers = [Growing("f8") for _ in range(3 + 2 * len(sums))]
    packs = {name: _Packs() for name in _VALUES if name in scope.sources}
    receivers: list[Growing | _Packs] = [*numbers, *packs.values()]
    statement = (
        sa.select(
            *scope.grouped(_DAYS),
            sa.func.min(_DAYS.first_at),
            sa.func.max(_DAYS.last_at),
            sa.func.max(_DAYS.share),
            *(sa.func.sum(sa.cast(column, sa.Double)) for name in sums for column in _SUMS[name]),
            *(_joined(connection, _VALUES[name]) for name in packs),
        )
        .where(*concurrent(scope))
        .group_by(*scope.grouped(_DAYS))
    )
    width = len(scope.grouped(_DAYS))
    for columns in stream(connection, statement):
        for growing, found in zip(
            keys, RowKeys.read(columns[:width], names, new=True).columns(), strict=True
        ):
            growing.add(found)
        for receiver, column in zip(receivers, columns[width:], strict=True):
            receiver.add(column)
    return _assembled(names, keys, numbers, packs, sums)


def concurrent(scope: TotalsScope) -> list[Sum]:
    """Cells of real traffic, while both arms had a share."""
    return [*of_run(scope), _DAYS.mirror.is_(False), _DAYS.share > 0, _DAYS.share < 1]


def of_run(scope: TotalsScope) -> list[Sum]:
    """All cells of the run, mirror copies among them."""
    return [_DAYS.canary == scope.canary, _DAYS.run == scope.run]


def stream(connection: sa.Connection, statement: sa.Executable) -> Iterator[Sequence[Sequence[Any]]]:
    """The result's columns, so many rows at a time; the whole of it is never in memory."""
    result = connection.execute(statement, execution_options={"yield_per": AT_ONCE})
    for rows in result.partitions():
        yield list(zip(*rows, strict=True))


class Growing:
    """A column as its rows come. Many small arrays would leave the memory in pieces."""

    def __init__(self, kind: str) -> None:
        self._kind = np.dtype(kind)
        self._bytes = bytearray()

    def add(self, values: Any) -> None:
        """Append a sequence of numbers, or an array."""
        self._bytes += np.asarray(values, dtype=self._kind).tobytes()

    def array(self) -> np.ndarray:
        return np.frombuffer(self._bytes, dtype=self._kind)

    def ordered(self, order: Ints) -> np.ndarray:
        """The column in this order; it is empty then, for two of it would be twice the memory."""
        found, self._bytes = self.array()[order], bytearray()
        return found


class _Packs:
    """Packed durations as they come, cell by cell."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._sizes = Growing("i4")

    def add(self, packed: Sequence[bytes]) -> None:
        self._sizes.add(np.fromiter(map(len, packed), dtype=np.int64, count=len(packed)) // 2)
        self._packed += b"".join(packed)

    def values(self, rank: Ints) -> Values:
        """`rank` (n,) is where each cell stands in the sample."""
        size = self._sizes.array()
        return Values(
            row=rank[size > 0],
            size=size[size > 0],
            code=np.frombuffer(self._packed, dtype="<u2"),
            scale=unpack(np.arange(1 << 16, dtype="<u2").tobytes()),
        )


def _joined(connection: sa.Connection, column: Sum) -> Sum:
    """The cell's packed values of all days, one after the other."""
    if connection.dialect.name == "postgresql":
        return sa.func.string_agg(column, sa.cast(b"", BYTEA), type_=BYTEA())
    # SQLite joins bytes as if they were text, which changes none of them.
    return sa.cast(sa.func.group_concat(column, ""), sa.LargeBinary)


def _assembled(
    names: Names,
    keys: Sequence[Growing],
    numbers: Sequence[Growing],
    packs: Mapping[str, _Packs],
    sums: Sequence[str],
) -> Cells:
    order = np.argsort(numbers[0].array(), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first_at, last_at, share, *added = (growing.ordered(order) for growing in numbers)
    unit, phase, candidate, category, place = (growing.ordered(order) for growing in keys)
    return Cells(
        names=names,
        keys=RowKeys(
            unit=unit.astype(np.int64),
            phase=phase.astype(np.int64),
            candidate=candidate,
            category=category,
            place=place,
        ),
        first_at=first_at,
        last_at=last_at,
        share=share,
        totals={
            name: MeasureTotals(count=count, total=total)
            for name, count, total in zip(sums, added[::2], added[1::2], strict=True)
        },
        values={name: pack.values(rank) for name, pack in packs.items()},
    )
