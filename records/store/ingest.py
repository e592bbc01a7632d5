"""Writes a batch: its outcomes as one fresh row, and what they add to the totals.

Every writer uses one order (unit_days, sessions, prior_weeks, failure_days, model_days, served_models,
feedback; each by key), so that several agents that ship into one PostgreSQL cannot deadlock.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Dialect, LargeBinary, Table, case, cast, func, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite

from records.outcome import Feedback, Outcome
from records.store import sums, tables
from records.store.database import driver_of
from records.store.segments.columns import Row, of_feedback, pack


class PostgresCopyWriter:
    """The statements of one table: one COPY into a staging table, then one INSERT from there; `conflicts`
    adds the ON CONFLICT clause to an INSERT.

    The staging table is temporary and emptied by every commit. Callers sort rows by key, so that all writers
    take row locks in one order.
    """

    def __init__(self, dialect: Dialect, table: Table, conflicts: Callable[[Any], Any]) -> None:
        quote = dialect.identifier_preparer.quote
        names = [quote(column.name) for column in table.columns]
        staged = f"staged_{table.name}"
        source: Any = select(*map(literal_column, names)).select_from(text(staged))
        insert = conflicts(postgresql.insert(table).from_select(list(table.columns.keys()), source))
        self._insert = str(insert.compile(dialect=dialect))
        self._stage = (
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged} (LIKE {table.name}) ON COMMIT DELETE ROWS"
        )
        self._copy = f"COPY {staged} ({', '.join(names)}) FROM STDIN"

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert the rows, or merge them into existing rows."""
        if rows:
            self._fill(connection, rows)
            with driver_of(connection).cursor() as cursor:
                cursor.execute(self._insert.encode())

    def _fill(self, connection: Connection, rows: Sequence[Row]) -> None:
        with driver_of(connection).cursor() as cursor:
            cursor.execute(self._stage.encode())
            with cursor.copy(self._copy.encode()) as copy:
                for row in rows:
                    copy.write_row(row)


class SqliteBulkWriter:
    """The statement of one table, prepared once; `conflicts` adds the ON CONFLICT clause to an INSERT."""

    def __init__(self, dialect: Dialect, table: Table, conflicts: Callable[[Any], Any]) -> None:
        self._sql = str(conflicts(sqlite.insert(table)).compile(dialect=dialect))

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert the rows, or merge them into existing rows."""
        if rows:
            connection.exec_driver_sql(self._sql, list(rows))


CELL_CAP_BYTES = 16 << 10
"""Limit of a row's `latency` and `ttft`, so that a huge unit does not rewrite megabytes with every batch."""

_ONE: Any = literal_column("1")
_NEWEST_CAP: Any = literal_column("1000")
"""Characters of `failure_days.newest`: more than its three newest ids can have."""

_CAP: Any = literal_column(str(CELL_CAP_BYTES))
_SPACE: Any = literal_column("' '")
_NOTHING: Any = literal_column("''")

Change = Callable[[Any, Any], Any]
"""A column's new value, from the columns of the old and of the new row."""


def _earliest(name: str) -> Change:
    return lambda old, new: case((new[name] < old[name], new[name]), else_=old[name])


def _latest(name: str) -> Change:
    return lambda old, new: case((new[name] > old[name], new[name]), else_=old[name])


def _of_latest(name: str) -> Change:
    return lambda old, new: case((new.last_at >= old.last_at, new[name]), else_=old[name])


def _appended(name: str) -> Change:
    """Append bytes unless the limit is reached. The cast prevents SQLite from converting them to text."""
    return lambda old, new: case(
        (func.length(old[name]) > _CAP, old[name]), else_=cast(old[name].op("||")(new[name]), LargeBinary)
    )


