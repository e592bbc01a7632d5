"""One name, one thing: no two public classes share a name."""

import ast
from collections import defaultdict
from pathlib import Path

from canary.python_path import ROOMS

ROOT = Path(__file__).parents[2]
FOLDERS = (*ROOMS, "benchmarks", "deploy", "grafana")

ALLOWED: dict[str, str] = {}
"""Names that stand for several classes, each with the reason."""


def declared() -> dict[str, list[str]]:
    """The files that declare each public class at their top level, by its name."""
    found = defaultdict(list)
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.parse(file.read_text()).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    found[node.name].append(str(file.relative_to(ROOT)))
    return found


def test_no_class_name_is_declared_twice() -> None:
    classes = declared()
    assert len(classes) > 300  # the search still finds the classes
    twice = {name: files for name, files in classes.items() if len(files) > 1 and name not in ALLOWED}
    assert twice == {}
    assert [name for name in ALLOWED if len(classes.get(name, ())) < 2] == []
