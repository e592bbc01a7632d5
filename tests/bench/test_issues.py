"""Known issues: a file of examples with what went wrong; a model's answers say which are gone."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.answers.results import ExampleResult
from bench.errors import BadDataset
from bench.known_issues import checked, document, modes_of, parse_issues
from bench.models.asker import Answer
from records.store.benchmarks import IssueCheck, IssueState


def issue(id_: str = "1", **fields: Any) -> str:
    example = {"id": id_, "task": "exact", "input": "2 + 2?", "expected": "4", **fields.pop("example", {})}
    told = {"what": "says 5", "since": "old", "at": "2026-11-25", "by": "ann", **fields}
    return json.dumps({"example": example, **told})


def test_issues_are_read_line_by_line() -> None:
    first, second = parse_issues(f"{issue()}\n\n{issue('2', what='says 3')}\n")
    assert (first.example.id, first.mode, first.since, first.by) == ("1", "says 5", "old", "ann")
    assert second.mode == "says 3"


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


def test_a_model_that_fails_as_the_first_one_did_has_the_issue() -> None:
    (found,) = parse_issues(issue())
    failed = replace(found, error="provider_5xx")
    states = [
        checked([failed], {found.example.hash: ExampleResult(
            example=found.example, answer=Answer(failure=failure), score=0.0, right=False
        )})[0].state
        for failure in ("provider_5xx", "provider_timeout")
    ]  # fmt: skip
    assert states == ["still_there", "unknown"]


def test_a_mode_is_still_there_while_one_of_its_examples_is() -> None:
    found = parse_issues("\n".join([issue(), issue("2"), issue("3", what="says nothing")]))
    right = ExampleResult(example=found[0].example, answer=Answer(text="4"), score=1.0, right=True)
    wrong = ExampleResult(example=found[1].example, answer=Answer(text="5"), score=0.0, right=False)
    told = document("o/new", checked(found, {each.example.hash: each for each in (right, wrong)}))
    assert (told["still_there"], told["unknown"], told["gone"]) == (1, 1, 0)
    assert [(each["mode"], each["state"]) for each in told["issues"]] == [
        ("says 5", "still_there"),
        ("says nothing", "unknown"),
    ]
    assert [each["id"] for each in told["issues"][0]["examples"]] == ["2", "1"]


def test_modes_tell_which_model_had_them_and_where_they_are_cured_or_back() -> None:
    one, two = parse_issues("\n".join([issue(), issue("2")]))

    def check(at: float, model: str, first: IssueState, second: IssueState) -> list[IssueCheck]:
        pair = ((one, first), (two, second))
        return [IssueCheck(at=at, model=model, issue=each.example.hash, state=it) for each, it in pair]

    checks = [
        *check(1, "o/terra", "gone", "still_there"),
        *check(2, "o/sol", "gone", "gone"),
        *check(3, "o/vega", "gone", "gone"),
        *check(4, "o/luna", "still_there", "gone"),
        *check(5, "o/terra", "still_there", "gone"),
        *check(6, "o/luna", "gone", "gone"),
        *check(7, "o/luna", "unknown", "gone"),
        *check(8, "o/sol", "gone", "still_there"),
    ]
    (mode,) = modes_of([one, two], checks)
    told = [(each.model, each.state, each.since, each.had_at, each.cured_at) for each in mode.models]
    assert told == [
        ("o/terra", "has", 1, 1, None),
        ("o/sol", "back", 8, 8, 2),
        ("o/vega", "never", 3, None, 3),
        ("o/luna", "unknown", 7, 4, 6),
    ]
    (earlier,) = modes_of([one, two], checks[:8])
    assert [each.state for each in earlier.models] == ["has", "cured", "never", "back"]
    assert (mode.name, len(mode.examples)) == ("says 5", 2)
