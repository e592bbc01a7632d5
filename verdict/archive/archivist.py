"""The archive's two jobs: an evaluation of each finished run, and the looks of each night.

Evaluations follow the audit log, so no event is missed, whoever caused it and even across restarts.
"""

import asyncio
import math
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from common.clock import is_without_descriptors, put_off_without_descriptors
from records.errors import StoreDown
from records.store import AuditEntry, Store, VersionedState
from records.store.reports import LATE, Evaluations, StoredEvaluation
from verdict.terms.judged_canary import ReportSettings
from verdict.terms.plan import ARRIVAL_S, DAY_S

if TYPE_CHECKING:
    from verdict.archive.evaluations import Event
    from verdict.decision.document import Sentences

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
SETTLE_S = 3.0
"""The delay after an act until its last records are usually in the store."""


class Archivist:
    """Follows a database's audit log. `sentences` puts a report's reasons in words. `works` is True while
    this process is the one to archive; `told` hears of each evaluation once it is stored."""

    def __init__(
        self,
        store: Store,
        settings: Callable[[], ReportSettings],
        sentences: "Sentences",
        works: Callable[[], bool] = lambda: True,
        told: Callable[[StoredEvaluation], None] = lambda evaluation: None,
    ) -> None:
        self._store = store
        self._settings = settings
        self._sentences = sentences
        self._works, self._told = works, told
        self._seen = 0
        self._done: set[int] = set()

    async def run(self) -> None:
        """Check the audit log once a second, forever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._works():
                try:
                    with put_off_without_descriptors():
                        await asyncio.to_thread(self.turn, time.time())
                except StoreDown as problem:
                    log.error("evaluation.not_archived", problem=str(problem))

    def turn(self, now: float) -> int:
        """Archive the new entries as of `now` (UTC seconds). Returns their number. Raises StoreDown."""
        archived = 0
        evaluations = Evaluations(self._store)
        for entry in evaluations.closings(self._seen):
            if entry.id in self._done:
                continue
            if entry.act.at > now - SETTLE_S:
                break
            archived += self._archive(evaluations, entry, now)
            self._done.add(entry.id)
            self._seen = max(self._seen, entry.id)
        self._done = {entry_id for entry_id in self._done if entry_id > self._seen - LATE}
        return archived

    def _archive(self, evaluations: Evaluations, entry: AuditEntry, now: float) -> int:
        # The statistics take two seconds to import, and most admin processes never archive anything.
        from verdict.archive.evaluations import events_of

        if entry.after.started_at is None:  # a canary that never ran has nothing to evaluate
            return 0
        return sum(self._evaluate(evaluations, entry, event, now) for event in events_of(entry))

    def _evaluate(self, evaluations: Evaluations, entry: AuditEntry, event: "Event", now: float) -> int:
        from verdict.archive.evaluations import evaluation_of, key_of

        if evaluations.has(key_of(entry, event)):
            return 0
        try:
            found = evaluation_of(self._settings(), entry, event, self._store, self._sentences, now=now)
        except StoreDown:
            raise
        except Exception as problem:  # tried again at the next start; the other canaries' are made
            if is_without_descriptors(problem):
                raise
            log.error(
                "evaluation.not_archived",
                canary=entry.canary,
                problem=str(problem),
                trace=traceback.format_exc(),
            )
            return 0
        added = evaluations.add([found])
        if added:
            self._told(found)
        return added


# Takes the looks of running canaries after each UTC midnight, so that each is stored though no report is


EVERY_S = 60.0
RETRY_S = 600.0
"""The delay until looks that could not be taken are tried again."""


class NightlyLooks:
    """The looks of one database's canaries. `works` is True while this process is the one to take them."""

    def __init__(
        self, store: Store, settings: Callable[[], ReportSettings], works: Callable[[], bool] = lambda: True
    ) -> None:
        self._store = store
        self._settings = settings
        self._works = works
        self._taken: dict[str, float] = {}
        """The midnight of each canary's newest looks."""
        self._again_at: dict[str, float] = {}
        self._failing: dict[str, str] = {}
        """Why the looks of a canary cannot be taken at the moment."""

    @property
    def troubles(self) -> list[str]:
        """The looks that cannot be taken at the moment, in words. From any thread."""
        return [
            f"the nightly looks at {name} cannot be taken ({problem}), so its verdict waits; they are tried "
            f"again every {RETRY_S / 60:.0f} minutes"
            for name, problem in [*self._failing.items()]
        ]

    async def run(self) -> None:
        """Take what is due once a minute, forever: one canary after another, off the event loop."""
        while True:
            await asyncio.sleep(EVERY_S)
            with put_off_without_descriptors():
                while self._works() and await asyncio.to_thread(self.turn, time.time()):
                    pass

    def turn(self, now: float) -> bool:
        """Take the looks of one canary as of `now`, UTC seconds. False if no canary's are due."""
        midnight = math.floor((now - ARRIVAL_S) / DAY_S) * DAY_S
        try:
            due = [name for name, known in self._store.states().items() if self._due(name, known, midnight)]
        except StoreDown as problem:
            log.error("looks.not_taken", problem=str(problem))
            return False
        self._failing = {name: problem for name, problem in self._failing.items() if name in due}
        waiting = [name for name in due if self._again_at.get(name, now) <= now]
        if waiting:
            self._take(waiting[0], midnight, now)
        return bool(waiting)

    def _due(self, name: str, known: VersionedState, midnight: float) -> bool:
        """Before its first whole day, a canary has no look."""
        started = known.state.started_at
        over = known.state.state not in ("running", "paused")
        if over or started is None or started + DAY_S > midnight:
            return False
        judged = self._settings().canaries.get(name)
        return judged is not None and judged.plan is not None and self._taken.get(name) != midnight

    def _take(self, name: str, midnight: float, now: float) -> None:
        # The statistics take two seconds to import, and most admin processes never take a look.
        from verdict.decision.reports import take_looks

        try:
            count = take_looks(self._settings(), name, self._store, now=now)
        except Exception as problem:  # the other canaries' looks are taken
            self._again_at[name] = now + RETRY_S
            if not isinstance(problem, StoreDown):  # which is a trouble of its own
                self._failing[name] = f"{type(problem).__name__}: {problem}"
            log.error("looks.not_taken", canary=name, problem=str(problem), trace=traceback.format_exc())
            return
        self._taken[name] = midnight
        self._failing.pop(name, None)
        log.info("looks.taken", canary=name, count=count)
