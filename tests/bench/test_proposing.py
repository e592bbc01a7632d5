"""A judge's words become a proposed label, or leave the line as it was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.dataset.labels import proposed
from bench.dataset.sample import judge_of, question, relabelled
from bench.settings import BenchSettings, DatasetSource, JudgeSource


def a_line(task: str = "judge", expected: Any = "It is on its way.", **more: Any) -> dict[str, Any]:
    asked = [{"role": "user", "content": "Where is my parcel?"}]
    bare = {"id": "1", "task": task, "input": asked, "tags": {}, **more}
    return proposed(bare, expected, by="p/current", at=0.0)


@pytest.mark.parametrize(
    ("task", "said", "expected"),
    [
        ("judge", "Short.\nEXPECTED:\nIt says when it comes.", "It says when it comes."),
        ("judge", "EXPECTED: one\ntwo", "one\ntwo"),
        ("extract", 'Why.\nEXPECTED:\n```json\n{"total": 2}\n```', {"total": 2}),
        ("extract", "EXPECTED:\n{}", None),
        ("extract", "EXPECTED:\nno JSON", None),
        ("judge", "It is fine as it is.", None),
        ("judge", "EXPECTED:\n", None),
        ("judge", "", None),
    ],
)
def test_what_stands_below_expected_is_the_proposal(task: str, said: str, expected: Any) -> None:
    line = a_line(task, {"total": 1} if task == "extract" else "It is on its way.")
    new = relabelled(line, said, by="p/judge", at=60.0)
    assert (new["expected"] if new else None) == expected
    if new is not None:
        assert [each["by"] for each in new["labels"]] == ["p/current", "p/judge"]
        assert new["tags"]["label"] == "proposed"


def test_the_judge_sees_the_conversation_the_answer_and_the_choices_but_no_models_name() -> None:
    (message,) = question(a_line("classify", "billing", choices=["billing", "delivery"]))
    assert "user: Where is my parcel?" in message.content
    assert "the name of the right class (one of: billing, delivery)" in message.content
    assert "p/current" not in message.content


def test_the_judge_is_that_of_the_configs_dataset_in_this_file(tmp_path: Path) -> None:
    source = DatasetSource(name="users", file="data/users.jsonl", layer="real", judge="p/judge")
    settings = BenchSettings(providers={}, canaries=(), datasets=(source,))
    assert judge_of(settings, tmp_path, tmp_path / "data" / "users.jsonl") == "p/judge"
    assert judge_of(settings, tmp_path, tmp_path / "users.jsonl") is None
    with_judge = replace(settings, judge=JudgeSource(provider="p", model="own", daily_budget_usd=1.0))
    assert judge_of(with_judge, tmp_path, tmp_path / "data" / "users.jsonl") == "p/judge"
    assert judge_of(with_judge, tmp_path, tmp_path / "users.jsonl") == "p/own"
