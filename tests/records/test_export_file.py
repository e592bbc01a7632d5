"""Tables as files."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from records.exports.files import Kind, Rows, write_table
from verdict.sample.csv_log import from_csv

COLUMNS: dict[str, Kind] = {"name": "text", "at": "time", "n": "count", "x": "number", "ok": "truth"}
PAGES: list[Rows] = [
    [('a,"b"\nc', 1_795_000_000.25, 7, 0.5, True), ("ü", 0.0, None, None, False)],
    [("z", 1.0, 2**40, 1e-9, True)],
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table"


def test_csv_says_times_in_words_and_leaves_out_what_is_unknown(path: Path) -> None:
    assert write_table(path, "csv", COLUMNS, PAGES) == 3
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["name", "at", "n", "x", "ok"],
            ['a,"b"\nc', "2026-11-18T11:06:40.250000Z", "7", "0.5", "true"],
            ["ü", "1970-01-01T00:00:00.000000Z", "", "", "false"],
            ["z", "1970-01-01T00:00:01.000000Z", "1099511627776", "1e-09", "true"],
        ]


def test_a_spreadsheet_runs_no_cell_of_an_export_and_a_log_reads_it_back(path: Path) -> None:
    columns: dict[str, Kind] = {
        "unit": "text",
        "arm": "text",
        "at": "number",
        "category": "text",
        "latency_s": "number",
    }
    rows: Rows = [("u1", "baseline", 1.0, "=1+1", 0.5), ("-2", "candidate", 2.0, "\u202e\x9bx", 0.25)]
    assert write_table(path, "csv", columns, [rows]) == 2
    assert path.read_text().splitlines()[1:] == [
        "u1,baseline,1.0,'=1+1,0.5",
        "'-2,candidate,2.0,\\u202e\\u009bx,0.25",
    ]
    sample = from_csv(path)
    assert (sample.units, sample.category.texts()) == (("-2", "u1"), ["=1+1", "\\u202e\\u009bx"])


def test_parquet_has_types_and_a_row_group_a_page(path: Path) -> None:
    assert write_table(path, "parquet", COLUMNS, PAGES) == 3
    table = pq.read_table(path)
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "name": "string",
        "at": "timestamp[us, tz=UTC]",
        "n": "int64",
        "x": "double",
        "ok": "bool",
    }
    assert table.column("n").to_pylist() == [7, None, 2**40]
    assert table.column("at")[0].as_py().timestamp() == 1_795_000_000.25
    assert pq.ParquetFile(path).num_row_groups == 2


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_nothing_to_write_is_a_table_without_rows(path: Path, form: Any) -> None:
    assert write_table(path, form, COLUMNS, []) == 0
    assert path.stat().st_size > 0


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_what_fails_half_way_leaves_what_was_there(path: Path, form: Any) -> None:
    def breaks() -> Iterator[Rows]:
        yield PAGES[0]
        raise OSError("the disk is full")

    path.write_text("before")
    with pytest.raises(OSError, match="full"):
        write_table(path, form, COLUMNS, breaks())
    assert [each.name for each in path.parent.iterdir()] == ["table"]
    assert path.read_text() == "before"
