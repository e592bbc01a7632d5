"""How often a report is made for the page."""

import asyncio
from typing import Any

from console.rendering import FRESH_PER_COST, FRESH_S, reports
from tests.verdict.planned import planned_report
from verdict.decision.document import Report


class Desk:
    """Makes reports, each taking `takes_s` of its own clock. An `Operator`, as far as it is asked."""

    def __init__(self, takes_s: float) -> None:
        self.now, self.made, self._takes_s = 0.0, 0, takes_s

    async def report(self, canary: str) -> Report:
        self.now += self._takes_s
        self.made += 1
        return planned_report(day=14)


def made_after(desk: Desk, *waits: float, run: int = 1) -> int:
    """How many reports are made when somebody looks after each of these waits."""
    kept = reports(desk, lambda: desk.now)  # type: ignore[arg-type]

    async def look() -> Any:
        for wait in waits:
            desk.now += wait
            await kept.of("support-nov", run)

    asyncio.run(look())
    return desk.made


def test_a_quick_report_is_kept_for_a_minute() -> None:
    assert made_after(Desk(0.1), 0.0, FRESH_S - 1, 2.0) == 2


def test_a_slow_report_is_kept_for_many_times_what_it_took() -> None:
    assert made_after(Desk(30.0), 0.0, FRESH_S + 1, 30.0 * FRESH_PER_COST) == 2


def test_a_new_label_is_counted_by_the_next_look() -> None:
    desk = Desk(30.0)
    kept = reports(desk, lambda: desk.now)  # type: ignore[arg-type]

    async def look() -> None:
        await kept.of("support-nov", 1)
        kept.outdate("another")
        await kept.of("support-nov", 1)
        assert desk.made == 1
        kept.outdate("support-nov")
        assert kept.newest("support-nov", 1) is not None
        await kept.of("support-nov", 1)

    asyncio.run(look())
    assert desk.made == 2


def test_many_who_look_at_once_get_one_report_and_another_run_has_its_own() -> None:
    desk = Desk(0.1)
    kept = reports(desk, lambda: desk.now)  # type: ignore[arg-type]

    async def all_look() -> None:
        await asyncio.gather(*(kept.of("support-nov", 1) for _ in range(5)))
        assert kept.newest("support-nov", 2) is None
        await kept.of("support-nov", 2)

    asyncio.run(all_look())
    assert desk.made == 2
    assert kept.newest("support-nov", 1) is None
