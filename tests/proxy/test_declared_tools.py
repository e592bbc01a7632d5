"""Tools that a request declares in its input, as Codex does, or nowhere in a form that is read."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from proxy.attempts.examination import judge, tool_calls
from proxy.calls.prompt import declared_tools
from proxy.dialects.operation import CollectedOutput
from proxy.dialects.responses import _MOST_OBJECTS
from tests.proxy.calls import call

KEY = b"k" * 32
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "name": "weather", "parameters": SCHEMA}
TOOLS = [
    {
        "type": "namespace",
        "name": "functions",
        "tools": [
            {"type": "custom", "name": "exec", "format": {"type": "text"}},
            WEATHER,
            {"type": "namespace", "name": "deep", "tools": [{**WEATHER, "name": "inner"}]},
        ],
    },
    {"type": "namespace", "name": "others", "tools": [{"type": "function", "name": "weather"}]},
]
HELLO = {"type": "message", "role": "user", "content": "hello"}
ADDED = {"type": "additional_tools", "role": "developer", "tools": TOOLS}
CODEX: Mapping[str, Any] = {"model": "gpt-4o", "store": False, "input": [ADDED, HELLO]}
UNDECLARED: Mapping[str, Any] = {"model": "gpt-4o", "input": [HELLO], "previous_response_id": "resp_1"}


def called(name: str, namespace: str = "", arguments: str = '{"city": "Bern"}') -> dict[str, Any]:
    within = {"namespace": namespace} if namespace else {}
    return {"type": "function_call", "call_id": "c1", "name": name, "arguments": arguments, **within}


EXEC = {"type": "custom_tool_call", "call_id": "c2", "name": "exec", "namespace": "functions", "input": "x("}


def found(body: Mapping[str, Any], *items: Mapping[str, Any]) -> tuple[str, list[str], int, int]:
    """Of an answer with these items: the check, the certain faults, how many schemas are to be looked at, and
    how many calls are seen."""
    said = call(dict(body), path="/v1/responses")
    form, request = said.route.operation.output, said.facts.output
    assert form is not None
    assert request is not None
    assert said.route.operation.read_json is not None
    answer = json.dumps({"status": "completed", "output": items}).encode()
    output = CollectedOutput()
    form.read(output, answer)
    judged = judge(form, request, output, said.route.operation.read_json(answer).answer)
    return judged.check, sorted(judged.faults), len(judged.open), len(tool_calls(KEY, output))


@pytest.mark.parametrize(
    ("item", "faults", "schemas"),
    [
        (EXEC, [], 0),
        ({**EXEC, "namespace": "others"}, ["tool_unknown"], 0),
        (called("weather", "functions"), [], 1),
        (called("weather", "functions", "{"), ["tool_args_invalid"], 0),
        (called("weather", "others", "{}"), [], 0),
        (called("weather"), [], 0),  # of which namespace is not said, and their schemas differ
        (called("inner", "deep"), [], 1),
        (called("inner", "functions.deep"), [], 1),
        (called("inner"), [], 1),
        (called("climate", "functions"), ["tool_unknown"], 0),
    ],
)
def test_tools_in_the_input_are_judged_in_their_namespaces(
    item: dict[str, Any], faults: list[str], schemas: int
) -> None:
    for place in (0, 1):  # Codex begins with them; the API takes them anywhere
        items = [HELLO, HELLO]
        items.insert(place, ADDED)
        assert found({**CODEX, "input": items}, item) == ("judged", faults, schemas, 1)


def test_tools_in_both_places_add_up() -> None:
    body = {**CODEX, "tools": [{"type": "function", "name": "more"}]}
    assert found(body, called("more"), EXEC) == ("judged", [], 0, 2)


def test_calls_of_tools_that_are_declared_nowhere_are_seen_and_not_judged() -> None:
    assert found(UNDECLARED, called("weather"), EXEC) == ("not_judged", [], 0, 2)
    assert found(UNDECLARED, {"type": "message", "content": []}) == ("", [], 0, 0)


def test_words_of_such_an_item_in_a_text_declare_nothing() -> None:
    said = call({**CODEX, "input": [{**HELLO, "content": json.dumps(ADDED)}]}, path="/v1/responses")
    assert said.facts.output is None


def test_an_input_of_too_many_objects_is_not_judged() -> None:
    body = {**CODEX, "input": [ADDED, *[{}] * (_MOST_OBJECTS + 1)]}
    assert found(body, EXEC) == ("not_judged", [], 0, 1)


def test_what_a_tool_is_called_with_has_another_hash_in_another_namespace() -> None:
    hashes = set()
    for namespace in ("", "functions", "others"):
        output = CollectedOutput()
        added = output.add_call(0, 0, id="c1", name="weather", arguments="{}")
        added.namespace = namespace
        (one,) = tool_calls(KEY, output)
        assert one.name == "weather"
        hashes.add(one.digest)
    assert len(hashes) == 3


def test_a_capture_has_the_tools_of_the_input() -> None:
    tools = json.loads(declared_tools(json.dumps(CODEX).encode()))
    assert [each["function"]["name"] for each in tools] == ["exec", "weather", "inner", "weather"]
    assert tools[1]["function"]["parameters"] == SCHEMA
    assert declared_tools(json.dumps({**CODEX, "input": [HELLO]}).encode()) == ""
    assert declared_tools(json.dumps({**CODEX, "input": "additional_tools"}).encode()) == ""
