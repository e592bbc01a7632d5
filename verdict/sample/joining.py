"""Joins feedback and sessions to the rows of a sample."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from records.store.tables import feedback, sessions
from verdict.sample.arrays import MeasureTotals, Ratings
from verdict.sample.exchange_feedback import read_exchange_feedback
from verdict.sample.stored import Places, RowKeys, TotalsScope, stream
from verdict.statistics.types import Floats, Ints

_KEYS_AT_ONCE = 5_000


def read_sessions(
    connection: sa.Connection, scope: TotalsScope, places: Places
) -> Mapping[str, MeasureTotals]:
    """Sessions by the row in which they were last seen: length, exchanges and repeated questions."""
    columns = sessions.c
    statement = (
        sa.select(
            *scope.grouped(columns),
            sa.func.count(),
            sa.func.sum(columns.last_at - columns.first_at),
            sa.func.sum(sa.cast(columns.exchanges, sa.Double)),
            sa.func.sum(sa.cast(columns.repeats, sa.Double)),
        )
        .where(columns.canary == scope.canary, columns.run == scope.run)
        .group_by(*scope.grouped(columns))
    )
    sums = np.zeros((4, len(places.cells.first_at)))
    for found in stream(connection, statement):
        row = places.find(RowKeys.read(found[:-4], places.cells.names, new=False))
        known = row >= 0
        for sum_, column in zip(sums, found[-4:], strict=True):
            np.add.at(sum_, row[known], np.array(column, dtype=np.float64)[known])
    count, length_s, exchanges, repeats = sums
    return {
        "session_length_s": MeasureTotals(count=count, total=length_s),
        "session_exchanges": MeasureTotals(count=count, total=exchanges),
        "session_repeats": MeasureTotals(count=exchanges, total=repeats),
    }


def read_feedback(
    connection: sa.Connection, scope: TotalsScope, places: Places, metrics: Collection[str]
) -> Mapping[str, Ratings]:
    """The values of these metrics. A value that belongs to no row is left out."""
    if connection.dialect.name == "postgresql":
        # Look sessions up by key: the planner would sometimes scan all.
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
    found: dict[str, list[Ratings]] = defaultdict(list)
    for name, ratings in (
        *read_exchange_feedback(connection, scope, places, metrics),
        *_read_other_feedback(connection, scope, places, metrics),
    ):
        if len(ratings.row):
            found[name].append(ratings)
    return {name: _together(pieces) for name, pieces in sorted(found.items())}


def _together(pieces: Sequence[Ratings]) -> Ratings:
    return Ratings(
        row=np.concatenate([each.row for each in pieces]),
        value=np.concatenate([each.value for each in pieces]),
        at=np.concatenate([each.at for each in pieces]),
    )


def _read_other_feedback(
    connection: sa.Connection, scope: TotalsScope, places: Places, metrics: Collection[str]
) -> Iterator[tuple[str, Ratings]]:
    """The values of each metric about sessions and units, piece by piece."""
    columns = feedback.c
    own = (columns.canary == scope.canary) & (columns.run == scope.run)
    statement = sa.select(columns.metric, columns.value, columns.at, columns.session, columns.unit).where(
        columns.metric.in_(metrics), own | (columns.canary == ""), columns.exchange_id == ""
    )
    join = _Join(connection, scope, places)
    for metric, value, at, session, unit in stream(connection, statement):
        moment, values = np.array(at, dtype=np.float64), np.array(value, dtype=np.float64)
        row, names = join.rows(session, unit, moment), np.array(metric, dtype=np.str_)
        for name in np.unique(names).tolist():
            own_row = (row >= 0) & (names == name)
            yield name, Ratings(row=row[own_row], value=values[own_row], at=moment[own_row])


class _Join:
    """Finds each value's row: its session's, or the one where its unit was last seen."""

    def __init__(self, connection: sa.Connection, scope: TotalsScope, places: Places) -> None:
        self._connection, self._scope, self._places = connection, scope, places

    def rows(self, session: Sequence[str], unit: Sequence[str], at: Floats) -> Ints:
        """−1 for a value without a row."""
        rows = self._by_session(session, at)
        rest = np.flatnonzero(rows == -2)
        units = self._places.cells.names.units.known([unit[i] for i in rest.tolist()])
        rows[rest] = self._places.latest(units, at[rest])
        return rows

    def _by_session(self, session: Sequence[str], at: Floats) -> Ints:
        """−2 for a value that names no session."""
        columns = sessions.c
        found: dict[str, int] = {"": -2}
        begun: dict[str, float] = {"": -np.inf}
        for chunk in _chunks(sorted(set(session) - {""})):
            result = self._connection.execute(
                sa.select(columns.session, columns.first_at, *self._scope.grouped(columns)).where(
                    columns.canary == self._scope.canary,
                    columns.run == self._scope.run,
                    _among(self._connection, columns.session, chunk),
                )
            ).all()
            if result:
                name, first, *about = zip(*result, strict=True)
                found.update(zip(name, self._find(about), strict=True))
                begun.update(zip(name, first, strict=True))
        first_at = np.array([begun.get(name, np.inf) for name in session], dtype=np.float64)
        return np.where(first_at <= at, _looked_up(found, session), -1)

    def _find(self, columns: Sequence[Sequence[Any]]) -> Iterable[int]:
        """The rows with the same keys as these columns of `TotalsScope.grouped`."""
        found: list[int] = self._places.find(
            RowKeys.read(columns, self._places.cells.names, new=False)
        ).tolist()
        return found


def _among(
    connection: sa.Connection, column: sa.ColumnElement[str], names: Sequence[str]
) -> sa.ColumnElement[bool]:
    """The column is one of these names. PostgreSQL gets them as JSON: 5,000 parameters cost more than the
    query, and to quote an array name by name costs as much."""
    if connection.dialect.name == "postgresql":
        listed = sa.func.json_array_elements_text(
            sa.cast(sa.literal(msgspec.json.encode(names).decode(), sa.Text), sa.JSON)
        )
        return column == sa.any_(sa.func.array(sa.select(listed).scalar_subquery(), type_=ARRAY(sa.Text)))
    return column.in_(names)


def _looked_up(found: Mapping[str, int], names: Sequence[str]) -> Ints:
    return np.fromiter((found.get(name, -1) for name in names), dtype=np.int64, count=len(names))


def _chunks(names: Sequence[str]) -> Sequence[Sequence[str]]:
    return [names[i : i + _KEYS_AT_ONCE] for i in range(0, len(names), _KEYS_AT_ONCE)]
