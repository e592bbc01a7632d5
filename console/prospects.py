"""A cache of each canary's chance to ship, told in one line before there is a report."""

import asyncio
from collections.abc import Callable

from console.rendering import prospect_line
from control.operator import Operator

FRESH_S = 600.0


class ProspectLines:
    """Lines by canary and run. Works out one at a time."""

    def __init__(self, operator: Operator, mono: Callable[[], float]) -> None:
        self._operator = operator
        self._mono = mono
        self._made: dict[tuple[str, int], tuple[float, str]] = {}
        self._making = asyncio.Lock()

    async def of(self, canary: str, run: int) -> str:
        """The line, at most ten minutes old; "" without a rubric. Raises BadOrder."""
        async with self._making:
            until, line = self._made.get((canary, run), (0.0, ""))
            if self._mono() < until:
                return line
            judged, found = await self._operator.prospect(canary)
            line = await asyncio.to_thread(prospect_line, judged, found)
            self._made = {key: each for key, each in self._made.items() if key[0] != canary}
            self._made[canary, run] = (self._mono() + FRESH_S, line)
            return line
