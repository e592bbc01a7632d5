"""The store: outcomes, feedback, states, audit and rubrics in one database, by SQLAlchemy Core.

Every write is one transaction; what may be replayed is idempotent. StoreDown when there is no answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, create_engine, event, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from records import rows, tables
from records.errors import StoreDown, Unstorable
from records.outcome import Feedback, Outcome
from records.spool_reader import Batch
from routing.plan import State

BUSY_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Shipped:
    """What a batch added. `duplicates` were there already; a newer value of a feedback key is none."""

    inserted: int
    duplicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts since the store was made. accepted = stored + dropped, and what still waits in the spool."""

    accepted: int = 0
    stored: int = 0
    dropped: int = 0
    quarantined: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Versioned:
    """A state and its version, which a swap must name."""

    version: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who did what, when (UTC seconds) and why: what the audit log keeps of a change."""

    at: float
    action: str
    who: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """One entry of the audit log. `before` is None for a canary's first state."""

    id: int
    canary: str
    act: Act
    before: State | None
    after: State


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRubric:
    """The rubric as it stood when the canary started. `fixed_at` is UTC seconds."""

    sha256: str
    document: Mapping[str, Any]
    fixed_at: float


class Store:
    """One database. Safe for several threads; every method may raise StoreDown."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._insert = insert
        self._outcomes = rows.Writer(engine.dialect, insert(tables.outcomes).on_conflict_do_nothing())
        self._feedback = rows.Writer(engine.dialect, _newest_wins(insert(tables.feedback)))

    @classmethod
    def open(cls, url: str, data: Path) -> "Store":
        """Connect, and create what is missing of the schema. A relative SQLite file lies in `data`."""
        engine = _engine(url, data)
        with _answering():
            tables.metadata.create_all(engine)
        return cls(engine)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def ship(self, batch: Batch) -> Shipped:
        """Store a batch and move its cursors, in one transaction. What was shipped before counts no more.

        Raises Unstorable when the database answers but refuses a value.
        """
        outcomes, feedback = [], []
        for record in batch.records():
            if type(record) is Outcome:
                outcomes.append(rows.of_outcome(record))
            elif type(record) is Feedback:
                feedback.append(rows.of_feedback(record))
        with self._begin() as connection:
            inserted = self._outcomes.write(connection, outcomes) + self._feedback.write(connection, feedback)
            self._move(connection, batch.cursors)
            self._add(
                connection,
                accepted=inserted + batch.dropped,
                stored=inserted,
                dropped=batch.dropped,
                quarantined=batch.quarantined,
                lost=sum(death.lost for death in batch.deaths),
            )
        return Shipped(inserted, len(outcomes) + len(feedback) - inserted)

    def cursors(self) -> dict[str, int]:
        """Where the shipping stands, by file."""
        with self._begin() as connection:
            return {row.file: row.offset for row in connection.execute(select(tables.cursors))}

    def forget(self, files: Sequence[str]) -> None:
        """These spool files are deleted: drop their cursors."""
        with self._begin() as connection:
            connection.execute(sql_delete(tables.cursors).where(tables.cursors.c.file.in_(files)))

    def totals(self) -> Totals:
        """The counts that `ship` keeps."""
        with self._begin() as connection:
            return Totals(**{row.name: row.value for row in connection.execute(select(tables.totals))})

    def swap(self, canary: str, expected_version: int, state: State, act: Act | None) -> bool:
        """Replace a state if it still has the version that was read (0: none yet), and log the act.

        False, with nothing changed, when somebody else was faster. Without an act (the ramp's clock running)
        nothing is logged.
        """
        before = self.states().get(canary)
        with self._begin() as connection:
            if not self._replace(connection, canary, expected_version, asdict(state)):
                return False
            if act is not None:
                old = {} if before is None else asdict(before.state)
                entry = {**asdict(act), "canary": canary, "before": old, "after": asdict(state)}
                connection.execute(tables.audit.insert().values(**entry))
        return True

    def states(self) -> dict[str, Versioned]:
        """Every canary's state."""
        with self._begin() as connection:
            found = connection.execute(select(tables.states)).all()
        return {row.canary: Versioned(row.version, msgspec.convert(row.document, State)) for row in found}

    def audit(self, limit: int = 100) -> list[Audited]:
        """The newest entries of the audit log, newest first."""
        query = select(tables.audit).order_by(tables.audit.c.id.desc()).limit(limit)
        with self._begin() as connection:
            return [_audited(row) for row in connection.execute(query)]

    def recent(self, canary: str, limit: int = 100) -> list[dict[str, Any]]:
        """The canary's newest outcomes as the table's columns, newest first."""
        table = tables.outcomes
        query = select(table).where(table.c.canary == canary).order_by(table.c.at.desc()).limit(limit)
        with self._begin() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def expire(self, before: float) -> int:
        """Delete outcomes and feedback from before this UTC second; how many."""
        gone = 0
        with self._begin() as connection:
            for table in (tables.outcomes, tables.feedback):
                gone += connection.execute(sql_delete(table).where(table.c.at < before)).rowcount
        return gone

    def fix_rubric(self, canary: str, rubric: FixedRubric) -> FixedRubric:
        """Keep the rubric unless one is kept already; returns the one that is."""
        entry = {"canary": canary, **asdict(rubric)}
        with self._begin() as connection:
            connection.execute(self._insert(tables.rubrics).values(**entry).on_conflict_do_nothing())
        kept = self.rubric(canary)
        if kept is None:
            raise StoreDown("a rubric was stored and is not there: check the database")
        return kept

    def rubric(self, canary: str) -> FixedRubric | None:
        """The rubric that was fixed for this canary."""
        query = select(tables.rubrics).where(tables.rubrics.c.canary == canary)
        with self._begin() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return FixedRubric(sha256=row.sha256, document=row.document, fixed_at=row.fixed_at)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for queries over `records.tables`."""
        with self._begin() as connection:
            yield connection

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with _answering(), self._engine.begin() as connection:
            yield connection

    def _replace(self, connection: Connection, canary: str, expected: int, document: dict[str, Any]) -> bool:
        table, values = tables.states, {"version": expected + 1, "document": document}
        if expected == 0:
            statement = self._insert(table).values(canary=canary, **values).on_conflict_do_nothing()
            return connection.execution_options(preserve_rowcount=True).execute(statement).rowcount == 1
        same = (table.c.canary == canary) & (table.c.version == expected)
        return connection.execute(update(table).where(same).values(**values)).rowcount == 1

    def _move(self, connection: Connection, cursors: Mapping[str, int]) -> None:
        statement = self._insert(tables.cursors)
        statement = statement.on_conflict_do_update(
            index_elements=["file"], set_={"offset": statement.excluded.offset}
        )
        if cursors:
            moved = [{"file": name, "offset": offset} for name, offset in cursors.items()]
            connection.execute(statement, moved)

    def _add(self, connection: Connection, **counts: int) -> None:
        statement = self._insert(tables.totals)
        added = tables.totals.c.value + statement.excluded.value
        statement = statement.on_conflict_do_update(index_elements=["name"], set_={"value": added})
        connection.execute(statement, [{"name": name, "value": count} for name, count in counts.items()])


def _newest_wins(statement: Any) -> Any:
    old, new = tables.feedback.c, statement.excluded
    changed = (new.value != old.value) | (new.comment != old.comment)
    return statement.on_conflict_do_update(
        index_elements=["key"],
        set_={column.name: new[column.name] for column in tables.feedback.c if column.name != "key"},
        where=(new.at > old.at) | ((new.at == old.at) & changed),
    )


def _audited(row: Row[Any]) -> Audited:
    return Audited(
        id=row.id,
        canary=row.canary,
        act=Act(at=row.at, action=row.action, who=row.who, reason=row.reason),
        before=msgspec.convert(row.before, State) if row.before else None,
        after=msgspec.convert(row.after, State),
    )


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except (DataError, IntegrityError, OverflowError) as exc:
        raise Unstorable(f"the database refuses a value: {exc}") from exc
    except DBAPIError as exc:
        raise StoreDown(f"the database does not answer: {exc.orig}") from exc


def _engine(url: str, data: Path) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed)
    if parsed.database and parsed.database != ":memory:":
        parsed = parsed.set(database=str(data / parsed.database))
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})
    event.listen(engine, "connect", _set_up_sqlite)
    return engine


def _set_up_sqlite(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", f"busy_timeout={int(BUSY_TIMEOUT_S * 1000)}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()
