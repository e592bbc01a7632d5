"""Joins feedback and sessions to the rows of a sample. Reads exchanges by key, only those with feedback."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from records.tables import feedback, outcomes, sessions
from report.cells import stream
from report.keys import RowKeys, TotalsScope
from report.places import Places
from report.run_window import unreached
from report.sample import MeasureTotals, Ratings
from report.statistics.types import Floats, Ints

_EXPOSED = ("ok", "fallback", "error", "caller_error", "aborted")
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
    columns = feedback.c
    own = (columns.canary == scope.canary) & (columns.run == scope.run)
    statement = sa.select(
        columns.metric,
        columns.value,
        columns.at,
        columns.exchange_id,
        columns.day,
        columns.session,
        columns.unit,
    ).where(columns.metric.in_(metrics), own | (columns.canary == ""))
    if connection.dialect.name == "postgresql":
        # Look exchanges up by key: the planner would sometimes scan a whole day.
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
    found: dict[str, list[tuple[Ints, Floats, Floats]]] = defaultdict(list)
    join = _Join(connection, scope, places)
    for metric, value, at, *about in stream(connection, statement):
        moment = np.array(at, dtype=np.float64)
        row = join.rows(about, moment)
        values, names = np.array(value, dtype=np.float64), np.array(metric, dtype=np.str_)
        for name in np.unique(names[row >= 0]).tolist():
            own_row = (row >= 0) & (names == name)
            found[name].append((row[own_row], values[own_row], moment[own_row]))
    return {name: _ratings(pieces) for name, pieces in sorted(found.items())}


def _ratings(pieces: Sequence[tuple[Ints, Floats, Floats]]) -> Ratings:
    row, value, at = (np.concatenate(column) for column in zip(*pieces, strict=True))
    return Ratings(row=row, value=value, at=at)


class _Join:
    """Finds each value's row: its exchange's, its session's, or the one where its unit was last seen."""

    def __init__(self, connection: sa.Connection, scope: TotalsScope, places: Places) -> None:
        self._connection, self._scope, self._places = connection, scope, places

    def rows(self, about: Sequence[Sequence[Any]], at: Floats) -> Ints:
        """`about` holds the columns exchange_id, day, session and unit. −1 for a value without a row."""
        exchange, day, session, unit = about
        rows = self._by_exchange(exchange, day)
        rest = np.flatnonzero(rows == -2)
        rows[rest] = self._by_session([session[i] for i in rest.tolist()], at[rest])
        rest = np.flatnonzero(rows == -2)
        units = self._places.cells.names.units.known([unit[i] for i in rest.tolist()])
        rows[rest] = self._places.latest(units, at[rest])
        return rows

    def _by_exchange(self, exchange: Sequence[str], day: Sequence[int | None]) -> Ints:
        """−2 for a value that names no exchange."""
        days: dict[int, set[str]] = defaultdict(set)
        for name, number in zip(exchange, day, strict=True):
            if name and number is not None:
                days[number].add(name)
        found: dict[str, int] = {"": -2}
        for number, names in days.items():
            for chunk in _chunks(sorted(names)):
                found.update(self._exchanges(number, chunk))
        return _looked_up(found, exchange)

    def _exchanges(self, day: int, names: Sequence[str]) -> dict[str, int]:
        columns = outcomes.c
        found = self._connection.execute(
            sa.select(columns.exchange_id, *self._scope.grouped(columns)).where(
                columns.day == day,
                _among(self._connection, columns.exchange_id, names),
                columns.canary == self._scope.canary,
                columns.run == self._scope.run,
                columns.reason == "cohort",
                columns.mirror.is_(False),
                columns.outcome.in_(_EXPOSED),
                sa.not_(unreached()),
            )
        ).all()
        if not found:
            return {}
        name, *about = zip(*found, strict=True)
        return dict(zip(name, self._find(about), strict=True))

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
