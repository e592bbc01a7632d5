"""The database behind one class (SQLAlchemy Core). Each write is one transaction; replays are idempotent."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, Table, func, select, update
from sqlalchemy import delete as sql_delete

from records.errors import StoreDown, Unstorable
from records.facts.standing import Withdrawal
from records.outcome import Feedback, Outcome
from records.shared.segment_folder import FOLDER, OUTCOMES, SegmentFolder
from records.spool.reader import SpoolBatch
from records.store import retention, tables
from records.store.baselines import follow
from records.store.database import TIMEOUTS, StoreTimeouts, alone, engine_of, insert, insert_new, transaction
from records.store.ingest import BatchIngest
from records.store.migrate import migrate
from records.store.retention import DailyPartitions
from routing.states import State, StateName


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolCounts:
    """Counts of the records of one spool, or of all spools."""

    accepted: int = 0
    stored: int = 0
    dropped: int = 0
    quarantined: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class VersionedState:
    """A state and its version, which `Store.swap` compares."""

    version: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who did what, when (UTC seconds) and why, for the audit log; `minutes`: how long it took them, in which
    `stage` of the release. `against`: the verdict against which somebody promotes, "" for none."""

    at: float
    action: str
    who: str
    reason: str
    minutes: float | None = None
    stage: str = ""
    against: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One entry of the audit log. `before` is None for a canary's first state."""

    id: int
    canary: str
    act: Act
    before: State | None
    after: State


FINAL: tuple[StateName, ...] = ("rolled_back", "promoted")
"""The states that the end of a canary does not replace."""


def became(entries: Iterable[AuditEntry]) -> tuple[StateName, AuditEntry | None]:
    """What became of a run, by its entries, oldest first, and the entry that brought it.

    What was promoted or rolled back stays so when the canary ends. A rollback counts after that end, too: a
    standing canary is reverted when the trial of its baseline has left.
    """
    found: StateName = "running"
    brought: AuditEntry | None = None
    for each in entries:
        state = "rolled_back" if each.act.action == "rollback" else each.after.state
        if state != found and (state != "ended" or found not in FINAL):
            found, brought = state, each
    return found, brought


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedRubric:
    """The rubric fixed when the canary started. `fixed_at` is UTC seconds."""

    sha256: str
    document: Mapping[str, Any]
    fixed_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRollback:
    """One rollback at UTC seconds: the states before and after, and the reason as a JSON document."""

    canary: str
    at: float
    before: State
    after: State
    why: Mapping[str, Any]


T = TypeVar("T")


def _breathe() -> None:
    time.sleep(0.05)


