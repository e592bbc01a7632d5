"""Writes an evaluation into the archive whenever a canary ends, is promoted, rolled back or decided of.

It follows the audit log, so that whoever did it, and whatever became of this process since, none is missed.
"""

import asyncio
import time
from collections.abc import Callable

import structlog

from records.errors import StoreDown
from records.evaluations import LATE, Evaluations
from records.store import Audited, Store
from report.judged_canary import ReportSettings

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
SETTLE_S = 3.0
"""So long after the act its last records are in the store, as a rule."""


class Archivist:
    """Follows one database's audit log. `works` says whether it is this process's part (one of several)."""

    def __init__(
        self, store: Store, settings: Callable[[], ReportSettings], works: Callable[[], bool] = lambda: True
    ) -> None:
        self._store = store
        self._settings = settings
        self._works = works
        self._seen = 0
        self._done: set[int] = set()

    async def run(self) -> None:
        """Look once a second, for as long as this process lives."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self._works():
                try:
                    await asyncio.to_thread(self.turn, time.time())
                except StoreDown as problem:
                    log.error("evaluation.not_archived", problem=str(problem))

    def turn(self, now: float) -> int:
        """Archive what is new, as of `now` (UTC seconds); how many that were. Raises StoreDown."""
        kept = 0
        evaluations = Evaluations(self._store)
        for entry in evaluations.closings(self._seen):
            if entry.id in self._done:
                continue
            if entry.act.at > now - SETTLE_S:
                break
            kept += self._archive(evaluations, entry, now)
            self._done.add(entry.id)
            self._seen = max(self._seen, entry.id)
        self._done = {each for each in self._done if each > self._seen - LATE}
        return kept

    def _archive(self, evaluations: Evaluations, entry: Audited, now: float) -> int:
        # Statistics take two seconds to import, and most admin processes never archive anything.
        from report.evaluation import evaluation_of, key_of

        if evaluations.has(key_of(entry)):
            return 0
        try:
            found = evaluation_of(self._settings(), entry, self._store, now=now)
        except (ValueError, LookupError) as problem:  # tried again at the next start
            log.error("evaluation.not_archived", canary=entry.canary, problem=str(problem))
            return 0
        return evaluations.keep([found])
