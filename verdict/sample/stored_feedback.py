"""Reads the store's feedback and sessions, joined to the rows of a sample, and single exchanges by id.

Exchanges are read source by source, so that few of them are in memory at once, and only the columns that are
asked for. Arrow takes 40 MiB: it is loaded with the first source.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from records.facts.exchange_id import time_and_serial
from records.facts.metric import Metric
from records.store.segments.sources import OutcomeSource, sources
from records.store.tables import feedback, sessions
from verdict.sample.sample import MeasureTotals, Numbered, Ratings, within
from verdict.sample.unit_totals import (
    BY_SESSION,
    EXPOSED,
    CellIndex,
    GrowingColumn,
    RowKeys,
    TextNumbers,
    TotalsScope,
    exposed,
    first_exposures,
    in_time,
    stream,
)
from verdict.statistics.types import Bools, Floats, Ints, picked

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
        return picked(self, places)


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


# Feedback about exchanges, joined to the rows of a sample.


_DAY_MICROS = 86_400_000_000


def _read_exchange_feedback(
    join: "_Join", metrics: Collection[str], by_session: Collection[str]
) -> Iterator[tuple[str, Ratings]]:
    """The values of each metric about the run's exchanges. A value that belongs to no row is left out; one of
    a metric `by_session` belongs to its exchange's session."""
    connection, scope, places = join.connection, join.scope, join.places
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
    rows, sessions_of = _rows_of_exchanges(connection, scope, places, given, sessions=bool(by_session))
    of_session = np.flatnonzero(given.of(by_session) & (rows >= 0) & (sessions_of != ""))
    names = sessions_of[of_session].tolist()
    rows[of_session] = join.by_session(names, np.full(len(names), np.inf))
    subject = given.subject.copy()
    subject[of_session] = _numbers(names)
    yield from given.by_metric(rows, subject)


class _Given:
    """Values about exchanges of known units, as columns: half a million take 30 MiB."""

    def __init__(self, names: TextNumbers) -> None:
        self._names = names
        self._metrics = Numbered()
        self._metric, self._value, self._at = GrowingColumn("i2"), GrowingColumn("f8"), GrowingColumn("f8")
        self.unit, self.phase, self.candidate = GrowingColumn("i8"), GrowingColumn("i8"), GrowingColumn("?")
        self._micros, self._serial = GrowingColumn("i8"), GrowingColumn("u8")
        self._subject = GrowingColumn("i8")

    def add(self, columns: Sequence[Sequence[Any]]) -> None:
        """Add what is of a known unit of the columns metric, value, at, exchange_id, unit, phase and arm."""
        metric, value, at, exchange_id, unit, phase, arm = columns
        units, keys = self._names.units.known(unit), ExchangeKeys.of(exchange_id)
        candidate = np.fromiter(map("candidate".__eq__, arm), dtype=np.bool_, count=len(arm))
        known = units >= 0
        for column, values in (
            (self._metric, self._metrics.of(metric)), (self._value, value), (self._at, at),
            (self.unit, units), (self.phase, phase), (self.candidate, candidate),
            (self._micros, keys.micros), (self._serial, keys.serial), (self._subject, _numbers(exchange_id)),
        ):  # fmt: skip
            column.add(np.asarray(values)[known])

    @property
    def keys(self) -> ExchangeKeys:
        return ExchangeKeys(micros=self._micros.array(), serial=self._serial.array())

    @property
    def subject(self) -> Ints:
        """A number for each value's exchange, (n,)."""
        return self._subject.array()

    def of(self, metrics: Collection[str]) -> Bools:
        """Marks the values of these metrics, (n,)."""
        return np.isin(self._metric.array(), [self._metrics[name] for name in metrics])

    def by_metric(self, row: Ints, subject: Ints) -> Iterator[tuple[str, Ratings]]:
        """The values with a row, (n,) in all, −1 without one."""
        metric, value, at = self._metric.array(), self._value.array(), self._at.array()
        asked = self._micros.array() / 1e6
        for name, number in self._metrics.items():
            own = (row >= 0) & (metric == number)
            found = Ratings(row=row, value=value, at=at, subject=subject, asked=asked)
            yield name, found.only(own)


def _numbers(names: Sequence[Any]) -> Ints:
    """A number for each name, the same for the same one."""
    return np.fromiter(map(hash, names), dtype=np.int64, count=len(names))


