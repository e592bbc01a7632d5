"""A dataset is read whole, or refused with every line that is wrong."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from bench.dataset.example import TASKS, ActionTask
from bench.dataset.file import Dataset, parse
from bench.errors import BadDataset
from canary.commands.dataset import described, warnings

CALL = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "refund"}'}}
TOOLS = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]
RIGHT: dict[str, dict[str, Any]] = {
    "choice": {"choices": ["red", "blue"], "expected": "B"},
    "extract": {"expected": {"total": 12.5}},
    "classify": {"expected": "spam"},
    "similar": {"expected": "It is on its way."},
    "rank": {"expected": ["a", "b", "c"]},
    "exact": {"expected": ["42", "forty-two"]},
    "regex": {"expected": r"(?i)\b42\b"},
    "json": {"expected": {"type": "object", "required": ["total"]}},
    "judge": {"expected": "names the refund's date"},
    **{each: {"tools": TOOLS, "expected": {"tool_calls": [CALL]}} for each in get_args(ActionTask)},
}


def line(kind: str = "exact", **fields: Any) -> str:
    return json.dumps({"id": "1", "task": kind, "input": "Which?", **RIGHT[kind], **fields})


def told(text: str) -> list[tuple[int, str]]:
    with pytest.raises(BadDataset) as caught:
        parse(text)
    return [(each.line, each.message) for each in caught.value.problems]


def lines(count: int, **fields: Any) -> Iterator[str]:
    for number in range(count):
        yield line(id=str(number), **fields)


def of(*texts: str) -> Dataset:
    return parse("\n".join(texts))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_examples(task: str) -> None:
    (found,) = of(line(task)).examples
    assert (found.task, found.messages[0].role, found.messages[0].content) == (task, "user", "Which?")


def test_an_input_may_be_a_conversation() -> None:
    said = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Which?"}]
    (found,) = of(line(input=said)).examples
    assert [each.role for each in found.messages] == ["system", "user"]


def test_all_wrong_lines_are_named_at_once_by_their_number() -> None:
    found = told(
        "\n".join([line(), "", "{", line(id="2", colour="red"), line("choice", id="3", expected="C")])
    )
    assert [number for number, _ in found] == [3, 4, 5]
    assert "not a JSON object" in found[0][1]
    assert "`colour`" in found[1][1]
    assert "one of the choices" in found[2][1]


@pytest.mark.parametrize(
    ("task", "fields", "words"),
    [
        ("exact", {"task": "guess"}, "'guess' - at `$.task`; a task is one of choice, extract,"),
        ("exact", {"id": " "}, "id is empty"),
        ("exact", {"input": ""}, "input"),
        (
            "exact",
            {"input": [{"role": "assistant", "content": "Hello."}]},
            "messages with the user's or a tool's last",
        ),
        ("exact", {"expected": 42}, "a list of accepted texts"),
        ("exact", {"expected": []}, "a list of accepted texts"),
        ("exact", {"threshold": 1.5}, "threshold"),
        ("regex", {"expected": "(unclosed"}, "not a regular expression of Python's `re`: missing )"),
        ("regex", {"expected": ["a"]}, "expected must be a regular expression"),
        ("json", {"expected": []}, "expected must be a JSON Schema, for example {}"),
        ("json", {"expected": {"type": "objekt"}}, "not a JSON Schema that can be used"),
        ("json", {"expected": {"$ref": "http://127.0.0.1:9/x.json"}}, "not a JSON Schema that can be used"),
        (
            "exact",
            {"parameters": {"model": "x", "stream": True}},
            "must not have model, stream: the benchmark",
        ),
        ("exact", {"parameters": []}, "`$.parameters`"),
        ("exact", {"path": "/v1/embeddings"}, "path must be /v1/responses, or left out for the API's own"),
        ("exact", {"headers": {"cookie": "a"}}, "headers may have anthropic-version, anthropic-beta,"),
        ("extract", {"tolerance": -1}, "tolerance"),
        ("choice", {"choices": ["red"]}, "2 to 26"),
        ("choice", {"choices": ["red", "red"]}, "choices has a duplicate"),
        ("extract", {"expected": {}}, "fields to find"),
        ("classify", {"choices": ["ham", "eggs"]}, "one of the choices"),
        ("rank", {"expected": ["a"]}, "at least two"),
        ("rank", {"choices": ["a", "b"]}, "the same texts"),
        ("judge", {"expected": ["a"]}, "says what a good answer contains"),
    ],
)
def test_what_a_line_gets_wrong_is_said(task: str, fields: dict[str, Any], words: str) -> None:
    assert any(words in message for _, message in told(line(task, **fields)))


def test_a_mark_of_byte_order_before_the_first_line_is_no_mistake() -> None:
    assert len(of(f"\ufeff{line()}").examples) == 1


def test_an_empty_file_is_no_dataset() -> None:
    assert told("\n\n") == [(1, "the file has no example")]


def test_a_line_that_stands_twice_is_refused_but_an_id_may_ask_several_things() -> None:
    assert told(f"{line()}\n{line()}") == [(2, "repeats line 1")]
    assert len(of(line(), line(input="Which one?")).examples) == 2


def test_the_version_does_not_know_spacing_or_the_order_of_keys_but_every_word() -> None:
    spaced = json.dumps(json.loads(line(category="billing")), indent=None, separators=(" , ", " : "))
    turned = json.dumps(dict(reversed(json.loads(line(category="billing")).items())))
    versions = {of(text).sha256 for text in (line(category="billing"), spaced, turned)}
    assert len(versions) == 1
    changed = (line(), line(category="billing", critical=True), line(category="billing", input="Who?"))
    assert versions.isdisjoint({of(text).sha256 for text in changed})


def test_parameters_belong_to_the_version_and_a_line_without_any_keeps_its_own() -> None:
    plain, asked = of(line()), of(line(parameters={"temperature": 0}))
    assert asked.examples[0].extras.parameters == {"temperature": 0}
    assert plain.sha256 == of(line(parameters={})).sha256 != asked.sha256
    assert plain.sha256 == "fc0e07383b9819f69dd015b6110cba727202092f5f1ece6d7bfe6715aa4717a2"


def test_an_example_of_which_nobody_could_say_what_is_right_is_kept_and_not_scored() -> None:
    found = of(line(), line(id="2", expected=None))
    assert (len(found.examples), len(found.scored)) == (2, 1)
    assert described(found)["ambiguous"] == 1


def test_few_examples_and_repeated_ids_are_warned_of() -> None:
    assert list(warnings(of(*lines(50)))) == []
    assert any("49 examples are too few" in each for each in warnings(of(*lines(49))))
    few = warnings(of(*lines(39, category="fraud", critical=True)))
    assert any("fraud has 39 examples" in each for each in few)
    assert any("several lines" in each for each in warnings(of(line(), line(input="Who?"))))


RESULT = {"role": "tool", "tool_call_id": "c1", "content": "[]"}
ASKED = {"role": "user", "content": "Which?"}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}


def test_an_input_may_end_with_a_tools_result() -> None:
    (found,) = of(line("action", input=[ASKED, CALLS, RESULT])).examples
    assert [each.role for each in found.messages] == ["user", "assistant", "tool"]
    assert found.messages[1].tool_calls[0].name == "search"
    assert found.messages[2].tool_call_id == "c1"
    assert [each.name for each in found.extras.tools] == ["search"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"input": [ASKED, CALLS]}, "input must be a text, or messages with the user's or a tool's last"),
        ({"input": [ASKED, RESULT]}, "input: the result of c1 does not follow its call"),
        ({"input": [ASKED, CALLS, ASKED]}, "input: the call c1 has no result behind it"),
        ({"tools": []}, "the task action needs tools, as OpenAI's chat has them"),
        ({"tools": [*TOOLS, *TOOLS]}, "each of tools needs a name of its own"),
        ({"expected": {}}, "expected must be an assistant's message with tool_calls or content"),
        (
            {"expected": {"tool_calls": [{"function": {"name": "find"}}]}},
            "expected calls find, which tools has not",
        ),
    ],
)
def test_what_no_provider_would_take_is_refused(fields: dict[str, Any], says: str) -> None:
    assert says in [message for _, message in told(line("action", **fields))]


def test_a_calls_arguments_are_part_of_the_question() -> None:
    other = {**CALL, "function": {"name": "search", "arguments": '{"q": "order"}'}}
    messages = [[ASKED, {**CALLS, "tool_calls": [call]}, RESULT] for call in (CALL, other)]
    one, two = (of(line("action", input=each)).examples[0] for each in messages)
    assert one.hash != two.hash
