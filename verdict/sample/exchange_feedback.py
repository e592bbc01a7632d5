"""Feedback about exchanges, joined to the rows of a sample.

A value has the exchange's canary, run, phase, arm and unit, for its id is signed. The exchange itself is read
for its category and tags, and to leave out what a sample does not count.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from records.store.tables import feedback
from verdict.sample.arrays import Ratings
from verdict.sample.stored import (
    EXPOSED,
    Growing,
    Names,
    Numbered,
    Places,
    RowKeys,
    TotalsScope,
    exposed,
    stream,
)
from verdict.sample.stored_exchanges import ExchangeKeys, find
from verdict.statistics.types import Ints

_DAY_MICROS = 86_400_000_000


def read_exchange_feedback(
    connection: sa.Connection, scope: TotalsScope, places: Places, metrics: Collection[str]
) -> Iterator[tuple[str, Ratings]]:
    """The values of each metric about the run's exchanges. A value that belongs to no row is left out."""
    columns = feedback.c
    statement = sa.select(
        columns.metric,
        columns.value,
        columns.at,
        columns.exchange_id,
        columns.unit,
        columns.phase,
        columns.arm,
    ).where(
        columns.metric.in_(metrics),
        columns.canary == scope.canary,
        columns.run == scope.run,
        columns.exchange_id != "",
    )
    given = _Given(places.cells.names)
    for found in stream(connection, statement):
        given.add(found)
    yield from given.by_metric(_rows(connection, scope, places, given))


class _Given:
    """Values about exchanges of known units, as columns: half a million take 30 MiB."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._metrics = Numbered()
        self._metric, self._value, self._at = Growing("i2"), Growing("f8"), Growing("f8")
        self.unit, self.phase, self.candidate = Growing("i8"), Growing("i8"), Growing("?")
        self._micros, self._serial = Growing("i8"), Growing("u8")

    def add(self, columns: Sequence[Sequence[Any]]) -> None:
        """Add what is of a known unit of the columns metric, value, at, exchange_id, unit, phase and arm."""
        metric, value, at, exchange_id, unit, phase, arm = columns
        units, keys = self._names.units.known(unit), ExchangeKeys.of(exchange_id)
        candidate = np.fromiter(map("candidate".__eq__, arm), dtype=np.bool_, count=len(arm))
        known = units >= 0
        for column, values in (
            (self._metric, self._metrics.of(metric)), (self._value, value), (self._at, at),
            (self.unit, units), (self.phase, phase), (self.candidate, candidate),
            (self._micros, keys.micros), (self._serial, keys.serial),
        ):  # fmt: skip
            column.add(np.asarray(values)[known])

    @property
    def keys(self) -> ExchangeKeys:
        return ExchangeKeys(micros=self._micros.array(), serial=self._serial.array())

    def by_metric(self, row: Ints) -> Iterator[tuple[str, Ratings]]:
        """The values with a row, (n,) in all, −1 without one."""
        metric, value, at = self._metric.array(), self._value.array(), self._at.array()
        for name, number in self._metrics.items():
            own = (row >= 0) & (metric == number)
            yield name, Ratings(row=row[own], value=value[own], at=at[own])


def _rows(connection: sa.Connection, scope: TotalsScope, places: Places, given: _Given) -> Ints:
    """The row that each value's exchange is in; −1 without one."""
    names, keys = places.cells.names, given.keys
    unit, phase, candidate = given.unit.array(), given.phase.array(), given.candidate.array()
    rows = np.full(len(unit), -1, dtype=np.int64)
    columns = [*EXPOSED, "category", *(["tags"] if scope.segments else [])]
    for found, table in find(connection, keys, columns, exposed):
        rows[found] = places.find(
            RowKeys(
                unit=unit[found],
                phase=phase[found],
                candidate=candidate[found],
                category=names.categories.known(table["category"].to_pylist()),
                place=names.places.known(list(_tags(table, names))),
                piece=scope.pieces(keys.micros[found] // _DAY_MICROS),
            )
        )
    return rows


def _tags(table: Any, names: Names) -> Iterable[tuple[str, ...]]:
    """The values of the segments' tags, for each exchange of the table."""
    if "tags" not in table.column_names:
        return [()] * table.num_rows
    return map(names.place.__getitem__, table["tags"].to_pylist())
