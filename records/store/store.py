"""One database behind one class, by SQLAlchemy Core: every write is one transaction, what may be replayed is
idempotent.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, func, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.dialects import postgresql, sqlite

from records import tables
from records.errors import StoreDown, Unstorable
from records.outcome import Feedback, Outcome
from records.spool_reader import Batch
from records.store import retention, rollbacks
from records.store.database import PATIENCE, Patience, engine_of, transaction
from records.store.days import Days
from records.store.facts import Act, Audited, FixedRubric, RecordTotals, Shipped, Versioned
from records.store.ingest import Ingest
from records.store.migrate import migrate
from routing.plan import State


def _breathe() -> None:
    time.sleep(0.05)


class Store:
    """One database. Safe for several threads; every method may raise StoreDown.

    Nothing is asked of the database before the first call: it may be down then, and come up later. The first
    answer brings its schema up to date (`migrate`).
    """

    def __init__(self, engine: Engine, patience: Patience = PATIENCE) -> None:
        self._engine = engine
        self._patience = patience
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert
        self._ingest = Ingest(engine.dialect)
        self._days = Days(engine)
        self._migrating = threading.Lock()
        self._migrated = False

    @classmethod
    def at(cls, url: str, data: Path, patience: Patience = PATIENCE) -> "Store":
        """The store at this URL, which may not answer yet. A relative SQLite file lies in `data`."""
        return cls(engine_of(url, data), patience)

    @classmethod
    def open(cls, url: str, data: Path) -> "Store":
        """The store at this URL, which must answer now."""
        store = cls.at(url, data)
        try:
            store.migrate()
        except BaseException:
            store.close()
            raise
        return store

    @property
    def one_spool(self) -> bool:
        """True for SQLite, which one machine writes."""
        return self._engine.dialect.name == "sqlite"

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def migrate(self) -> None:
        """Bring the schema up to date, once. Every other method begins with this."""
        if self._migrated:
            return
        with self._migrating:
            if not self._migrated:
                migrate(self._engine)
                self._migrated = True

    def ship(self, batch: Batch, spool: str = "") -> Shipped:
        """Store a batch and move its cursors, in one transaction. What was shipped before counts no more.

        Raises Unstorable when the database answers but refuses a value.
        """
        outcomes = [record for record in batch.records() if type(record) is Outcome]
        feedback = [record for record in batch.records() if type(record) is Feedback]
        days = {int(each.at // 86400) for each in outcomes}
        self.migrate()
        self._days.need(days)
        try:
            return self._ship(batch, spool, outcomes, feedback)
        except Unstorable:
            if not self._days.need(days, look=True):
                raise
            return self._ship(batch, spool, outcomes, feedback)

    def _ship(
        self, batch: Batch, spool: str, outcomes: Sequence[Outcome], feedback: Sequence[Feedback]
    ) -> Shipped:
        with self._begin(within_s=self._patience.batch_s, writes=True) as connection:
            # A commit whose answer got lost is tried again: had it come through, the cursors tell.
            if self._has_moved(connection, spool, batch.cursors):
                return Shipped(0, len(outcomes) + len(feedback), _totals(connection, spool))
            inserted = self._ingest.outcomes(connection, outcomes)
            inserted += self._ingest.feedback(connection, feedback)
            self._move(connection, spool, batch.cursors)
            self._count(connection, spool, batch, inserted)
            totals = _totals(connection, spool)
        return Shipped(inserted, len(outcomes) + len(feedback) - inserted, totals)

    def adopt(self, spool: str) -> None:
        """Version 0.1 kept one spool, without a name: what it left is this one's."""
        with self._begin(writes=True) as connection:
            for table in (tables.cursors, tables.totals):
                connection.execute(update(table).where(table.c.spool == "").values(spool=spool))

    def cursors(self, spool: str = "") -> dict[str, int]:
        """Where the spool's shipping stands, by file."""
        table = tables.cursors
        with self._begin() as connection:
            found = connection.execute(select(table).where(table.c.spool == spool))
            return {row.file: row.offset for row in found}

    def forget(self, files: Sequence[str], spool: str = "") -> None:
        """These files of the spool are deleted: drop their cursors."""
        table = tables.cursors.c
        with self._begin(writes=True) as connection:
            connection.execute(sql_delete(tables.cursors).where(table.spool == spool, table.file.in_(files)))

    def totals(self, spool: str | None = None) -> RecordTotals:
        """The counts that `ship` keeps of one spool, or of all together."""
        with self._begin() as connection:
            return _totals(connection, spool)

    def swap(
        self,
        canary: str,
        expected_version: int,
        state: State,
        act: Act | None,
        why: Mapping[str, Any] | None = None,
    ) -> bool:
        """Replace a state if it still has the version that was read (0: none yet), and log the act; with a
        rollback, keep `why`.

        False, with nothing changed, when somebody else was faster. Without an act (the ramp's clock running)
        nothing is logged.
        """
        with self._begin(writes=True) as connection:
            before = _states(connection).get(canary)
            if not self._replace(connection, canary, expected_version, asdict(state)):
                return False
            if act is not None:
                old = {} if before is None else asdict(before.state)
                entry = {**asdict(act), "canary": canary, "before": old, "after": asdict(state)}
                connection.execute(tables.audit.insert().values(**entry))
                if why is not None:
                    rollbacks.keep(connection, canary, act.at, old, asdict(state), why)
        return True

    def states(self) -> dict[str, Versioned]:
        """Every canary's state."""
        with self._begin() as connection:
            return _states(connection)

    def audit(self, limit: int = 100) -> list[Audited]:
        """The newest entries of the audit log, newest first."""
        query = select(tables.audit).order_by(tables.audit.c.id.desc()).limit(limit)
        with self._begin() as connection:
            return [audited(row) for row in connection.execute(query)]

    def expire(self, before: float, breathe: Callable[[], object] = _breathe) -> int:
        """Delete what is from before this UTC second; how many outcomes and feedback values that were.

        SQLite: little by little, with `breathe` between, so that nobody waits long to write. PostgreSQL: by
        dropping the partitions of days that are over as a whole.
        """
        self.migrate()
        begin = partial(self._begin, within_s=self._patience.report_s, writes=True)
        gone = retention.expire(begin, before, breathe, outcomes=self.one_spool)
        return gone + (0 if self.one_spool else self._days.drop_before(int(before // 86400)))

    def fix_rubric(self, canary: str, rubric: FixedRubric) -> FixedRubric:
        """Keep the rubric unless one is kept already; returns the one that is."""
        entry = {"canary": canary, **asdict(rubric)}
        with self._begin(writes=True) as connection:
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
    def asking(self) -> Iterator[Connection]:
        """A connection for a small question over `records.tables`: who asks waits some seconds at most."""
        with self._begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for a report's queries over `records.tables`, which see one moment of the database."""
        self.migrate()
        limit_s = self._patience.report_s
        with transaction(self._engine, within_s=limit_s, one_moment=True) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction for changes over `records.tables`."""
        with self._begin(writes=True) as connection:
            yield connection

    @contextmanager
    def _begin(self, *, within_s: float | None = None, writes: bool = False) -> Iterator[Connection]:
        self.migrate()
        limit_s = self._patience.answer_s if within_s is None else within_s
        with transaction(self._engine, within_s=limit_s, writes=writes) as connection:
            yield connection

    def _replace(self, connection: Connection, canary: str, expected: int, document: dict[str, Any]) -> bool:
        table, values = tables.states, {"version": expected + 1, "document": document}
        if expected == 0:
            statement = self._insert(table).values(canary=canary, **values).on_conflict_do_nothing()
            return connection.execution_options(preserve_rowcount=True).execute(statement).rowcount == 1
        same = (table.c.canary == canary) & (table.c.version == expected)
        return connection.execute(update(table).where(same).values(**values)).rowcount == 1

    def _has_moved(self, connection: Connection, spool: str, cursors: Mapping[str, int]) -> bool:
        if not cursors:
            return False
        table = tables.cursors.c
        found = connection.execute(
            select(table.file, table.offset).where(table.spool == spool, table.file.in_(cursors))
        )
        return {row.file: row.offset for row in found} == cursors

    def _move(self, connection: Connection, spool: str, cursors: Mapping[str, int]) -> None:
        statement = self._insert(tables.cursors)
        new = statement.excluded
        statement = statement.on_conflict_do_update(
            index_elements=["spool", "file"], set_={"offset": new.offset, "moved_at": new.moved_at}
        )
        if cursors:
            now = time.time()
            connection.execute(
                statement,
                [
                    {"spool": spool, "file": name, "offset": offset, "moved_at": now}
                    for name, offset in sorted(cursors.items())
                ],
            )

    def _count(self, connection: Connection, spool: str, batch: Batch, inserted: int) -> None:
        counts = {
            "accepted": inserted + batch.dropped,
            "dropped": batch.dropped,
            "lost": sum(death.lost for death in batch.deaths),
            "quarantined": batch.quarantined,
            "stored": inserted,
        }
        statement = self._insert(tables.totals)
        added = tables.totals.c.value + statement.excluded.value
        statement = statement.on_conflict_do_update(index_elements=["spool", "name"], set_={"value": added})
        connection.execute(
            statement, [{"spool": spool, "name": name, "value": count} for name, count in counts.items()]
        )


def _totals(connection: Connection, spool: str | None) -> RecordTotals:
    table = tables.totals.c
    query = select(table.name, func.sum(table.value).label("value")).group_by(table.name)
    found = connection.execute(query if spool is None else query.where(table.spool == spool))
    return RecordTotals(**{row.name: int(row.value) for row in found})


def _states(connection: Connection) -> dict[str, Versioned]:
    found = connection.execute(select(tables.states)).all()
    return {row.canary: Versioned(row.version, msgspec.convert(row.document, State)) for row in found}


def audited(row: Row[Any]) -> Audited:
    """An entry of the audit log, of a row of its table."""
    return Audited(
        id=row.id,
        canary=row.canary,
        act=Act(at=row.at, action=row.action, who=row.who, reason=row.reason),
        before=msgspec.convert(row.before, State) if row.before else None,
        after=msgspec.convert(row.after, State),
    )