_TOTALS: Sequence[tuple[Table, Callable[[Sequence[Outcome]], Sequence[Row]], Mapping[str, Change]]] = (
    (
        tables.unit_days,
        sums.unit_days,
        {
            "share": _of_latest("share"),
            "first_at": _earliest("first_at"),
            "last_at": _latest("last_at"),
            "latency": _appended("latency"),
            "ttft": _appended("ttft"),
        },
    ),
    (
        tables.sessions,
        sums.sessions,
        {
            **{name: _of_latest(name) for name in ("unit", "arm", "phase", "category", "tags", "abandoned")},
            "first_at": _earliest("first_at"),
            "last_at": _latest("last_at"),
            "repeats": lambda old, new: old.repeats + new.repeats + func.canary_seen(old.asked, new.asked),
            "asked": lambda old, new: case(
                (new.asked == _NOTHING, old.asked), else_=func.canary_asked(old.asked, new.asked)
            ),
        },
    ),
    (tables.prior_weeks, sums.prior_weeks, {"last_at": _latest("last_at")}),
    (
        tables.failure_days,
        sums.failure_days,
        {
            "newest": lambda old, new: func.substr(
                new.newest.op("||")(_SPACE).op("||")(old.newest), _ONE, _NEWEST_CAP
            )
        },
    ),
    (tables.model_days, sums.model_days, {"first_at": _earliest("first_at")}),
    (tables.served_models, sums.served_models, {"first_at": _earliest("first_at")}),
)
"""The totals in the order in which they are written, with the columns that are no sums."""


def _merge(table: Table, changes: Mapping[str, Change]) -> Callable[[Any], Any]:
    """What makes an INSERT merge a row into an existing one: columns without a change are added up."""
    key = [column.name for column in table.primary_key]
    summed = [column.name for column in table.columns if column.name not in (*key, *changes)]

    def merge(insert: Any) -> Any:
        old, new = table.c, insert.excluded
        added = {name: old[name] + new[name] for name in summed}
        changed = {name: change(old, new) for name, change in changes.items()}
        return insert.on_conflict_do_update(index_elements=key, set_={**added, **changed})

    return merge


class BatchIngest:
    """The statements of one dialect, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        of_postgresql = dialect.name == "postgresql"
        writer = PostgresCopyWriter if of_postgresql else SqliteBulkWriter
        self._totals = {
            table.name: (writer(dialect, table, _merge(table, how)), rows) for table, rows, how in _TOTALS
        }
        compiled = _newest_wins((postgresql if of_postgresql else sqlite).insert(tables.feedback))
        self._feedback, self._positional = str(compiled.compile(dialect=dialect)), bool(dialect.positional)

    def outcomes(self, connection: Connection, outcomes: Sequence[Outcome]) -> None:
        """Store outcomes that are not stored yet, and add them to all totals."""
        if not outcomes:
            return
        at = [outcome.at for outcome in outcomes]
        row = {
            "rows": len(at),
            "first_at": min(at),
            "last_at": max(at),
            "ended_at": max(outcome.ended_at for outcome in outcomes),
            "outcomes": pack(outcomes),
        }
        connection.execute(tables.fresh_outcomes.insert().values(**row))
        for writer, rows_of in self._totals.values():
            writer.upsert(connection, rows_of(outcomes))

    def feedback(self, connection: Connection, feedback: Sequence[Feedback]) -> int:
        """Store values and corrections, newest wins, and return how many changed a row."""
        if not feedback:
            return 0
        rows = sorted(map(of_feedback, feedback), key=itemgetter(0))
        names = [column.name for column in tables.feedback.columns]
        values: Any = rows if self._positional else [dict(zip(names, row, strict=True)) for row in rows]
        return connection.exec_driver_sql(self._feedback, values).rowcount


def _newest_wins(insert: Any) -> Any:
    old, new = tables.feedback.c, insert.excluded
    changed = (new.value != old.value) | (new.comment != old.comment)
    return insert.on_conflict_do_update(
        index_elements=["key"],
        set_={column.name: new[column.name] for column in tables.feedback.c if column.name != "key"},
        where=(new.at > old.at) | ((new.at == old.at) & changed),
    )
