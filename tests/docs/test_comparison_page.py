"""docs/comparison.md repeats the figures of docs/performance.md, and says of others only what it can cite."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/comparison.md").read_text()
MEASURED = (ROOT / "docs/performance.md").read_text()


def rows(heading: str) -> list[list[str]]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found[1:]]


def test_every_figure_of_speed_is_one_that_was_measured() -> None:
    table = MEASURED.partition("\n## Figures\n")[2].partition("\n### ")[0]
    speeds = rows("Speed")
    assert len(speeds) == 6
    for name, *cells in speeds:
        for figure in re.findall(r"\d[\d,.]*\d", " ".join(cells)):
            assert figure in table, f"{name}: {figure}"


def test_every_tool_is_spoken_of_with_its_own_pages() -> None:
    tools = rows("One by one")
    assert len(tools) == 6
    assert [tool for tool, *_ in tools if "](https://" not in tool] == []
    assert re.search(r"^As of 20\d\d-\d\d-\d\d\.", PAGE, re.MULTILINE)


def test_every_report_of_trouble_is_cited_and_answered() -> None:
    for reported, canary in rows("Trouble that users of gateways have reported"):
        assert "](https://" in reported
        assert "tests/" in canary or "](reliability.md)" in canary
