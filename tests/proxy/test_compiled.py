"""What is chosen to be compiled can be: `make test-compiled` then tests it as it is compiled."""

import ast
from pathlib import Path

import pytest

from hatch_build import COMPILED

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("module", COMPILED)
def test_what_is_compiled_is_there_and_has_no_class_whose_arguments_would_be_lost(module: str) -> None:
    tree = ast.parse((ROOT / module).read_text())
    for each in ast.walk(tree):
        if isinstance(each, ast.ClassDef):
            assert not each.keywords, f"{each.name} has arguments that mypyc does not pass on"
            assert "msgspec.Struct" not in map(ast.unparse, each.bases)
