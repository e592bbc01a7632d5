"""Archives an evaluation when a canary ends, is promoted, is rolled back, or gets a decision.

It follows the audit log, so no event is missed, whoever caused it and even across restarts.
"""

import asyncio
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from records.errors import StoreDown
from records.store import Audited, Store
from records.store.reports import LATE, Evaluations
from verdict.terms.judged_canary import ReportSettings

if TYPE_CHECKING:
    from verdict.decision.document import Sentences

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
SETTLE_S = 3.0
"""The delay after an act until its last records are usually in the store."""


class Archivist:
    """Follows a database's audit log. `sentences` puts a report's reasons in words. `works` is True while
    this process is the one to archive."""

    def __init__(
        self,
        store: Store,
        settings: Callable[[], ReportSettings],
        sentences: "Sentences",
        works: Callable[[], bool] = lambda: True,
    ) -> None:
        self._store = store
        self._settings = settings
        self._sentences = sentences
        self._works = works
        self._seen = 0
        self._done: set[int] = set()

    async def run(self) -> None:
        """Check the audit log once a second, forever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._works():
                try:
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

    def _archive(self, evaluations: Evaluations, entry: Audited, now: float) -> int:
        # The statistics take two seconds to import, and most admin processes never archive anything.
        from verdict.archive.evaluations import evaluation_of, key_of

        if _tells_nothing_new(entry) or evaluations.has(key_of(entry)):
            return 0
        try:
            found = evaluation_of(self._settings(), entry, self._store, self._sentences, now=now)
        except StoreDown:
            raise
        except Exception as problem:  # tried again at the next start; the other canaries' are made
            log.error(
                "evaluation.not_archived",
                canary=entry.canary,
                problem=str(problem),
                trace=traceback.format_exc(),
            )
            return 0
        return evaluations.add([found])


def _tells_nothing_new(entry: Audited) -> bool:
    """A canary that never ran has nothing to evaluate. A run that was rolled back has had its evaluation; its
    end, which comes with the next canary, must not replace that one."""
    rolled_back = entry.before is not None and entry.before.state == "rolled_back"
    return entry.after.started_at is None or (entry.act.action == "end" and rolled_back)
