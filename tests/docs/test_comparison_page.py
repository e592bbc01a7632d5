"""docs/comparison.md says of other tools only what it can cite, and has no figures of its own."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/comparison.md").read_text()


def rows(heading: str) -> list[list[str]]:
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    found = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found[1:]]


def test_every_tool_is_spoken_of_with_its_own_pages() -> None:
    tools = rows("One by one")
    assert len(tools) == 6
    assert [tool for tool, *_ in tools if "](https://" not in tool] == []
    assert re.search(r"^As of 20\d\d-\d\d-\d\d\.", PAGE, re.MULTILINE)


def test_every_report_of_trouble_is_cited_and_answered() -> None:
    for reported, canary in rows("Trouble that users of gateways have reported"):
        assert "](https://" in reported
        files = re.findall(r"`(tests/[\w/]+\.py)`", canary)
        assert files or "](reliability.md)" in canary
        assert [file for file in files if not (ROOT / file).exists()] == []
