"""The report job's reports in the store: one a day of each run, written once and never changed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from records.store import Store
from records.tables import reports


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
        with self._store.writing() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            query = dialect.insert(reports).values(**asdict(report)).on_conflict_do_nothing()
            return connection.execute(query.returning(reports.c.run)).first() is not None

    def entries(self, canary: str, limit: int) -> Sequence[ReportEntry]:
        """The newest reports of a canary, newest first."""
        columns = [column for column in reports.c if column.name != "document"]
        query = select(*columns).where(reports.c.canary == canary)
        with self._store.asking() as connection:
            found = connection.execute(query.order_by(reports.c.at.desc()).limit(limit))
            return [ReportEntry(**row._mapping) for row in found]

    def newest(self, canary: str, *, run: int | None = None, day: str | None = None) -> DailyReport | None:
        """The newest report, of one run or one day where that is given; None without one."""
        query = select(reports).where(reports.c.canary == canary).order_by(reports.c.at.desc()).limit(1)
        query = query if run is None else query.where(reports.c.run == run)
        query = query if day is None else query.where(reports.c.day == day)
        with self._store.asking() as connection:
            found = connection.execute(query).first()
        return None if found is None else DailyReport(**found._mapping)
