"""Writes a batch: its outcomes as one fresh row, and what they add to the totals.

Every writer uses one order (unit_days, sessions, prior_weeks, failure_days, model_days, feedback; each by
key), so that several agents that ship into one PostgreSQL cannot deadlock.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Connection, Dialect, LargeBinary, Table, case, cast, func, literal_column, select, text
from sqlalchemy.dialects import postgresql, sqlite

from records.facts.feedback import BY_ID, MOST_VOICES
from records.outcome import Feedback, Outcome
from records.store import sums, tables
from records.store.database import driver_of
from records.store.segments.columns import Row, of_feedback, pack
from records.store.sums import prior_weeks

# Bulk writes to PostgreSQL: one COPY into a staging table, then one INSERT from there.


class PostgresCopyWriter:
    """The statements of one table; `conflicts` adds the ON CONFLICT clause to an INSERT.

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


# Bulk writes to SQLite: row by row with one prepared statement.


class SqliteBulkWriter:
    """The statement of one table; `conflicts` adds the ON CONFLICT clause to an INSERT."""

    def __init__(self, dialect: Dialect, table: Table, conflicts: Callable[[Any], Any]) -> None:
        self._sql = str(conflicts(sqlite.insert(table)).compile(dialect=dialect))

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert the rows, or merge them into existing rows."""
        if rows:
            connection.exec_driver_sql(self._sql, list(rows))


CELL_CAP_BYTES = 16 << 10
"""Limit of a row's `latency` and `ttft`, so that a huge unit does not rewrite megabytes with every batch."""

_NOT_ADDED = frozenset({"share", "first_at", "last_at", "latency", "ttft"})
"""The columns of `unit_days` that are no sums. Its key columns are none either."""

_ONE: Any = literal_column("1")
_NEWEST_CAP: Any = literal_column("1000")
"""Characters of `failure_days.newest`: more than its three newest ids can have."""

_CAP: Any = literal_column(str(CELL_CAP_BYTES))
_SPACE: Any = literal_column("' '")
_NOTHING: Any = literal_column("''")


class RowWriter(Protocol):
    """Writes rows of one table to one kind of database. A row has all columns; keys are unique per call."""

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Insert the rows, or merge them into existing rows."""
        ...


class Ingest:
    """The statements of one dialect, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        kind: type[PostgresCopyWriter] | type[SqliteBulkWriter] = (
            PostgresCopyWriter if dialect.name == "postgresql" else SqliteBulkWriter
        )
        self._insert: Any = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        self._unit_days: RowWriter = kind(dialect, tables.unit_days, _add_to_unit_day)
        self._sessions: RowWriter = kind(dialect, tables.sessions, _add_to_session)
        self._prior_weeks: RowWriter = kind(dialect, tables.prior_weeks, _add_to_prior_week)
        self._failure_days: RowWriter = kind(dialect, tables.failure_days, _add_to_failure_day)
        self._model_days: RowWriter = kind(dialect, tables.model_days, _add_to_model_day)
        compiled = _newest_wins(self._insert(tables.feedback)).compile(dialect=dialect)
        self._feedback, self._positional = str(compiled), bool(dialect.positional)

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
        self._unit_days.upsert(connection, sums.unit_days(outcomes))
        self._sessions.upsert(connection, sums.sessions(outcomes))
        self._prior_weeks.upsert(connection, prior_weeks(outcomes))
        self._failure_days.upsert(connection, sums.failure_days(outcomes))
        self._model_days.upsert(connection, sums.model_days(outcomes))

    def feedback(self, connection: Connection, feedback: Sequence[Feedback]) -> int:
        """Store values and corrections, newest wins, and return how many changed a row."""
        feedback = _within_voices(connection, feedback)
        if not feedback:
            return 0
        rows = sorted(map(of_feedback, feedback), key=itemgetter(0))
        names = [column.name for column in tables.feedback.columns]
        values: Any = rows if self._positional else [dict(zip(names, row, strict=True)) for row in rows]
        return connection.exec_driver_sql(self._feedback, values).rowcount


def _add_to_unit_day(insert: Any) -> Any:
    old, new = tables.unit_days.c, insert.excluded
    return insert.on_conflict_do_update(
        index_elements=list(tables.unit_days.primary_key),
        set_={
            **_added(insert, tables.unit_days, _NOT_ADDED),
            "share": case((new.last_at >= old.last_at, new.share), else_=old.share),
            "first_at": case((new.first_at < old.first_at, new.first_at), else_=old.first_at),
            "last_at": case((new.last_at > old.last_at, new.last_at), else_=old.last_at),
            "latency": _appended(old.latency, new.latency),
            "ttft": _appended(old.ttft, new.ttft),
        },
    )


