"""`canary dataset`: what a dataset holds, or every line that is wrong, by exit code."""

import json
from pathlib import Path

from typer.testing import CliRunner

from canary.cli import app

LINE = '{"id": "1", "task": "exact", "input": "2 + 2?", "expected": "4", "category": "sums"}\n'


def test_a_sound_dataset_is_described(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(LINE)
    done = CliRunner().invoke(app, ["dataset", "check", str(file), "-o", "json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["examples"], found["categories"], found["problems"]) == (
        0,
        1,
        {"sums": 1},
        [],
    )
    text = CliRunner().invoke(app, ["dataset", "check", str(file)])
    assert found["sha256"][:12] in text.stdout
    assert "1 examples are few" in text.stderr


def test_wrong_lines_end_it_with_one_and_are_named(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text(f"{LINE}nothing\n\n[]\n")
    done = CliRunner().invoke(app, ["dataset", "check", str(file), "-o", "json"])
    assert done.exit_code == 1
    assert [each["line"] for each in json.loads(done.stdout)["problems"]] == [2, 4]
    assert f"{file}:4: " in done.stderr


def test_a_file_that_is_not_there_ends_it_with_one(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dataset", "check", str(tmp_path / "none.jsonl")])
    assert done.exit_code == 1
    assert "cannot be read" in done.stderr
