"""How often a canary's chance to ship is worked out for the page."""

import asyncio

from console.rendering import PROSPECT_FRESH_S as FRESH_S
from console.rendering import ProspectLines


class Desk:
    """Works lines out. A console's `Control`, as far as it is asked."""

    def __init__(self) -> None:
        self.now, self.made = 0.0, 0

    async def prospect(self, canary: str) -> str:
        self.made += 1
        return f"{canary} {self.made}"


def test_a_line_is_kept_for_ten_minutes_and_for_one_run() -> None:
    desk = Desk()
    lines = ProspectLines(desk, lambda: desk.now)  # type: ignore[arg-type]

    async def look() -> list[str]:
        seen = [await lines.of("c", 1), *await asyncio.gather(*(lines.of("c", 1) for _ in range(3)))]
        seen.append(await lines.of("c", 2))
        desk.now += FRESH_S + 1
        return [*seen, await lines.of("c", 2)]

    assert asyncio.run(look()) == ["c 1"] * 4 + ["c 2", "c 3"]
