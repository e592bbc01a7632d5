"""Draws the page's pictures for docs/page.md: `python -m tests.console.pictures`. A minute."""

import tempfile
import time
from pathlib import Path

from tests.console.chromium import chromium, opened
from tests.console.showcase import Visitors, showcase

DOCS = Path(__file__).parents[2] / "docs"
SENDING_S = 45.0
WIDE, NARROW = {"width": 1180, "height": 1240}, {"width": 390, "height": 844}


def main() -> None:
    """Let users ask for a while, and look."""
    with (
        tempfile.TemporaryDirectory() as folder,
        showcase(Path(folder)) as (stage, visitors),
        chromium() as browser,
    ):
        _send(visitors)
        where = (browser, stage.server.admin, stage.server.token)
        with opened(*where, viewport=WIDE, device_scale_factor=0.75, color_scheme="light") as page:
            page.goto("/canaries/support-nov")
            page.get_by_text("Live, updated every second.").wait_for()
            page.wait_for_timeout(1500)
            page.screenshot(path=DOCS / "page.png")
        with opened(*where, viewport=NARROW, color_scheme="dark") as page:
            page.goto("/canaries/billing-mini")
            page.get_by_text("Live, updated every second.").wait_for()
            page.screenshot(path=DOCS / "page-narrow.png")


def _send(visitors: Visitors) -> None:
    ends, number = time.monotonic() + SENDING_S, 0
    while time.monotonic() < ends:
        number += 1
        exchange = visitors.ask("gpt-4o", number)
        if number % 4 == 0:
            visitors.rate(exchange, number)
        time.sleep(0.03)


if __name__ == "__main__":
    main()