def _rows_of_exchanges(
    connection: sa.Connection, scope: TotalsScope, places: CellIndex, given: _Given, *, sessions: bool
) -> tuple[Ints, Any]:
    """The row that each value's exchange is in, −1 without one; with `sessions`, its session, "" without one,
    (n,) each."""
    names, keys = places.cells.names, given.keys
    unit, phase, candidate = given.unit.array(), given.phase.array(), given.candidate.array()
    rows, named = np.full(len(unit), -1, dtype=np.int64), np.full(len(unit), "", dtype=object)
    columns = [
        *(*EXPOSED, "category"),
        *(["tags"] if scope.segments else []),
        *(["session"] if sessions else []),
    ]
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
        if sessions:
            named[found] = table["session"].to_pylist()
    return rows, named


def _tags(table: Any, names: TextNumbers) -> Iterable[tuple[str, ...]]:
    """The values of the segments' tags, for each exchange of the table."""
    if "tags" not in table.column_names:
        return [()] * table.num_rows
    return map(names.place.__getitem__, table["tags"].to_pylist())


# Joins feedback and sessions to the rows of a sample.


_KEYS_AT_ONCE = 5_000
_NOTHING: Any = sa.literal_column("0.0")


def read_sessions(
    connection: sa.Connection, scope: TotalsScope, places: CellIndex
) -> Mapping[str, MeasureTotals]:
    """The measures of sessions that are asked for, by the row in which each session was last seen; of those
    among the early measures, also what began in time."""
    columns, first_at = sessions.c, first_exposures(scope)
    wanted = {name: each for name, each in BY_SESSION.items() if name in scope.sources}
    early = [(name, seconds) for name, seconds in scope.early if name in BY_SESSION]
    for name, seconds in early:
        n, s = BY_SESSION[name]
        wanted[within(name, seconds)] = (
            in_time(n, columns, first_at, seconds),
            in_time(s, columns, first_at, seconds),
        )
    if not wanted:
        return {}
    summed = [sa.func.sum(sa.cast(each, sa.Double)) for pair in wanted.values() for each in pair]
    statement = (
        sa.select(*scope.grouped(columns), *(sa.func.coalesce(each, _NOTHING) for each in summed))
        .where(columns.canary == scope.canary, columns.run == scope.run, *_outside(scope))
        .group_by(*scope.grouped(columns))
    )
    if early:
        statement = statement.join_from(sessions, first_at, first_at.c.unit == columns.unit)
    sums = np.zeros((len(summed), len(places.cells.first_at)))
    for found in stream(connection, statement):
        row = places.find(RowKeys.read(found[: -len(sums)], places.cells.names, new=False))
        known = row >= 0
        for sum_, column in zip(sums, found[-len(sums) :], strict=True):
            np.add.at(sum_, row[known], np.array(column, dtype=np.float64)[known])
    return {
        name: MeasureTotals(count=count, total=total)
        for name, count, total in zip(wanted, sums[::2], sums[1::2], strict=True)
    }


def _outside(scope: TotalsScope) -> list[sa.ColumnElement[bool]]:
    """Conditions for the sessions whose last exchange is in no hour of an outage."""
    spans = () if scope.outage is None else scope.outage.spans
    at = sessions.c.last_at
    return [sa.or_(at < begin, at >= end) for begin, end in spans]


def read_feedback(
    connection: sa.Connection, scope: TotalsScope, places: CellIndex, metrics: Collection[Metric]
) -> Mapping[str, Ratings]:
    """The values of these metrics. A value that belongs to no row is left out."""
    by_session = [metric.name for metric in metrics if metric.per == "session"]
    rest = [metric.name for metric in metrics if metric.per != "session"]
    if connection.dialect.name == "postgresql":
        # Look sessions up by key: the planner would sometimes scan all.
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
    found: dict[str, list[Ratings]] = defaultdict(list)
    join = _Join(connection, scope, places)
    for name, ratings in (
        *_read_exchange_feedback(join, [*rest, *by_session], by_session),
        *_read_other_feedback(join, rest, join.rows),
        *_read_other_feedback(join, by_session, join.sessions),
    ):
        if len(ratings.row):
            found[name].append(ratings)
    together = {name: _together(pieces) for name, pieces in sorted(found.items())}
    outage = scope.outage
    return together if outage is None else {name: outage.outside(each) for name, each in together.items()}


def _together(pieces: Sequence[Ratings]) -> Ratings:
    return Ratings(
        row=np.concatenate([each.row for each in pieces]),
        value=np.concatenate([each.value for each in pieces]),
        at=np.concatenate([each.at for each in pieces]),
        subject=np.concatenate([each.subject for each in pieces if each.subject is not None]),
        asked=np.concatenate(
            [np.full(len(each.row), np.nan) if each.asked is None else each.asked for each in pieces]
        ),
    )


