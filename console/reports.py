"""A cache of each canary's newest report, for the score on the page."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from console.rendering import report_in
from control.operator import Operator

FRESH_S = 60.0
FRESH_PER_COST = 20.0
"""A report also stays fresh for this many times its own duration, so reports use at most 1/20 of a core."""


@dataclass(frozen=True, slots=True)
class CachedReport:
    """A report's document, when it was made, and until when it is fresh (monotonic seconds)."""

    document: Mapping[str, Any]
    at: float
    until: float


class Reports:
    """Reports by canary and run. Makes one report at a time."""

    def __init__(self, operator: Operator, mono: Callable[[], float]) -> None:
        self._operator = operator
        self._mono = mono
        self._made: dict[tuple[str, int], CachedReport] = {}
        self._making = asyncio.Lock()

    def newest(self, canary: str, run: int) -> CachedReport | None:
        """The newest report, fresh or not; None if none was made."""
        return self._made.get((canary, run))

    async def of(self, canary: str, run: int) -> CachedReport:
        """A fresh report, from the cache or made now. Raises BadOrder like `Operator.report`."""
        async with self._making:
            known = self.newest(canary, run)
            began = self._mono()
            if known is not None and began < known.until:
                return known
            found = await self._operator.report(canary)
            document = json.loads(await asyncio.to_thread(report_in, "json", found))
            now = self._mono()
            made = CachedReport(document, now, now + max(FRESH_S, FRESH_PER_COST * (now - began)))
            self._made = {key: each for key, each in self._made.items() if key[0] != canary}
            self._made[canary, run] = made
            return made
