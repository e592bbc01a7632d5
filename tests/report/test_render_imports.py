"""The servers' threads import the report's renderings as a whole: none meets a module half imported."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("report/release", "report", "console", "control", "canary/programs")


def _modules() -> list[Path]:
    return [each for room in ROOMS for each in sorted((ROOT / room).glob("*.py"))]


@pytest.mark.parametrize("path", _modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_of_the_package_is_imported_by_itself(path: Path) -> None:
    found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert [node.lineno for node in found if (node.module or "").startswith("report.render.")] == []
