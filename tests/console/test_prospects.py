"""How often a canary's chance to ship is worked out for the page."""

import asyncio

from console.rendering import PROSPECT_FRESH_S, prospect_lines
from verdict.terms.judged_canary import JudgedCanary


class Desk:
    """Works lines out. An `Operator`, as far as it is asked."""

    def __init__(self) -> None:
        self.now, self.made = 0.0, 0

    async def prospect(self, canary: str) -> tuple[JudgedCanary, None, None]:
        self.made += 1
        return JudgedCanary(name=canary, criteria=()), None, None


def test_a_line_is_kept_for_ten_minutes_and_for_one_run() -> None:
    desk = Desk()
    lines = prospect_lines(desk, lambda: desk.now)  # type: ignore[arg-type]

    async def look(run: int, times: int = 1) -> int:
        await asyncio.gather(*(lines.of("c", run) for _ in range(times)))
        return desk.made

    async def all_look() -> list[int]:
        seen = [await look(1), await look(1, times=3), await look(2)]
        desk.now += PROSPECT_FRESH_S + 1
        return [*seen, await look(2)]

    assert asyncio.run(all_look()) == [1, 1, 2, 3]
