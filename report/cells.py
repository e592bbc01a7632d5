"""The store's unit totals as columns: one row for each unit, phase, arm, category and set of tags.

Days are added up in the database and rows come as a stream, so that half a million units fit into some
hundred megabytes. No exchange is read.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA

from records.durations import unpack
from records.tables import unit_days
from report.keys import Keys, Names, Scope
from report.sample import Totals, Values
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
_VALUES = {"latency": _DAYS.latency, "ttft": _DAYS.ttft}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """The rows in the order of `first_at`, (n,) each, and what they are about."""

    names: Names
    keys: Keys
    first_at: Floats
    last_at: Floats
    share: Floats
    totals: Mapping[str, Totals]
    values: Mapping[str, Values]


def read_cells(connection: sa.Connection, scope: Scope) -> Cells:
    """All cells of the run that a hash assigned while both arms had a share."""
    names = Names(scope)
    keys: list[Keys] = []
    numbers: list[list[Floats]] = []
    sums = [one for name, one in _SUMS.items() if name in scope.sources]
    packs = {name: _Packs() for name in _VALUES if name in scope.sources}
    statement = (
        sa.select(
            *scope.grouped(_DAYS),
            sa.func.min(_DAYS.first_at),
            sa.func.max(_DAYS.last_at),
            sa.func.max(_DAYS.share),
            *(sa.func.sum(sa.cast(column, sa.Double)) for pair in sums for column in pair),
            *(_joined(connection, _VALUES[name]) for name in packs),
        )
        .where(*concurrent(scope))
        .group_by(*scope.grouped(_DAYS))
    )
    width = len(scope.grouped(_DAYS))
    for columns in stream(connection, statement):
        keys.append(Keys.read(columns[:width], names, new=True))
        rest = columns[width:]
        numbers.append([np.array(column, dtype=np.float64) for column in rest[: 3 + 2 * len(sums)]])
        for pack, column in zip(packs.values(), rest[3 + 2 * len(sums) :], strict=True):
            pack.add(column)
    return _assembled(names, keys, numbers, packs, [name for name in _SUMS if name in scope.sources])


def concurrent(scope: Scope) -> list[Sum]:
    """Cells of real traffic, while both arms had a share."""
    return [*of_run(scope), _DAYS.mirror.is_(False), _DAYS.share > 0, _DAYS.share < 1]


def of_run(scope: Scope) -> list[Sum]:
    """All cells of the run, mirror copies among them."""
    return [_DAYS.canary == scope.canary, _DAYS.run == scope.run]


def stream(connection: sa.Connection, statement: sa.Executable) -> Iterator[Sequence[Sequence[Any]]]:
    """The result's columns, so many rows at a time; the whole of it is never in memory."""
    result = connection.execute(statement, execution_options={"yield_per": AT_ONCE})
    for rows in result.partitions():
        yield list(zip(*rows, strict=True))


class _Packs:
    """Packed durations as they come, cell by cell."""

    def __init__(self) -> None:
        self._packed = bytearray()
        self._sizes: list[Ints] = []

    def add(self, packed: Sequence[bytes]) -> None:
        self._sizes.append(np.fromiter(map(len, packed), dtype=np.int64, count=len(packed)) // 2)
        self._packed += b"".join(packed)

    def values(self, rank: Ints) -> Values:
        """`rank` (n,) is where each cell stands in the sample."""
        size = np.concatenate([*self._sizes, np.zeros(0, dtype=np.int64)])
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
    keys: Sequence[Keys],
    numbers: Sequence[Sequence[Floats]],
    packs: Mapping[str, _Packs],
    sums: Sequence[str],
) -> Cells:
    def number(place: int) -> Floats:
        return np.concatenate([*(one[place] for one in numbers), np.zeros(0)])

    order = np.argsort(number(0), kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))

    def key(of: Callable[[Keys], np.ndarray], kind: type[np.generic]) -> Any:
        return np.concatenate([*map(of, keys), np.zeros(0, dtype=kind)])[order]

    return Cells(
        names=names,
        keys=Keys(
            unit=key(lambda one: one.unit, np.int64),
            phase=key(lambda one: one.phase, np.int64),
            candidate=key(lambda one: one.candidate, np.bool_),
            category=key(lambda one: one.category, np.int64),
            place=key(lambda one: one.place, np.int64),
        ),
        first_at=number(0)[order],
        last_at=number(1)[order],
        share=number(2)[order],
        totals={
            name: Totals(count=number(3 + 2 * i)[order], total=number(4 + 2 * i)[order])
            for i, name in enumerate(sums)
        },
        values={name: pack.values(rank) for name, pack in packs.items()},
    )
