"""The servers' threads import pages' modules one by one: none meets a module half imported.

A thread that imports a module holds its lock while it waits for the package. A package that imports its own
modules would wait for that thread in turn, and one of the two would go on with half a module.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted((ROOT / "pages").rglob("__init__.py"))


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_package_imports_its_own_modules(path: Path) -> None:
    imports = (ast.Import, ast.ImportFrom)
    assert [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, imports)] == []
