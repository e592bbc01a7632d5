"""Reports that are kept in the store: the report job's, evaluations, and the looks of verdicts' plans.
Each is written once and never changed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select

from records.store import AuditEntry, Store, tables
from records.store.database import insert_new
from records.store.tables import reports


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportEntry:
    """A stored report without its document. `day` is that of the job's time zone (ISO), `at` UTC seconds."""

    canary: str
    run: int
    day: str
    at: float
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DailyReport(ReportEntry):
    """A stored report with the document of `canary report -o json`."""

    document: Mapping[str, Any]


class DailyReports:
    """The daily reports of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, report: DailyReport) -> bool:
        """Store a report; False if the run has one of that day."""
        return self._store.add_new(reports, [report]) > 0

    def entries(self, canary: str, limit: int) -> Sequence[ReportEntry]:
        """The newest reports of a canary, newest first."""
        columns = [column for column in reports.c if column.name != "document"]
        query = select(*columns).where(reports.c.canary == canary)
        return self._store.found(ReportEntry, query.order_by(reports.c.at.desc()).limit(limit))

    def newest_of_each(self) -> Sequence[tuple[str, int, float]]:
        """(canary, run, UTC second) of the newest report of every run."""
        run = (reports.c.canary, reports.c.run)
        with self._store.reading() as connection:
            found = connection.execute(select(*run, func.max(reports.c.at)).group_by(*run))
            return [(row[0], row[1], row[2]) for row in found]

    def newest_of_runs(self, canaries: Collection[str]) -> dict[tuple[str, int], DailyReport]:
        """The newest report of every run of these canaries."""
        mine = (reports.c.canary, reports.c.run, func.max(reports.c.at).label("at"))
        last = select(*mine).where(reports.c.canary.in_(canaries)).group_by(*mine[:2]).subquery()
        same = (
            (reports.c.canary == last.c.canary) & (reports.c.run == last.c.run) & (reports.c.at == last.c.at)
        )
        found = self._store.found(DailyReport, select(reports).join(last, same))
        return {(each.canary, each.run): each for each in found}

    def newest(self, canary: str, *, run: int | None = None, day: str | None = None) -> DailyReport | None:
        """The newest report, of one run or one day where that is given; None without one."""
        query = select(reports).where(reports.c.canary == canary).order_by(reports.c.at.desc()).limit(1)
        query = query if run is None else query.where(reports.c.run == run)
        query = query if day is None else query.where(reports.c.day == day)
        found = self._store.found(DailyReport, query)
        return found[0] if found else None


CLOSING = ("decide", "end", "holdback_end", "promote", "rollback")
"""Actions in the audit log after which a canary is evaluated."""

LATE = 100
"""How many entries to read again, since audit entries may become visible slightly out of order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvaluation:
    """One evaluation: a unique key, UTC seconds, the canary and the document made by `report`."""

    key: str
    at: float
    canary: str
    document: Mapping[str, Any]


class Evaluations:
    """The evaluations of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, evaluations: Sequence[StoredEvaluation]) -> int:
        """Add the evaluations whose keys are new, and return how many were."""
        return self._store.add_new(tables.evaluations, evaluations)

    def all(self, canary: str | None = None) -> list[dict[str, Any]]:
        """Return all documents, or those of one canary, oldest first."""
        table = tables.evaluations
        query = select(table.c.document).order_by(table.c.at, table.c.key)
        if canary is not None:
            query = query.where(table.c.canary == canary)
        with self._store.reading() as connection:
            return [dict(row.document) for row in connection.execute(query)]

    def has(self, key: str) -> bool:
        """True when an evaluation with this key is stored."""
        table = tables.evaluations
        with self._store.asking() as connection:
            return connection.execute(select(func.count()).where(table.c.key == key)).scalar_one() > 0

    def closings(self, after: int) -> list[AuditEntry]:
        """The audit entries with an action in CLOSING since entry `after`, oldest first, and the last LATE
        ones up to it again."""
        table = tables.audit.c
        return self._store.acts(table.id > after - LATE, table.action.in_(CLOSING))


_OF_PART = ("@category:", "@segment:")
"""What stands between the metric and the critical part that a look is about; in no metric's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLook:
    """One look at one metric of a run's rubric, in all or in a critical part (error_rate@category:refund), on
    a day of its plan. `at` is UTC seconds."""

    metric: str
    day: int
    at: float
    document: Mapping[str, Any]

    @property
    def of_part(self) -> bool:
        """True for a look at one critical segment or category."""
        return any(each in self.metric for each in _OF_PART)

    @property
    def distance(self) -> float | None:
        """The estimated margin to the acceptable bound, in the metric's unit; None with too few users."""
        seen = self.document["seen"]
        return None if seen is None else float(seen["acceptable"]["estimate"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LookScope:
    """The looks of one run by one rubric."""

    canary: str
    run: int
    rubric_sha256: str


class VerdictLooks:
    """The looks of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def of(self, scope: LookScope) -> list[StoredLook]:
        """Return the stored looks, by metric and day."""
        table = tables.looks
        query = select(table).where(
            table.c.canary == scope.canary,
            table.c.run == scope.run,
            table.c.rubric_sha256 == scope.rubric_sha256,
        )
        return self._store.found(StoredLook, query.order_by(table.c.metric, table.c.day))

    def of_run(self, canary: str, run: int) -> list[StoredLook]:
        """The looks of a run at whole rows of whatever rubric, in the order in which they were made."""
        table = tables.looks
        query = select(table).where(table.c.canary == canary, table.c.run == run)
        found = self._store.found(StoredLook, query.order_by(table.c.at, table.c.metric))
        return [each for each in found if not each.of_part]

    def keep(self, scope: LookScope, looks: Sequence[StoredLook]) -> None:
        """Store these looks, except those that somebody else stored first."""
        with self._store.writing() as connection:
            insert_new(connection, tables.looks, [{**asdict(scope), **asdict(look)} for look in looks])