class Store:
    """One database. Thread-safe; every method may raise StoreDown.

    The store connects on the first call, so the database may be down at construction. The first call also
    upgrades the schema (`migrate`).
    """

    def __init__(
        self, engine: Engine, timeouts: StoreTimeouts = TIMEOUTS, folder: SegmentFolder | None = None
    ) -> None:
        """`folder` has the segments of outcomes; None: the database."""
        self._engine = engine.execution_options(**{FOLDER: folder})
        self.folder = folder
        self._timeouts = timeouts
        self.ingest = BatchIngest(engine.dialect)
        self._days = DailyPartitions(engine)
        self._migrating = threading.Lock()
        self._migrated = False

    @classmethod
    def at(
        cls, url: str, data: Path, timeouts: StoreTimeouts = TIMEOUTS, *, outcomes: str = OUTCOMES
    ) -> "Store":
        """Create the store for this URL without connecting. A relative SQLite path is relative to `data`, and
        so is `outcomes`, the folder of their segments."""
        return cls(engine_of(url, data), timeouts, SegmentFolder.at(outcomes, data))

    @classmethod
    def open(cls, url: str, data: Path, *, outcomes: str = OUTCOMES) -> "Store":
        """Create the store for this URL and connect. Raises StoreDown when the database does not answer."""
        store = cls.at(url, data, outcomes=outcomes)
        try:
            store.migrate()
        except BaseException:
            store.close()
            raise
        return store

    @property
    def one_spool(self) -> bool:
        """True for SQLite, which only one machine writes."""
        return self._engine.dialect.name == "sqlite"

    def is_gone(self) -> bool:
        """True once the SQLite file was deleted: what is stored then ends with this process."""
        file = self._engine.url.database if self.one_spool and self._migrated else None
        return file is not None and not Path(file).exists()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def migrate(self) -> None:
        """Upgrade the schema once. Every other method calls this first."""
        if self._migrated:
            return
        with self._migrating:
            if not self._migrated:
                migrate(self._engine)
                self._migrated = True

    def ship(self, batch: SpoolBatch, spool: str = "") -> SpoolCounts:
        """Store a batch and advance its cursors in one transaction; return the spool's new totals. A repeated
        batch, known by its cursors, changes nothing.

        Raises Unstorable when the database answers but refuses a value.
        """
        outcomes, feedback = _kinds(batch)
        return self._on_days(outcomes, partial(self._ship, batch, spool, outcomes, feedback))

    def refuses(self, batch: SpoolBatch) -> bool:
        """True if the database refuses a value of the batch. Stores nothing."""
        outcomes, feedback = _kinds(batch)
        try:
            self._on_days(outcomes, partial(self._try, outcomes, feedback))
        except Unstorable:
            return True
        return False

    def _on_days(self, outcomes: Sequence[Outcome], act: Callable[[], T]) -> T:
        """Act once the days of these outcomes have their partitions."""
        days = {int(outcome.at // 86400) for outcome in outcomes}
        self.migrate()
        self._days.need(days)
        try:
            return act()
        except Unstorable:
            if not self._days.need(days, look=True):
                raise
            return act()

    def _try(self, outcomes: Sequence[Outcome], feedback: Sequence[Feedback]) -> None:
        with self.asking(within_s=self._timeouts.batch_s, writes=True) as connection:
            self.ingest.outcomes(connection, outcomes)
            self.ingest.feedback(connection, feedback)
            connection.rollback()

    def _ship(
        self, batch: SpoolBatch, spool: str, outcomes: Sequence[Outcome], feedback: Sequence[Feedback]
    ) -> SpoolCounts:
        with self.asking(within_s=self._timeouts.batch_s, writes=True) as connection:
            # A commit whose answer was lost is repeated; the cursors show whether it had succeeded.
            if not self._has_moved(connection, spool, batch.cursors):
                self.ingest.outcomes(connection, outcomes)
                inserted = len(outcomes) + self.ingest.feedback(connection, feedback)
                self._move(connection, spool, batch.cursors)
                self._count(connection, spool, batch, inserted)
            return _totals(connection, spool)

    def cursors(self, spool: str = "") -> dict[str, int]:
        """Return the spool's cursors by file."""
        table = tables.cursors
        with self.asking() as connection:
            found = connection.execute(select(table).where(table.c.spool == spool))
            return {row.file: row.offset for row in found}

    def forget(self, files: Sequence[str], spool: str = "") -> None:
        """Delete the cursors of deleted spool files."""
        table = tables.cursors.c
        with self.asking(writes=True) as connection:
            connection.execute(sql_delete(tables.cursors).where(table.spool == spool, table.file.in_(files)))

    def totals(self, spool: str | None = None) -> SpoolCounts:
        """Return the counts of one spool, or of all spools together."""
        with self.asking() as connection:
            return _totals(connection, spool)

    def swap(
        self,
        canary: str,
        expected_version: int,
        state: State,
        act: Act | None,
        why: Mapping[str, Any] | None = None,
    ) -> bool:
        """Replace a state if its version is still `expected_version` (0: no state yet), and log `act`.

        False, with nothing changed, when the version differs. Without `act`, for ticks of the ramp's clock,
        nothing is logged. `why` is the reason of a rollback. What it makes of a standing canary's baseline is
        stored in the same transaction.
        """
        with self.asking(writes=True) as connection:
            before = states_in(connection).get(canary)
            if not replace_state(connection, canary, expected_version, state):
                return False
            if act is not None:
                old_state = before.state if before is not None else None
                ordered = Withdrawal(at=act.at, who=act.who, reason=act.reason)
                if not follow(connection, canary, old_state, state, ordered):
                    connection.rollback()
                    return False
                old, new = {} if before is None else before.state.document, state.document
                log_act(connection, canary, act, old, new)
                if why is not None:  # a run has at most one rollback, which is never deleted
                    row = {"canary": canary, "run": state.run, "at": act.at, "before": old, "after": new}
                    connection.execute(tables.rollbacks.insert().values(**row, why=why))
        return True

    def skip_versions(self, canary: str, expected_version: int, count: int) -> bool:
        """Raise a state's version by `count`, and change nothing else. False when its version differs."""
        row = tables.states.c
        same = (row.canary == canary) & (row.version == expected_version)
        with self.asking(writes=True) as connection:
            raised = update(tables.states).where(same).values(version=expected_version + count)
            return connection.execute(raised).rowcount == 1

    def states(self) -> dict[str, VersionedState]:
        """Return the state of every canary."""
        with self.asking() as connection:
            return states_in(connection)

    def candidate_users(self, canary: str, run: int, since: int) -> int:
        """How many of the candidate's users have had an outcome in this run since this phase began."""
        days = tables.unit_days.c
        of_step = (days.canary == canary) & (days.run == run) & (days.phase >= since)
        mine = of_step & (days.arm == "candidate") & days.mirror.is_(False) & (days.counted > 0)
        with self.asking() as connection:
            return connection.execute(select(func.count(days.unit.distinct())).where(mine)).scalar_one()

    def audit(self, limit: int = 100, canary: str | None = None) -> list[AuditEntry]:
        """Return the newest entries of the audit log, or of one canary's, newest first."""
        wanted = () if canary is None else (tables.audit.c.canary == canary,)
        return self.acts(*wanted, newest_first=True, limit=limit)

    def newest_acts(self) -> list[AuditEntry]:
        """Return the newest entry of the audit log of each canary."""
        newest = select(func.max(tables.audit.c.id)).group_by(tables.audit.c.canary)
        return self.acts(tables.audit.c.id.in_(newest))

    def acts(
        self, *wanted: ColumnElement[bool], newest_first: bool = False, limit: int | None = None
    ) -> list[AuditEntry]:
        """Return the wanted entries of the audit log, oldest first unless `newest_first`."""
        at = tables.audit.c.id
        query = select(tables.audit).where(*wanted).order_by(at.desc() if newest_first else at).limit(limit)
        with self.asking() as connection:
            return [_audited(row) for row in connection.execute(query)]

    def was_rolled_back(self, canary: str, state: State) -> bool:
        """True if the state's run was rolled back, even if the canary has ended since."""
        if state.state != "ended":
            return state.state == "rolled_back"
        entries = self.acts(tables.audit.c.canary == canary)
        return became(each for each in entries if each.after.run == state.run)[0] == "rolled_back"

    def rollbacks(self, canary: str, *, limit: int = 100, run: int | None = None) -> list[StoredRollback]:
        """Return a canary's rollbacks, or those of one run, newest first."""
        table = tables.rollbacks
        query = select(table).where(table.c.canary == canary)
        query = query if run is None else query.where(table.c.run == run)
        return self.found(StoredRollback, query.order_by(table.c.run.desc()).limit(limit))

    def add(self, table: Table, *records: Any) -> None:
        """Insert values of a dataclass whose fields are columns, a row each."""
        with self.asking(writes=True) as connection:
            connection.execute(table.insert(), [asdict(each) for each in records])

    def add_new(self, table: Table, records: Iterable[Any]) -> int:
        """Insert as `add` those whose key is not stored yet, and return how many these were."""
        with self.asking(writes=True) as connection:
            return insert_new(connection, table, [asdict(each) for each in records])

    def found(self, kind: type[T], query: Select[*tuple[Any, ...]]) -> list[T]:
        """The rows of a short query as values of a dataclass whose fields are columns."""
        with self.asking() as connection:
            rows = [
                {str(name): value for name, value in row.items()}
                for row in connection.execute(query).mappings()
            ]
        return [msgspec.convert(row, kind) for row in rows]

    def expire(self, before: float, breathe: Callable[[], object] = _breathe) -> int:
        """Delete all but outcomes before this UTC second; return the number of feedback values deleted.

        Rows are deleted in slices, and `breathe` is called in between, so that writers do not wait long.
        PostgreSQL drops the partitions of whole days. Outcomes are `records.store.segment_writer`'s.
        """
        self.migrate()
        begin = partial(self.asking, within_s=self._timeouts.report_s, writes=True)
        deleted = retention.expire(begin, before, breathe, partitioned=not self.one_spool)
        if not self.one_spool:
            self._days.drop_before(int(before // 86400))
        return deleted

    def fix_rubric(self, canary: str, rubric: FixedRubric) -> FixedRubric:
        """Store the rubric unless the canary already has one; return the stored rubric."""
        with self.asking(writes=True) as connection:
            insert_new(connection, tables.rubrics, [{"canary": canary, **asdict(rubric)}])
        stored = self.rubric(canary)
        if stored is None:
            raise StoreDown("the database lost a rubric that was just stored: check the database")
        return stored

    def rubric(self, canary: str) -> FixedRubric | None:
        """Return the rubric fixed for this canary, or None."""
        found = self.found(FixedRubric, select(tables.rubrics).where(tables.rubrics.c.canary == canary))
        return found[0] if found else None

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for a report's queries over `records.store.tables`; all queries see one snapshot."""
        self.migrate()
        limit_s = self._timeouts.report_s
        with transaction(self._engine, within_s=limit_s, one_moment=True) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction for changes over `records.store.tables`."""
        with self.asking(writes=True) as connection:
            yield connection

    @contextmanager
    def rolling(self, within_s: float) -> Iterator[None]:
        """Inside the block no other process rolls outcomes. StoreDown if one has done so for that long."""
        self.migrate()
        with alone(self._engine, within_s):
            yield

    @contextmanager
    def asking(self, *, within_s: float | None = None, writes: bool = False) -> Iterator[Connection]:
        """A connection for short queries over `records.store.tables`, with a timeout of some seconds."""
        self.migrate()
        limit_s = self._timeouts.answer_s if within_s is None else within_s
        with transaction(self._engine, within_s=limit_s, writes=writes) as connection:
            yield connection

    def _has_moved(self, connection: Connection, spool: str, cursors: Mapping[str, int]) -> bool:
        if not cursors:
            return False
        table = tables.cursors.c
        found = connection.execute(
            select(table.file, table.offset).where(table.spool == spool, table.file.in_(cursors))
        )
        return {row.file: row.offset for row in found} == cursors

    def _move(self, connection: Connection, spool: str, cursors: Mapping[str, int]) -> None:
        statement = insert(connection, tables.cursors)
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

    def _count(self, connection: Connection, spool: str, batch: SpoolBatch, inserted: int) -> None:
        counts = {
            "accepted": inserted + batch.dropped,
            "dropped": batch.dropped,
            "lost": sum(death.lost for death in batch.deaths),
            "quarantined": batch.quarantined,
            "stored": inserted,
        }
        statement = insert(connection, tables.totals)
        added = tables.totals.c.value + statement.excluded.value
        statement = statement.on_conflict_do_update(index_elements=["spool", "name"], set_={"value": added})
        connection.execute(
            statement, [{"spool": spool, "name": name, "value": count} for name, count in counts.items()]
        )


def _kinds(batch: SpoolBatch) -> tuple[Sequence[Outcome], Sequence[Feedback]]:
    outcomes, feedback = list[Outcome](), list[Feedback]()
    for record in batch.records():
        if type(record) is Outcome:
            outcomes.append(record)
        elif type(record) is Feedback:
            feedback.append(record)
    return outcomes, feedback


def _totals(connection: Connection, spool: str | None) -> SpoolCounts:
    table = tables.totals.c
    query = select(table.name, func.sum(table.value).label("value")).group_by(table.name)
    found = connection.execute(query if spool is None else query.where(table.spool == spool))
    return SpoolCounts(**{row.name: int(row.value) for row in found})


def states_in(connection: Connection) -> dict[str, VersionedState]:
    """Read the state of every canary."""
    found = connection.execute(select(tables.states)).all()
    return {row.canary: VersionedState(row.version, msgspec.convert(row.document, State)) for row in found}


def replace_state(connection: Connection, canary: str, expected: int, state: State) -> bool:
    """Replace a state if its version is still the expected one (0: no state yet). False if it is not."""
    table, values = tables.states, {"version": expected + 1, "document": state.document}
    if expected == 0:
        return insert_new(connection, table, [{"canary": canary, **values}]) == 1
    same = (table.c.canary == canary) & (table.c.version == expected)
    return connection.execute(update(table).where(same).values(**values)).rowcount == 1


def log_act(
    connection: Connection, canary: str, act: Act, before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Add an entry to the audit log, with the canary's state as documents."""
    row = {**asdict(act), "canary": canary, "before": before, "after": after}
    connection.execute(tables.audit.insert().values(**row))


def _audited(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        canary=row.canary,
        act=Act(**{each.name: getattr(row, each.name) for each in fields(Act)}),
        before=msgspec.convert(row.before, State) if row.before else None,
        after=msgspec.convert(row.after, State),
    )