Place: TypeAlias = Callable[[Sequence[str], Sequence[str], Floats], tuple[Ints, Ints]]
"""Finds the rows of values about these sessions and units at these times, −1 without one, and a number for
what each is about, (n,) each."""


def _read_other_feedback(
    join: "_Join", metrics: Collection[str], place: Place
) -> Iterator[tuple[str, Ratings]]:
    """The values of each metric about sessions and units, piece by piece."""
    columns = feedback.c
    own = (columns.canary == join.scope.canary) & (columns.run == join.scope.run)
    statement = sa.select(columns.metric, columns.value, columns.at, columns.session, columns.unit).where(
        columns.metric.in_(metrics), own | (columns.canary == ""), columns.exchange_id == ""
    )
    for metric, value, at, session, unit in stream(join.connection, statement) if metrics else ():
        moment, values = np.array(at, dtype=np.float64), np.array(value, dtype=np.float64)
        (row, subject), names = place(session, unit, moment), np.array(metric, dtype=np.str_)
        for name in np.unique(names).tolist():
            found = Ratings(row=row, value=values, at=moment, subject=subject)
            yield name, found.only((row >= 0) & (names == name))


class _Join:
    """Finds each value's row: its session's, or the one where its unit was last seen."""

    def __init__(self, connection: sa.Connection, scope: TotalsScope, places: CellIndex) -> None:
        self.connection, self.scope, self.places = connection, scope, places

    def rows(self, session: Sequence[str], unit: Sequence[str], at: Floats) -> tuple[Ints, Ints]:
        """As `Place`: each value is about something of its own."""
        rows = self.by_session(session, at)
        rest = np.flatnonzero(rows == -2)
        units = self.places.cells.names.units.known([unit[i] for i in rest.tolist()])
        rows[rest] = self.places.latest(units, at[rest])
        return rows, _numbers(list(zip(session, unit, at.tolist(), strict=True)))

    def sessions(self, session: Sequence[str], unit: Sequence[str], at: Floats) -> tuple[Ints, Ints]:
        """As `Place`: a value about a unit is about the unit's latest session at the time, if it has one."""
        latest = self._latest_sessions(unit, at)
        names = [named or found for named, found in zip(session, latest, strict=True)]
        rows, subject = self.rows(names, unit, at)
        of_session = np.array([bool(name) for name in names], dtype=np.bool_)
        subject[of_session] = _numbers(names)[of_session]
        return rows, subject

    def _latest_sessions(self, unit: Sequence[str], at: Floats) -> Sequence[str]:
        """The session in which each unit was last seen at the time; "" without one."""
        columns, begun = sessions.c, defaultdict[str, list[tuple[float, str]]](list)
        for chunk in _chunks(sorted(set(unit) - {""})):
            found = sa.select(columns.unit, columns.first_at, columns.session).where(
                columns.canary == self.scope.canary,
                columns.run == self.scope.run,
                _among(self.connection, columns.unit, chunk),
            )
            for name, first_at, session in self.connection.execute(found):
                begun[name].append((first_at, session))
        return [
            max((each for each in begun.get(name, ()) if each[0] <= moment), default=(0.0, ""))[1]
            for name, moment in zip(unit, at.tolist(), strict=True)
        ]

    def by_session(self, session: Sequence[str], at: Floats) -> Ints:
        """−1 also for a session that ended in an outage, −2 for a value that names none."""
        columns = sessions.c
        found: dict[str, int] = {"": -2}
        begun: dict[str, float] = {"": -np.inf}
        for chunk in _chunks(sorted(set(session) - {""})):
            result = self.connection.execute(
                sa.select(columns.session, columns.first_at, *self.scope.grouped(columns)).where(
                    columns.canary == self.scope.canary,
                    columns.run == self.scope.run,
                    _among(self.connection, columns.session, chunk),
                    *_outside(self.scope),
                )
            ).all()
            if result:
                name, first, *about = zip(*result, strict=True)
                keys = RowKeys.read(about, self.places.cells.names, new=False)
                found.update(zip(name, self.places.find(keys).tolist(), strict=True))
                begun.update(zip(name, first, strict=True))
        first_at = np.array([begun.get(name, np.inf) for name in session], dtype=np.float64)
        rows = np.array([found.get(name, -1) for name in session], dtype=np.int64)
        return np.where(first_at <= at, rows, -1)


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


def _chunks(names: Sequence[str]) -> Sequence[Sequence[str]]:
    return [names[i : i + _KEYS_AT_ONCE] for i in range(0, len(names), _KEYS_AT_ONCE)]
