"""The store's unit totals as columns: one row per unit, phase, arm, category and set of tags.

The database sums over days, and rows are streamed, so half a million units fit in a few hundred megabytes.
Single exchanges are not read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from records.store.database import rows_of
from records.store.sums import unpack
from records.store.tables import unit_days
from report.keys import Names, RowKeys, TotalsScope
from report.sample import MeasureTotals, Values
from report.statistics.types import Floats, Ints

Sum: TypeAlias = sa.ColumnElement[Any]

AT_ONCE = 20_000
"""Rows that exist as Python objects at a time."""

_DAYS = unit_days.c
SUMS = {
    "errors": (_DAYS.counted, _DAYS.failed),
    "refused": (_DAYS.finished, _DAYS.refused),
    "cut_off": (_DAYS.finished, _DAYS.cut_off),
    "empty": (_DAYS.finished, _DAYS.empty),
    "answer_faults": (_DAYS.finished, _DAYS.answer_faults),
    "invalid_output": (_DAYS.output_judged, _DAYS.invalid_output),
    "abandoned": (_DAYS.ended, _DAYS.abandoned),
    "cost": (_DAYS.cost_n, _DAYS.cost_sum),
    "tokens": (_DAYS.tokens_n, _DAYS.tokens_sum),
    "exchanges": (_DAYS.exchanges, _DAYS.exchanges),
}
_KEYS = ("i4", "i4", "?", "i4", "i4", "i2")
"""The numpy types of `RowKeys.columns`."""

_VALUES = {"latency": _DAYS.latency, "ttft": _DAYS.ttft}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The rows in the order of `first_at`, (n,) each, with their keys."""

    names: Names
    keys: RowKeys
    first_at: Floats
    last_at: Floats
    share: Floats
    totals: Mapping[str, MeasureTotals]
    values: Mapping[str, Values]


def read_cells(connection: sa.Connection, scope: TotalsScope) -> Cells:
    """All cells of the run from the time when both arms had a share."""
    names, keys = Names(scope), [Growing(kind) for kind in _KEYS]
    sums = [name for name in SUMS if name in scope.sources]
    numbers = [Growing("f8") for _ in range(3 + 2 * len(sums))]
    packs = {name: _Packs() for name in _VALUES if name in scope.sources}
    receivers: list[Growing | _Packs] = [*numbers, *packs.values()]
    statement = (
        sa.select(
            *scope.grouped(_DAYS),
            sa.func.min(_DAYS.first_at),
            sa.func.max(_DAYS.last_at),
            sa.func.max(_DAYS.share),
            *(sa.func.sum(sa.cast(column, sa.Double)) for name in sums for column in SUMS[name]),
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
    """Conditions for the cells of real traffic while both arms had a share."""
    return [*of_run(scope), _DAYS.mirror.is_(False), _DAYS.share > 0, _DAYS.share < 1]


def of_run(scope: TotalsScope) -> list[Sum]:
    """Conditions for all cells of the run, mirror copies included."""
    return [_DAYS.canary == scope.canary, _DAYS.run == scope.run]


def stream(
    connection: sa.Connection, statement: sa.Select[*tuple[Any, ...]]
) -> Iterator[Sequence[Sequence[Any]]]:
    """The result's columns in batches of AT_ONCE rows. The whole result is never in memory."""
    for rows in _partitions(connection, statement):
        yield list(zip(*rows, strict=True))


def _partitions(
    connection: sa.Connection, statement: sa.Select[*tuple[Any, ...]]
) -> Iterator[Sequence[Sequence[Any]]]:
    if connection.dialect.name == "postgresql":
        yield from rows_of(connection, statement, at_once=AT_ONCE)
    else:
        result = connection.execute(statement, execution_options={"yield_per": AT_ONCE})
        yield from result.partitions()


class Growing:
    """A growing column in one buffer. Many small arrays would fragment memory."""

    def __init__(self, kind: str) -> None:
        self._kind = np.dtype(kind)
        self._bytes = bytearray()

    def add(self, values: Any) -> None:
        """Append a sequence of numbers, or an array."""
        self._bytes += np.asarray(values, dtype=self._kind).tobytes()

    def array(self) -> np.ndarray:
        return np.frombuffer(self._bytes, dtype=self._kind)

    def ordered(self, order: Ints) -> np.ndarray:
        """The column in this order. Empties the buffer, to save its memory."""
        column, self._bytes = self.array()[order], bytearray()
        return column


class _Packs:
    """A growing buffer of packed durations, cell by cell."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._sizes = Growing("i4")

    def add(self, packed: Sequence[bytes]) -> None:
        self._sizes.add(np.fromiter(map(len, packed), dtype=np.int64, count=len(packed)) // 2)
        self._packed += b"".join(packed)

    def values(self, rank: Ints) -> Values:
        """`rank` (n,) is each cell's row in the sample."""
        size = self._sizes.array()
        return Values.grouped(
            row=rank[size > 0],
            size=size[size > 0],
            code=np.frombuffer(self._packed, dtype="<u2"),
            scale=unpack(np.arange(1 << 16, dtype="<u2").tobytes()),
        )


def _joined(connection: sa.Connection, column: Sum) -> Sum:
    """The cell's packed values of all days, concatenated."""
    if connection.dialect.name == "postgresql":
        return sa.func.string_agg(column, sa.cast(b"", BYTEA), type_=BYTEA())
    # SQLite concatenates blobs as text, byte for byte.
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
    unit, phase, candidate, category, place, piece = (growing.ordered(order) for growing in keys)
    return Cells(
        names=names,
        keys=RowKeys(
            unit=unit.astype(np.int64),
            phase=phase.astype(np.int64),
            candidate=candidate,
            category=category,
            place=place,
            piece=piece,
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
