"""Takes the looks of running canaries after each UTC midnight, so that each is stored though no report is
open."""

import asyncio
import math
import time
import traceback
from collections.abc import Callable

import structlog

from records.errors import StoreDown
from records.store import Store, Versioned
from verdict.terms.judged_canary import ReportSettings
from verdict.terms.plan import ARRIVAL_S, DAY_S

log = structlog.get_logger()

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

    def _due(self, name: str, known: Versioned, midnight: float) -> bool:
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
