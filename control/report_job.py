"""Makes every running canary's report once a day, stores it, and tells when its verdict is reached.

before          now             told
none, extend    not extend      yes
a verdict       another         yes
any             any             yes, with the first report after the planned day
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import structlog

from alerts.announcement import Announcement
from control.settings import ControlSettings
from records.daily_reports import DailyReport, DailyReports
from records.errors import StoreDown
from records.store import Store, Versioned

log = structlog.get_logger()

EVERY_S = 60.0
RETRY_S = 600.0
"""The delay until a report that could not be made is tried again."""

_WORDS = {
    "ship_now": "ship now",
    "ship": "ship",
    "ship_with_caveats": "ship with caveats",
    "dont_ship": "don't ship",
    "extend": "extend",
}
_SHIPS = ("ship_now", "ship", "ship_with_caveats")


class ReportJob:
    """The daily reports of one database's canaries. `works` is True while this process is the one to make
    them."""

    def __init__(
        self,
        store: Store,
        settings: Callable[[], ControlSettings],
        announce: Callable[[Announcement], None],
        works: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._settings = settings
        self._announce = announce
        self._works = works
        self._made: dict[tuple[str, int], str] = {}
        """The day of each run's newest report."""
        self._again_at: dict[str, float] = {}

    async def run(self) -> None:
        """Make what is due once a minute, forever: one canary after another, off the event loop."""
        while True:
            await asyncio.sleep(EVERY_S)
            while self._works() and await asyncio.to_thread(self.turn, time.time()):
                pass

    def turn(self, now: float) -> bool:
        """Make one canary's report as of `now`, UTC seconds. False if none is due.

        A day on which no process ran until midnight stays without a report.
        """
        job = self._settings().report_job
        day, due_at = job.today(now) if job is not None else ("", float("inf"))
        if now < due_at:
            return False
        try:
            runs = [(name, each.state.run) for name, each in self._store.states().items() if _runs(each)]
            due = [(name, run) for name, run in runs if self._made.get((name, run)) != day]
            waiting = [(name, run) for name, run in due if self._again_at.get(name, now) <= now]
            if waiting:
                self._make(*waiting[0], day, now)
        except StoreDown as problem:
            log.error("report.not_made", problem=str(problem))
            return False
        return bool(waiting)

    def _make(self, name: str, run: int, day: str, now: float) -> None:
        # The statistics take two seconds to import, and most admin processes never make a report.
        from report.document import to_json, without_reasons
        from report.reports import report_of

        kept = DailyReports(self._store)
        before = kept.newest(name, run=run)
        if before is None or before.day != day:
            try:
                report = report_of(self._settings().reports, name, self._store, now=now, run=run)
                document = to_json(without_reasons(report))
            except (StoreDown, ValueError, LookupError) as problem:
                self._again_at[name] = now + RETRY_S
                log.error("report.not_made", canary=name, problem=str(problem))
                return
            made = DailyReport(
                canary=name, run=run, day=day, at=now, verdict=document["verdict"], document=document
            )
            if kept.add(made) and is_news(before, made):
                self._announce(_news(made))
            log.info("report.made", canary=name, verdict=made.verdict)
        self._made[name, run] = day


def is_news(before: DailyReport | None, now: DailyReport) -> bool:
    """True if the receivers are to hear of this report's verdict."""
    changed = now.verdict != (before.verdict if before is not None else "extend")
    return changed or (_plan_is_over(now) and not (before is not None and _plan_is_over(before)))


def _plan_is_over(report: DailyReport) -> bool:
    """True if the look of the planned day was made."""
    plan: Mapping[str, Any] | None = report.document.get("plan")
    return plan is not None and max(plan["looks"], default=0) >= plan["planned_days"]


def _runs(known: Versioned) -> bool:
    return known.state.state in ("running", "paused") and known.state.started_at is not None


def _news(report: DailyReport) -> Announcement:
    word = _WORDS.get(report.verdict, report.verdict)
    says = f"{report.canary}: the verdict is {word}"
    because = "".join(f"; {reason}" for reason in report.document["reasons"][:1])
    return Announcement(
        kind="verdict_reached",
        about={"canary": report.canary, "verdict": report.verdict},
        headline=says + because,
        at=report.at,
        offers=("promote", "report") if report.verdict in _SHIPS else ("report",),
        reason=f"the verdict of {datetime.fromtimestamp(report.at, UTC):%d %B %Y} is {word}",
    )
