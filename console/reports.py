"""Each canary's newest report, kept a while: the page shows its score without making it anew each time."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from control.operator import Operator

KEPT_S = 60.0
KEPT_FOR_ITS_COST = 20.0
"""A report is kept this many times as long as it took: looking costs a twentieth of a core at most."""


@dataclass(frozen=True, slots=True)
class Made:
    """A report's document, when it was made (monotonic), and until when it is new enough."""

    document: Mapping[str, Any]
    at: float
    until: float


class Reports:
    """Reports by canary and run, one made at a time."""

    def __init__(self, operator: Operator, mono: Callable[[], float]) -> None:
        self._operator = operator
        self._mono = mono
        self._made: dict[tuple[str, int], Made] = {}
        self._making = asyncio.Lock()

    def newest(self, canary: str, run: int) -> Made | None:
        """The last one made, however old."""
        return self._made.get((canary, run))

    async def of(self, canary: str, run: int) -> Made:
        """One that is new enough. Raises BadOrder as `Operator.report` does."""
        async with self._making:
            known = self.newest(canary, run)
            began = self._mono()
            if known is not None and began < known.until:
                return known
            document = json.loads(await self._operator.report(canary, "json"))
            now = self._mono()
            made = Made(document, now, now + max(KEPT_S, KEPT_FOR_ITS_COST * (now - began)))
            self._made = {key: each for key, each in self._made.items() if key[0] != canary}
            self._made[canary, run] = made
            return made
