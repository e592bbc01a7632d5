"""The page on records has a row for every column that is taken out."""

import re
from pathlib import Path
from typing import get_args

import pytest

from records.exports.files import What, export_columns, with_definitions

PAGE = (Path(__file__).parents[2] / "docs/records.md").read_text()


@pytest.mark.parametrize("what", get_args(What))
def test_every_column_of_an_export_has_a_row_and_no_other(what: What) -> None:
    section = PAGE.partition(f"\n## {what.capitalize()}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    columns = export_columns(what)
    if what == "feedback":
        columns, _ = with_definitions(columns, [], {})
    assert sorted(documented) == sorted(columns)


def test_every_kind_of_value_is_explained() -> None:
    kinds = {kind for what in get_args(What) for kind in export_columns(what).values()}
    cells = {
        word
        for line in PAGE.splitlines()
        if line.startswith("| `")
        for word in re.findall(r"\w+", line.split("|")[2])
    }
    assert kinds <= cells
