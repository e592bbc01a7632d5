"""A person's answer to an example becomes a line of the dataset, and nothing else in the file changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.dataset.file import LineGone, change, read_lines, stamp
from bench.dataset.labels import proposed, waiting
from bench.settings import DatasetSource
from console.datasets import answered, as_text, chosen, last_answer, read, unwritable
from control.operator.orders import BadOrder


def a_line(name: str, expected: Any = "yes", task: str = "exact", **more: Any) -> dict[str, Any]:
    return proposed({"id": name, "task": task, "input": f"Is it {name}?", **more}, expected, by="p/m", at=0.0)


def ann(line: dict[str, Any], who: str = "ann", **form: str) -> dict[str, Any]:
    given = {"choice": "save", "expected": as_text(last_answer(line)), "category": line.get("category", "")}
    return answered(line, {**given, **form}, who=who, at=60.0)


def test_the_answer_as_it_stands_is_accepted_and_another_is_an_edit() -> None:
    line = a_line("1", "one\ntwo")
    assert ann(line, expected="one\r\ntwo")["tags"] == {"label": "accepted"}
    edit = ann(line, expected="three")
    assert (edit["expected"], edit["tags"]["label"]) == ("three", "edited")
    assert edit["labels"][-1] == {
        "by": "ann", "at": "1970-01-01T00:01:00Z", "label": "edited", "expected": "three",
    }  # fmt: skip
    doubtful = ann(line, choice="ambiguous")
    assert (doubtful["expected"], last_answer(doubtful)) == (None, "one\ntwo")


def test_an_answer_that_is_no_text_is_typed_as_json() -> None:
    line = a_line("1", {"total": 1}, "extract")
    assert ann(line)["tags"]["label"] == "accepted"
    assert ann(line, expected='{"total": 2}')["expected"] == {"total": 2}
    with pytest.raises(BadOrder, match="must be JSON"):
        ann(line, expected="two")
    with pytest.raises(BadOrder, match="is not an answer"):
        ann(line, choice="perhaps")


def test_category_critical_and_edge_are_marked_and_unmarked() -> None:
    marked = ann(a_line("1"), category=" billing ", critical="yes", edge="yes")
    assert (marked["category"], marked["critical"], marked["tags"]["edge"]) == ("billing", True, "yes")
    bare = ann(marked, category="")
    assert {"category", "critical"} & bare.keys() == set()
    assert "edge" not in bare["tags"]


def test_proposals_come_first_and_then_what_one_other_person_labelled() -> None:
    once, twice, mine = ann(a_line("1"), "ben"), ann(ann(a_line("2"), "ben"), "cleo"), ann(a_line("3"))
    lines = [once, twice, mine, a_line("4"), {"id": "5", "task": "exact", "input": "?", "expected": "no"}]
    assert [line["id"] for line in waiting(lines, "ann")] == ["4", "1"]
    assert chosen(lines, waiting(lines, "ann"), after=stamp(lines[3]), show="") == once
    assert chosen(lines, waiting(lines, "ann"), after=stamp(once), show="") is None
    assert chosen(lines, waiting(lines, "ann"), after="", show=stamp(mine)) == mine


def test_only_the_labelled_line_of_the_file_changes_and_its_mode_stays(tmp_path: Path) -> None:
    file = tmp_path / "users.jsonl"
    odd = '{"task":"exact","id":"x",  "input":"Wärum?","expected":"so"}'
    file.write_text(f"{odd}\n{json.dumps(a_line('1'))}\n")
    file.chmod(0o640)
    wanted = stamp(a_line("1"))
    before, after = change(file, wanted, ann)
    assert (before, after) == (a_line("1"), ann(a_line("1")))
    assert file.read_text() == f"{odd}\n{json.dumps(after, ensure_ascii=False)}\n"
    assert file.stat().st_mode & 0o777 == 0o640
    with pytest.raises(LineGone):
        change(file, wanted, ann)
    assert read_lines(file)[1] == after


def test_what_the_server_cannot_read_or_write_is_said(tmp_path: Path) -> None:
    def source(name: str) -> DatasetSource:
        return DatasetSource(name="users", file=str(tmp_path / name), layer="real")

    with pytest.raises(BadOrder, match="cannot read"):
        read(source("none.jsonl"))
    (tmp_path / "bad.jsonl").write_text("[]\n")
    with pytest.raises(BadOrder, match="is not a valid dataset"):
        read(source("bad.jsonl"))
    assert unwritable(source("bad.jsonl")) == ""
    nowhere = DatasetSource(name="users", file="/proc/self/users.jsonl", layer="real")
    assert "canary dataset label users.jsonl" in unwritable(nowhere)
