"""Writing a batch: outcomes once each, and with what was new the totals of its units and sessions.

One order for every writer (outcomes, feedback, unit_days, sessions; each by its key), so that several agents
shipping into one PostgreSQL wait for each other, and never in a circle.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import Connection, Dialect, LargeBinary, case, cast, func, literal_column
from sqlalchemy.dialects import postgresql, sqlite

from records import tables
from records.outcome import Feedback, Outcome
from records.rows import Row, of_feedback, of_outcome
from records.store import sums
from records.store.postgres_copy_writer import PostgresCopyWriter
from records.store.sqlite_bulk_writer import SqliteBulkWriter

CELL_CAP_BYTES = 16 << 10
"""A cell's `latency` and `ttft` grow no more beyond this: a giant unit must not rewrite megabytes a batch."""

_CAP: Any = literal_column(str(CELL_CAP_BYTES))
_NOTHING: Any = literal_column("''")


class Writing(Protocol):
    """How rows get into one kind of database. Rows have their table's columns; each key stands once."""

    def insert(self, connection: Connection, rows: Sequence[Row]) -> Sequence[int]:
        """Store the rows (of outcomes) that are not there yet; the places of those that were."""
        ...

    def upsert(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Store the rows, or add them to what is there."""
        ...


class Ingest:
    """The statements of one dialect, compiled once."""

    def __init__(self, dialect: Dialect) -> None:
        kind: type[PostgresCopyWriter] | type[SqliteBulkWriter] = (
            PostgresCopyWriter if dialect.name == "postgresql" else SqliteBulkWriter
        )
        self._insert: Any = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        self._outcomes: Writing = kind(
            dialect, tables.outcomes, lambda insert: insert.on_conflict_do_nothing()
        )
        self._unit_days: Writing = kind(dialect, tables.unit_days, _add_to_cell)
        self._sessions: Writing = kind(dialect, tables.sessions, _add_to_session)
        compiled = _newest_wins(self._insert(tables.feedback)).compile(dialect=dialect)
        self._feedback, self._positional = str(compiled), bool(dialect.positional)

    def outcomes(self, connection: Connection, outcomes: Sequence[Outcome]) -> int:
        """Store what is new, and add it up; returns how many that were."""
        unique = {(int(each.at // 86400), each.exchange_id): each for each in outcomes}
        ordered = [unique[key] for key in sorted(unique)]
        known = self._outcomes.insert(connection, [of_outcome(each) for each in ordered])
        for place in sorted(known, reverse=True):
            del ordered[place]
        self.add_up(connection, ordered)
        return len(ordered)

    def add_up(self, connection: Connection, outcomes: Sequence[Outcome]) -> None:
        """Add outcomes to their units' and sessions' totals."""
        self._unit_days.upsert(connection, sums.unit_days(outcomes))
        self._sessions.upsert(connection, sums.sessions(outcomes))

    def feedback(self, connection: Connection, feedback: Sequence[Feedback]) -> int:
        """Store values and corrections, the newest wins; returns how many changed something."""
        if not feedback:
            return 0
        rows = sorted(map(of_feedback, feedback), key=itemgetter(0))
        names = [column.name for column in tables.feedback.columns]
        values: Any = rows if self._positional else [dict(zip(names, row, strict=True)) for row in rows]
        return connection.exec_driver_sql(self._feedback, values).rowcount


def _add_to_cell(insert: Any) -> Any:
    old, new = tables.unit_days.c, insert.excluded
    added = [
        name
        for name in old.keys()  # noqa: SIM118
        if name in ("exchanges", "counted", "failed") or name.endswith(("_n", "_sum"))
    ]
    return insert.on_conflict_do_update(
        index_elements=list(tables.unit_days.primary_key),
        set_={
            **{name: old[name] + new[name] for name in added},
            "share": case((new.last_at >= old.last_at, new.share), else_=old.share),
            "first_at": case((new.first_at < old.first_at, new.first_at), else_=old.first_at),
            "last_at": case((new.last_at > old.last_at, new.last_at), else_=old.last_at),
            "latency": _appended(old.latency, new.latency),
            "ttft": _appended(old.ttft, new.ttft),
        },
    )


def _appended(old: Any, new: Any) -> Any:
    """The longer bytes; SQLite would make text of them."""
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


def _newest_wins(insert: Any) -> Any:
    old, new = tables.feedback.c, insert.excluded
    changed = (new.value != old.value) | (new.comment != old.comment)
    return insert.on_conflict_do_update(
        index_elements=["key"],
        set_={column.name: new[column.name] for column in tables.feedback.c if column.name != "key"},
        where=(new.at > old.at) | ((new.at == old.at) & changed),
    )
