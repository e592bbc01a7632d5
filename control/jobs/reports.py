"""Makes every running canary's report once a day, stores it, and tells when its verdict is reached. One that
cannot be made is a trouble until it is made, and told once.

before          now             told
none, extend    not extend      yes
a verdict       another         yes
any             any             yes, with the first report after the planned day
"""

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from alerts.incidents.notifier import Announcement, announce, notifier_client, receivers_of
from common.clock import every
from control.settings import ControlSettings
from records.errors import StoreDown
from records.store import Store, VersionedState
from records.store.reports import DailyReport, DailyReports, StoredEvaluation

if TYPE_CHECKING:
    from verdict.decision.document import Sentences

log = structlog.get_logger()

EVERY_S = 60.0
RETRY_S = 600.0
"""The delay until a report that could not be made is tried again."""

_SHIPS = ("ship_now", "ship", "ship_with_caveats")


class ReportJob:
    """The daily reports of one database's canaries. `sentences` puts a report's reasons in
    words. `works` is True while this process is the one to make them."""

    def __init__(
        self,
        store: Store,
        settings: Callable[[], ControlSettings],
        announce: Callable[[Announcement], None],
        sentences: "Sentences",
        works: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._settings = settings
        self._announce = announce
        self._sentences = sentences
        self._works = works
        self._made: dict[tuple[str, int], str] = {}
        """The day of each run's newest report."""
        self._again_at: dict[str, float] = {}
        self._failing: dict[tuple[str, int], _Failing] = {}

    @property
    def troubles(self) -> list[str]:
        """The reports that cannot be made at the moment, in words. From any thread."""
        return [each.words for each in [*self._failing.values()]]

    async def run(self) -> None:
        """Make what is due once a minute, forever: one canary after another, off the event loop."""
        await every(EVERY_S, self._make_due)

    async def _make_due(self) -> None:
        while self._works() and await asyncio.to_thread(self.turn, time.time()):
            pass

    def turn(self, now: float) -> bool:
        """Make one canary's report as of `now`, UTC seconds. False if none is due.

        A day on which no process ran until midnight stays without a report.
        """
        job = self._settings().report_job
        if job is None:
            self._failing = {}
            return False
        day, due_at = job.today(now)
        if now < due_at and not self._failing:
            return False
        try:
            runs = [(name, each.state.run) for name, each in self._store.states().items() if _runs(each)]
            self._failing = {run: each for run, each in self._failing.items() if run in runs}
            if now < due_at:
                return False
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
        from verdict.decision.document import to_json, without_reasons
        from verdict.decision.reports import report_of

        kept = DailyReports(self._store)
        before = kept.newest(name, run=run)
        if before is None or before.day != day:
            try:
                report = report_of(self._settings().reports, name, self._store, now=now, run=run)
                document = to_json(without_reasons(report), self._sentences)
            except Exception as problem:  # the other canaries' reports are made
                self._again_at[name] = now + RETRY_S
                self._failed(name, run, problem, before, now)
                return
            made = DailyReport(
                canary=name, run=run, day=day, at=now, verdict=document["verdict"], document=document
            )
            if kept.add(made) and is_news(before, made):
                self._announce(_news(made))
            log.info("report.made", canary=name, verdict=made.verdict)
        self._made[name, run] = day
        self._failing.pop((name, run), None)

    def _failed(
        self, name: str, run: int, problem: Exception, before: DailyReport | None, now: float
    ) -> None:
        """Keep the failure until a report is made, and tell of the first one. A store that does not answer is
        a trouble of its own, and fails every report alike."""
        if isinstance(problem, StoreDown):
            log.error("report.not_made", canary=name, problem=str(problem))
            return
        log.error("report.not_made", canary=name, problem=str(problem), trace=traceback.format_exc())
        known = self._failing.get((name, run))
        found = _Failing(
            canary=name,
            problem=f"{type(problem).__name__}: {problem}",
            since=now if known is None else known.since,
            newest=None if before is None else before.day,
        )
        self._failing[name, run] = found
        if known is None:
            about = {"canary": name}
            self._announce(
                Announcement(
                    kind="report_failed", about=about, headline=found.words, at=now, offers=("report",)
                )
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failing:
    """A run whose report cannot be made since a UTC second; `newest` is the day of the last one that was."""

    canary: str
    problem: str
    since: float
    newest: str | None

    @property
    def words(self) -> str:
        newest = "none was made yet" if self.newest is None else f"the newest is of {self.newest}"
        since = datetime.fromtimestamp(self.since, UTC).strftime("%d %B %H:%M UTC")
        return (
            f"the nightly report of {self.canary} has failed since {since} ({self.problem}); {newest}, it is "
            f"tried again every {RETRY_S / 60:.0f} minutes"
        )


def is_news(before: DailyReport | None, now: DailyReport) -> bool:
    """True if the receivers are to hear of this report's verdict."""
    changed = now.verdict != (before.verdict if before is not None else "extend")
    return changed or (_plan_is_over(now) and not (before is not None and _plan_is_over(before)))


def _plan_is_over(report: DailyReport) -> bool:
    """True if the look of the planned day was made."""
    plan: Mapping[str, Any] | None = report.document.get("plan")
    return plan is not None and max(plan["looks"], default=0) >= plan["planned_days"]


def _runs(known: VersionedState) -> bool:
    return known.state.state in ("running", "paused") and known.state.started_at is not None


def _news(report: DailyReport) -> Announcement:
    word = {"dont_ship": "don't ship"}.get(report.verdict, report.verdict.replace("_", " "))
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


def week_after_news(stored: StoredEvaluation) -> Announcement | None:
    """What the receivers are told when a hold-back has ended and its report is there; None of another
    evaluation."""
    found: Mapping[str, Any] | None = stored.document.get("week_after")
    if found is None:
        return None
    from verdict.archive.week_after import promises_kept  # whose statistics made the evaluation

    rows = found["rows"]
    count = {kept: sum(row["kept"] == kept for row in rows) for kept in ("kept", "not_kept", "unknown")}
    broken = [row["metric"] for row in rows if row["kept"] == "not_kept"]
    early = f" early, by {found['ended_by']}" if found["ended_by"] else ""
    worse = f"; not kept: {', '.join(broken)}" if broken else ""
    return Announcement(
        kind="week_after",
        about={"canary": stored.canary, "rows": len(rows), **count},
        headline=f"{stored.canary}: its hold-back has ended{early}, and the report of the week after is "
        f"ready: {promises_kept(**count)}{worse}",
        at=stored.at,
        offers=("report",),
    )


LOOK_EVERY_S, TELL_AGAIN_S = 1.0, 60.0
TELL_FOR_S = 86_400.0
"""How long a receiver that does not answer is tried again, each minute."""


@dataclass(frozen=True, slots=True)
class _Untold:
    receiver: str
    news: Announcement
    due_at: float


class Announcer:
    """What the receivers of the config are still to be told. A crash loses it."""

    def __init__(self, settings: Callable[[], ControlSettings]) -> None:
        self._settings = settings
        self._untold: deque[_Untold] = deque()

    def put(self, news: Announcement) -> None:
        """Tell this to every receiver, soon, with its canary's owner. From any thread."""
        settings = self._settings()
        owner = settings.owner(str(news.about.get("canary", "")))
        news = replace(news, owners=(owner,)) if owner else news
        self._untold.extend(_Untold(each, news, news.at) for each in receivers_of(news, settings.notify))

    async def run(self) -> None:
        """Tell what is due, without end."""
        await every(LOOK_EVERY_S, lambda: self.tell(time.time()))

    async def tell(self, now: float) -> None:
        """Tell what is due at this UTC second; give up after TELL_FOR_S."""
        if not self._untold:
            return
        settings = self._settings()
        waiting = [self._untold.popleft() for _ in range(len(self._untold))]
        async with notifier_client() as client:
            for each in waiting:
                if each.due_at > now:
                    self._untold.append(each)
                    continue
                receiver = receivers_of(each.news, settings.notify).get(each.receiver)
                wrong = None
                if receiver is not None:
                    wrong = await announce(client, receiver, each.news, settings.admin_url)
                if wrong is not None:
                    log.error("news.not_told", kind=each.news.kind, receiver=each.receiver, problem=wrong)
                    if now - each.news.at < TELL_FOR_S:
                        self._untold.append(replace(each, due_at=now + TELL_AGAIN_S))