def _added(insert: Any, table: Table, kept: frozenset[str]) -> dict[str, Any]:
    """The sums of the old and the new value of all columns but the keys and the `kept` ones."""
    names = {column.name for column in table.columns} - {column.name for column in table.primary_key} - kept
    return {name: table.c[name] + insert.excluded[name] for name in sorted(names)}


def _appended(old: Any, new: Any) -> Any:
    """Append bytes unless the limit is reached. The cast prevents SQLite from converting them to text."""
    return case((func.length(old) > _CAP, old), else_=cast(old.op("||")(new), LargeBinary))


def _add_to_session(insert: Any) -> Any:
    old, new = tables.sessions.c, insert.excluded
    latest = new.last_at >= old.last_at
    named = ("unit", "arm", "phase", "category", "tags")
    return insert.on_conflict_do_update(
        index_elements=list(tables.sessions.primary_key),
        set_={
            **{name: case((latest, new[name]), else_=old[name]) for name in named},
            "first_at": case((new.first_at < old.first_at, new.first_at), else_=old.first_at),
            "last_at": case((latest, new.last_at), else_=old.last_at),
            "exchanges": old.exchanges + new.exchanges,
            "repeats": old.repeats + new.repeats + func.canary_seen(old.asked, new.asked),
            "asked": case((new.asked == _NOTHING, old.asked), else_=func.canary_asked(old.asked, new.asked)),
        },
    )


def _add_to_prior_week(insert: Any) -> Any:
    old, new = tables.prior_weeks.c, insert.excluded
    return insert.on_conflict_do_update(
        index_elements=list(tables.prior_weeks.primary_key),
        set_={
            **_added(insert, tables.prior_weeks, frozenset({"last_at"})),
            "last_at": case((new.last_at > old.last_at, new.last_at), else_=old.last_at),
        },
    )


def _add_to_failure_day(insert: Any) -> Any:
    old, new = tables.failure_days.c, insert.excluded
    both = new.newest.op("||")(_SPACE).op("||")(old.newest)
    return insert.on_conflict_do_update(
        index_elements=list(tables.failure_days.primary_key),
        set_={"exchanges": old.exchanges + new.exchanges, "newest": func.substr(both, _ONE, _NEWEST_CAP)},
    )


def _add_to_model_day(insert: Any) -> Any:
    old, new = tables.model_days.c, insert.excluded
    return insert.on_conflict_do_update(
        index_elements=list(tables.model_days.primary_key),
        set_={
            **_added(insert, tables.model_days, frozenset({"first_at"})),
            "first_at": case((new.first_at < old.first_at, new.first_at), else_=old.first_at),
        },
    )


def _newest_wins(insert: Any) -> Any:
    old, new = tables.feedback.c, insert.excluded
    changed = (new.value != old.value) | (new.comment != old.comment)
    return insert.on_conflict_do_update(
        index_elements=["key"],
        set_={column.name: new[column.name] for column in tables.feedback.c if column.name != "key"},
        where=(new.at > old.at) | ((new.at == old.at) & changed),
    )


def _within_voices(connection: Connection, feedback: Sequence[Feedback]) -> Sequence[Feedback]:
    """The feedback without further ids of subjects that have MOST_VOICES for the metric. Each worker refuses
    what it counts itself; this is for what several took."""
    voices: dict[tuple[str, str], set[str]] = {}
    kept: list[Feedback] = []
    for each in feedback:
        beginning = (each.exchange_id or each.session or each.unit) + BY_ID
        if each.key.startswith(beginning):
            mine = voices.get((beginning, each.metric))
            if mine is None:
                mine = voices[beginning, each.metric] = _voices(connection, beginning, each.metric)
            if each.key not in mine and len(mine) >= MOST_VOICES:
                continue
            mine.add(each.key)
        kept.append(each)
    return kept


def _voices(connection: Connection, beginning: str, metric: str) -> set[str]:
    """The stored keys that begin so, which the primary key's index finds."""
    stored = tables.feedback.c
    after = beginning[:-1] + chr(ord(beginning[-1]) + 1)
    mine = (stored.key >= beginning) & (stored.key < after) & (stored.metric == metric)
    return set(connection.execute(select(stored.key).where(mine)).scalars())
