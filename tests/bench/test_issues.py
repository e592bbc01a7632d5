"""Known issues: a file of examples with what went wrong; a model's answers say which are gone."""

import json
from typing import Any

import pytest

from bench.answers.results import ExampleResult
from bench.errors import BadDataset
from bench.known_issues import checked, parse_issues
from bench.models.asker import Answer


def issue(id_: str = "1", **fields: Any) -> str:
    example = {"id": id_, "task": "exact", "input": "2 + 2?", "expected": "4", **fields.pop("example", {})}
    told = {"what": "says 5", "since": "old", "at": "2026-11-25", "by": "ann", **fields}
    return json.dumps({"example": example, **told})


def test_issues_are_read_line_by_line() -> None:
    first, second = parse_issues(f"{issue()}\n\n{issue('2', what='says 3')}\n")
    assert (first.example.id, first.what, first.since, first.by) == ("1", "says 5", "old", "ann")
    assert second.what == "says 3"


def test_every_wrong_line_is_named() -> None:
    text = [issue(), "{", issue("2", example={"expected": None}), issue("3", colour="red"), issue()]
    with pytest.raises(BadDataset) as caught:
        parse_issues("\n".join(text))
    assert [each.line for each in caught.value.problems] == [2, 3, 4, 5]
    assert "expected is missing" in caught.value.problems[1].message
    assert caught.value.problems[3].message == "repeats line 1"


def test_an_issue_is_gone_still_there_or_not_known() -> None:
    found = parse_issues("\n".join(issue(str(n)) for n in range(5)))
    answers = [
        (Answer(text="4"), 1.0, True),
        (Answer(text="5"), 0.0, False),
        (Answer(failure="provider_5xx"), 0.0, False),
        (Answer(text="4"), None, False),
    ]
    results = {
        each.example.hash: ExampleResult(example=each.example, answer=answer, score=score, right=right)
        for each, (answer, score, right) in zip(found, answers, strict=False)
    }
    states = [each.state for each in checked(found, results)]
    assert states == ["gone", "still_there", "unknown", "unknown", "unknown"]
