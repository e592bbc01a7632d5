"""docs/comparison.md says of other tools only what it can cite, and has no figures of its own."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/comparison.md").read_text()
TABLES = ("While a candidate runs", "Deciding, owning, paying")


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    found = [line.split("|")[1:-1] for line in section(heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in found[1:]]


def tools(heading: str) -> list[str]:
    return [tool.strip("*") for tool, *_ in rows(heading)]


def test_every_tool_is_asked_every_question_and_told_where_it_is_better() -> None:
    first, second = map(tools, TABLES)
    better = re.findall(r"^\*\*(.+?)\.\*\* ", section("When another is the better choice"), re.MULTILINE)
    assert len(first) == 16
    assert first == second == ["canary", *better]


@pytest.mark.parametrize("tool", tools(TABLES[0])[1:])
def test_every_tool_is_spoken_of_with_pages_of_its_own(tool: str) -> None:
    said = [cell for heading in TABLES for row in rows(heading) if row[0] == f"**{tool}**" for cell in row]
    assert any("](https://" in cell for cell in said)


def test_every_reason_for_another_tool_has_two_sentences() -> None:
    reasons = section("When another is the better choice").strip().split("\n\n")
    counted = {each: len(re.findall(r"\.(?:\s|$)", each.partition(".** ")[2])) for each in reasons}
    assert [each for each, sentences in counted.items() if sentences != 2] == []


def test_the_page_says_of_which_day_it_is() -> None:
    assert re.search(r"^As of 20\d\d-\d\d-\d\d\.", PAGE, re.MULTILINE)


def test_every_report_of_trouble_is_cited_and_answered() -> None:
    problems = rows("Problems that users of gateways have reported")
    assert len(problems) >= 5
    for reported, canary in problems:
        assert "](https://" in reported
        files = re.findall(r"`(tests/[\w/]+\.py)`", canary)
        assert files or "](reliability.md)" in canary
        assert [file for file in files if not (ROOT / file).exists()] == []
