"""The guides by framework keep to what canary has. That their blocks run is `python -m tests.docs.guides`."""

import ast
import re
from pathlib import Path

import pytest

from tests.docs.guides import GUIDES, blocks

ROOT = Path(__file__).parents[2]
INDEX = (GUIDES / "README.md").read_text()
HEADER = re.compile(r"x-canary-[a-z-]+[a-z]")
TABLE = INDEX.partition("\n## What was run\n")[2]


def imported(name: str, text: str) -> set[str]:
    """The packages that a block needs, by the names that they are installed under."""
    if name.startswith("vercel"):
        return set(re.findall(r"from '([^']+)'", text))
    trees = ast.walk(ast.parse(text))
    modules = [
        each.module or "" if isinstance(each, ast.ImportFrom) else each.names[0].name
        for each in trees
        if isinstance(each, ast.Import | ast.ImportFrom)
    ]
    return {module.partition(".")[0].replace("_", "-") for module in modules} - {"os", "httpx2"}


@pytest.mark.parametrize("language", ["python", "js"])
def test_what_a_block_needs_is_named_with_the_version_that_was_run(language: str) -> None:
    found = list(blocks(language))
    assert found
    for name, text in found:
        assert {package for package in imported(name, text) if package not in TABLE} == set(), name


def test_every_header_in_a_guide_is_one_of_canarys() -> None:
    known = set(HEADER.findall((ROOT / "docs/sdks.md").read_text()))
    for path in GUIDES.glob("*.md"):
        assert set(HEADER.findall(path.read_text())) <= known, path.name


def test_every_guide_stands_in_the_index_and_leads_to_what_was_run() -> None:
    guides = {path.name for path in GUIDES.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", INDEX)) == guides
    for name in guides:
        assert "(README.md#what-was-run)" in (GUIDES / name).read_text()


def test_no_framework_of_the_guides_is_a_dependency() -> None:
    locked = {line.partition("==")[0] for line in (ROOT / "requirements.lock").read_text().splitlines()}
    assert {name for name in locked if name.startswith(("langchain", "litellm"))} == set()
