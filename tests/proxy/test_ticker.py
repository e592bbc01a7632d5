"""The clock of all deadlines: what is due is checked, whatever becomes of the others."""

import asyncio

from structlog.testing import capture_logs

from proxy.network.ticker import AGAIN_S, Ticker


class Due:
    """Notes when it is checked, and is due again at once. The broken one raises."""

    check_at = 0.0

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.checked: list[float] = []

    def check(self, now: float) -> None:
        self.checked.append(now)
        if self.broken:
            raise LookupError("a defect")


def test_a_check_that_raises_is_logged_and_keeps_no_other_one_from_its_turn() -> None:
    loop = asyncio.new_event_loop()
    ticker = Ticker(loop)
    watched = [Due(broken=number % 2 == 0) for number in range(10)]
    for each in watched:
        ticker.watch(each)
    with capture_logs() as logs:
        ticker.tick(1.0)
        ticker.tick(1.5)
        ticker.tick(1.0 + AGAIN_S)
    assert [each.checked for each in watched] == [[1.0, 2.0], [1.0, 1.5, 2.0]] * 5
    assert [(each["event"], each["of"]) for each in logs] == [("deadline.crashed", "Due")] * 10
    ticker.stop()
    loop.close()
