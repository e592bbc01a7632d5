"""docs/sizing.md cites what docs/performance.md measured, and its worked example is worked rightly."""

import re
from math import ceil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/sizing.md").read_text()
MEASURED = "".join((ROOT / "docs" / name).read_text() for name in ("performance.md", "reliability.md"))


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of a section's table by the first one."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if "|" in line]
    return {row[0]: row[1:] for row in cells[2:]}


COSTS = rows("What things cost")


def cost(what: str, place: int = 0) -> float:
    """The number at that place in the cost of that row, places counted from 0."""
    row = next(cells[0] for name, cells in COSTS.items() if name.startswith(what))
    return float(re.findall(r"\d[\d,]*(?:\.\d+)?", row)[place].replace(",", ""))


@pytest.mark.parametrize("what", [name for name, cells in COSTS.items() if cells[1] != "below"])
def test_every_cost_is_a_figure_that_was_measured(what: str) -> None:
    for figure in re.findall(r"\d[\d,]*(?:\.\d+)?(?= ?(?:µs|KiB|MiB|bytes))", COSTS[what][0]):
        assert figure in MEASURED, figure


def test_the_worked_example_follows_from_the_costs() -> None:
    told = {name: cells[1] for name, cells in rows("A worked example").items()}
    exchanges, chunks = 150 * cost("exchange, provider") * 1e-6, 75 * 300 * cost("chunk") * 1e-6
    streams, day = 75 * 6, 50 * 86_400
    workers = ceil((exchanges + chunks) / 0.6)
    disks = [day * cost("outcome on disk", place) / 1e9 for place in (0, 1)]
    assert told == {
        "exchanges at the peak": f"{exchanges:.2f} cores",
        "chunks at the peak": f"{chunks:.2f} cores",
        "workers": f"{workers}",
        "admin process at the peak": f"{150 * cost('exchange, admin') * 1e-6:.2f} cores",
        "open streams at the peak": f"{streams}",
        "memory of workers": f"{workers * cost('worker') + streams * cost('open stream') / 1024:.0f} MiB",
        "memory of the admin process": f"{cost('admin process') + cost('report'):.0f} MiB",
        "outcomes a day": f"{day / 1e6:.2f} million",
        "disk a day": f"{disks[0]:.1f} or {disks[1]:.1f} GB",
        "disk with `retention: 21d`": f"{21 * disks[0]:.0f} or {21 * disks[1]:.0f} GB",
        "the database may be away": f"{cost('outcome in the spool', 1) / 50 / 3600:.1f} hours",
    }
    assert f"{90 * disks[0]:.0f} or {90 * disks[1]:.0f} GB" in PAGE
