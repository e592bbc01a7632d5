"""Gemini's interactions, as google-genai 3.6.1 declares them: streamed and whole."""

import json
from typing import Any

import pytest

from proxy.answers.provider_error import said
from proxy.attempts.examination import judge
from proxy.calls.call import facts_of
from proxy.calls.prompt import PromptMessage, conversation, question
from proxy.dialects.gemini import operation
from proxy.dialects.interactions import InteractionEvents, read_json
from proxy.dialects.interactions import expected_output as expected
from proxy.dialects.interactions import read_output as read
from proxy.dialects.interactions import take_output as take
from proxy.dialects.operation import PASS_THROUGH, CollectedOutput, OutputForm, OutputRequest, collect
from records.outcome import Usage
from tests.proxy.calls import routes

COUNTS = {
    "total_input_tokens": 12,
    "total_tool_use_tokens": 100,
    "total_cached_tokens": 8,
    "total_output_tokens": 30,
    "total_thought_tokens": 40,
    "total_tokens": 182,
}
COUNTED = Usage(input_tokens=112, cached_input_tokens=8, output_tokens=70, reasoning_tokens=40)
OUTPUT = {"type": "model_output", "content": [{"type": "text", "text": "Hello"}]}
CALL = {"type": "function_call", "id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}
THOUGHT = {"type": "thought", "signature": "CiQB", "summary": [{"type": "text", "text": "hm"}]}


def started(step: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return {"event_type": "step.start", "index": index, "step": step}


def delta(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"event_type": "step.delta", "index": index, "delta": {"type": kind, **fields}}


def completed(status: str = "completed", **fields: Any) -> dict[str, Any]:
    interaction = {"id": "v1_x", "status": status, "usage": COUNTS} | fields
    return {"event_type": "interaction.completed", "interaction": interaction}


def told(*events: dict[str, Any], name: bytes = b"") -> InteractionEvents:
    reader = InteractionEvents()
    for event in events:
        assert reader.take(name, json.dumps(event).encode()) is False
    return reader


def whole(status: str = "completed", *steps: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps(
        {"id": "v1_x", "status": status, "steps": list(steps), "usage": COUNTS} | fields
    ).encode()


def test_a_stream_has_its_usage_and_its_end_in_interaction_completed() -> None:
    begun = [started({"type": "model_output"}), delta("text", text="Hello")]
    assert (told(*begun).seen.token, told(*begun).seen.done, told(*begun).seen.usage) == (True, False, None)
    reader = told(*begun, completed())
    assert (reader.seen.done, reader.seen.failed, reader.seen.usage) == (True, False, COUNTED)
    assert (reader.seen.answer.finish, reader.seen.answer.faults()) == ("stop", set())


def test_thoughts_are_output_and_tool_results_are_input() -> None:
    assert read_json(whole("completed", OUTPUT)).usage == COUNTED


@pytest.mark.parametrize(
    ("event", "token"),
    [
        (delta("text", text="Hi"), True),
        (delta("text", text=""), False),
        (delta("thought_summary", content={"type": "text", "text": "hm"}), True),
        (delta("thought_signature", signature="CiQB"), False),
        (delta("arguments_delta", arguments='{"a":'), False),
        (delta("image", data="iVBOR", mime_type="image/png"), False),
        (started(OUTPUT), True),
        (started({"type": "model_output"}), False),
    ],
)
def test_the_first_token_is_the_first_text_or_thought(event: dict[str, Any], token: bool) -> None:
    assert told(event).seen.token is token


@pytest.mark.parametrize(
    ("status", "steps", "finish", "faults"),
    [
        ("completed", [OUTPUT], "stop", set()),
        ("completed", [THOUGHT], "stop", {"empty"}),
        ("completed", [], "stop", {"empty"}),
        ("incomplete", [OUTPUT], "length", {"cut_off"}),
        ("incomplete", [THOUGHT], "length", {"cut_off", "empty"}),
        ("requires_action", [THOUGHT, CALL], "tool_calls", set()),
        ("requires_continuation", [OUTPUT], "other", set()),
        ("budget_exceeded", [OUTPUT], "other", set()),
    ],
)
def test_the_status_says_why_it_ended(
    status: str, steps: list[dict[str, Any]], finish: str, faults: set[str]
) -> None:
    reading, reader = read_json(whole(status, *steps)), told(completed(status, steps=steps))
    assert (reading.valid, reading.failed, reader.seen.done, reader.seen.failed) == (True, False, True, False)
    for answer in (reading.answer, reader.seen.answer):
        assert answer is not None
        assert (answer.finish, answer.faults()) == (finish, faults)


@pytest.mark.parametrize("kind", ["image", "audio", "video", "document"])
def test_media_are_content(kind: str) -> None:
    assert told(delta(kind, data="eA=="), completed()).seen.answer.faults() == set()
    step = {"type": "model_output", "content": [{"type": kind, "data": "eA=="}]}
    answer = read_json(whole("completed", step)).answer
    assert answer is not None
    assert answer.faults() == set()


def test_what_the_caller_sent_is_no_answer() -> None:
    step = {"type": "user_input", "content": [{"type": "text", "text": "Hello?"}]}
    answer = read_json(whole("completed", step)).answer
    assert answer is not None
    assert answer.faults() == {"empty"}


def test_an_interaction_in_the_background_has_no_answer_yet() -> None:
    for status in ("queued", "in_progress"):
        reading = read_json(whole(status))
        assert (reading.valid, reading.failed, reading.answer) == (True, False, None)


@pytest.mark.parametrize(
    "blocked",
    [
        {"errors": [{"code": "safety", "message": "The answer was blocked."}]},
        {"errors": [{"code": "https://ai.google.dev/errors/PROHIBITED_CONTENT"}]},
        {"steps": [{"type": "model_output", "error": {"code": 3, "message": "Blocked: RECITATION"}}]},
    ],
)
def test_a_block_is_a_refusal_and_no_failure(blocked: dict[str, Any]) -> None:
    reading = read_json(json.dumps({"status": "failed", **blocked}).encode())
    assert reading.answer is not None
    assert (reading.failed, reading.answer.finish, reading.answer.faults()) == (
        False,
        "content_filter",
        {"refused"},
    )
    reader = told(completed("failed", **blocked))
    assert (reader.seen.done, reader.seen.failed, reader.seen.answer.finish) == (
        True,
        False,
        "content_filter",
    )


def test_a_failed_interaction_fails() -> None:
    wrong = [{"code": "internal", "message": "It broke."}]
    assert read_json(whole("failed", errors=wrong)).failed
    assert told(completed("failed", errors=wrong)).seen.failed
    assert read_json(b'{"error": {"code": "internal"}}').failed


def test_an_error_event_fails_the_stream() -> None:
    event = {"event_type": "error", "error": {"code": "unavailable", "message": "Overloaded."}}
    assert told(event).seen.failed
    assert told({}, name=b"error").seen.failed


def test_what_the_provider_says_is_found_in_every_form() -> None:
    wrong = {"code": "unavailable", "message": "Overloaded."}
    for body in (
        {"event_type": "error", "error": wrong},
        {"error": wrong},
        {"id": "v1_x", "status": "failed", "errors": [wrong]},
        completed("failed", errors=[wrong]),
    ):
        found = said(json.dumps(body).encode())
        assert found is not None
        assert (found.code, found.message) == ("unavailable", "Overloaded.")


@pytest.mark.parametrize("data", [b"[DONE]", b"nonsense", b"[]", b'"text"', b"\xff"])
def test_other_data_changes_nothing(data: bytes) -> None:
    reader = InteractionEvents()
    assert reader.take(b"done", data) is False
    assert (reader.seen.token, reader.seen.done, reader.seen.failed, reader.seen.usage) == (
        False,
        False,
        False,
        None,
    )


@pytest.mark.parametrize("usage", [7, [], {"total_input_tokens": "9"}, {"total_input_tokens": -1}])
def test_counts_of_another_shape_are_unknown_and_hide_nothing_else(usage: object) -> None:
    reader, reading = told(completed(usage=usage)), read_json(whole("completed", OUTPUT, usage=usage))
    assert (reader.seen.done, reader.seen.failed, reader.seen.usage) == (True, False, None)
    assert (reading.valid, reading.failed, reading.usage) == (True, False, None)


def test_steps_of_another_shape_hide_no_counts() -> None:
    body = json.dumps({"status": "completed", "steps": 7, "usage": COUNTS}).encode()
    assert read_json(body).usage == COUNTED
    assert told(
        {"event_type": "interaction.completed", "interaction": {"steps": 7, "usage": COUNTS}}
    ).seen.done
    assert not read_json(b"<html>").valid


def test_only_the_counts_can_be_read_of_a_long_answer() -> None:
    reading = read_json(json.dumps({"usage": COUNTS}).encode())
    assert (reading.valid, reading.usage) == (True, COUNTED)


# Which requests it is, and what they name.


@pytest.mark.parametrize(
    "path", ["/v1beta/interactions", "/v1/interactions", "/v1beta1/projects/p/locations/r/interactions"]
)
def test_creating_one_is_an_operation_for_canaries(path: str) -> None:
    found = operation(path)
    assert (found.name, found.canary, found.model_in, found.creates_state) == (
        "generate_content",
        True,
        "body",
        True,
    )


@pytest.mark.parametrize("path", ["/v1beta/interactions/v1_x", "/v1beta/interactions/v1_x/cancel"])
def test_the_others_pass(path: str) -> None:
    assert operation(path) is PASS_THROUGH


def facts(**body: Any) -> Any:
    route = routes().route("POST", "/v1beta/interactions", b"", {})
    return facts_of(route, json.dumps({"input": "Hi", **body}).encode())


def test_the_model_stands_in_the_body_and_an_agent_is_no_model() -> None:
    assert facts(model="gemini-2.5-flash", stream=True).model == "gemini-2.5-flash"
    assert facts(model="gemini-2.5-flash", stream=True).stream
    assert facts(agent="deep-research") is None


@pytest.mark.parametrize(
    "named",
    [
        {"previous_interaction_id": "v1_x"},
        {"continuation_token": "dG9r"},
        {"environment": "environments/e1"},
    ],
)
def test_what_names_state(named: dict[str, Any]) -> None:
    assert facts(model="m", **named).names_state
    assert not facts(model="m", **dict.fromkeys(named, None)).names_state


def test_a_new_environment_names_no_state_and_store_false_makes_none() -> None:
    assert not facts(model="m", environment={"sources": []}).names_state
    assert facts(model="m", store=False).declines_store
    assert not facts(model="m").declines_store


# What the model wrote, against what the request lets it write.

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "name": "weather", "parameters": WEATHER}]
JSON = {"type": "text", "mime_type": "application/json", "schema": WEATHER}


def collected(*events: dict[str, Any]) -> CollectedOutput:
    output = CollectedOutput()
    for event in events:
        take(output, json.dumps(event).encode())
    take(output, b"[DONE]")
    return output


def asked(**members: Any) -> OutputRequest:
    request = facts(model="m", **members).output
    assert isinstance(request, OutputRequest)
    return request


def test_a_streamed_call_has_its_arguments_in_pieces() -> None:
    begun = {"type": "function_call", "id": "c1", "name": "weather", "arguments": {}}
    output = collected(
        started({"type": "thought"}),
        started(begun, 1),
        delta("arguments_delta", 1, arguments='{"city":'),
        delta("arguments_delta", 1, arguments='"Oslo"}'),
        started({"type": "google_search_call"}, 2),
        delta("arguments_delta", 2, arguments="{}"),
        completed("requires_action"),
    )
    (call,) = output.choices[0].calls
    assert (call.id, call.name, call.arguments, output.lost) == ("c1", "weather", '{"city":"Oslo"}', False)


def test_a_call_that_google_runs_has_its_arguments_as_an_object() -> None:
    runs = delta("code_execution_call", 1, id="c", arguments={"language": "python", "code": "1"})
    named = {"type": "text", "text": "Hello", "id": None, "name": None}
    events = [
        started({"type": "code_execution_call", "id": None, "name": None}, 1),
        {"event_type": "interaction.status_update", "interaction": None},
        runs | {"usage": COUNTS},
        delta("text", text="Hello"),
    ]
    assert told(*events).seen.usage == COUNTED
    output = CollectedOutput()
    for event in events:
        collect(take, output, json.dumps(event).encode())
    assert (output.lost, output.choices[0].text) == (False, "Hello")
    answer = read_json(
        whole("completed", OUTPUT | named, {"type": "model_output", "content": [named]})
    ).answer
    assert answer is not None


def test_the_steps_at_the_end_replace_what_came_before() -> None:
    output = collected(started(OUTPUT), completed(steps=[OUTPUT, CALL]))
    assert output.choices[0].text == "Hello"
    assert [call.arguments for call in output.choices[0].calls] == ['{"city": "Oslo"}']


def test_a_whole_interaction_gives_texts_and_calls() -> None:
    output = CollectedOutput()
    read(output, whole("requires_action", THOUGHT, OUTPUT, CALL))
    assert (output.choices[0].text, output.choices[0].calls[0].name) == ("Hello", "weather")
    collect(read, output, b"nonsense")
    assert output.lost


@pytest.mark.parametrize(("name", "faults"), [("weather", set()), ("news", {"tool_unknown"})])
def test_a_call_of_a_tool_that_the_request_does_not_have_is_a_fault(name: str, faults: set[str]) -> None:
    output, form, body = CollectedOutput(), _form(), whole("requires_action", {**CALL, "name": name})
    read(output, body)
    judged = judge(
        form, asked(tools=[{"type": "function", "name": "weather"}]), output, read_json(body).answer
    )
    assert set(judged.faults) == faults


def _form() -> OutputForm:
    form = operation("/v1/interactions").output
    assert form is not None
    return form


@pytest.mark.parametrize("wanted", [JSON, [{"type": "audio"}, JSON]])
def test_a_wanted_json_has_its_schema(wanted: object) -> None:
    found = expected(asked(response_format=wanted))
    assert found.wants_json
    assert found.schema is not None
    assert json.loads(found.schema.text) == WEATHER


def test_plain_text_wants_no_json() -> None:
    assert facts(model="m", response_format={"type": "text", "mime_type": "text/plain"}).output is None
    assert not expected(asked(tools=TOOLS, response_format={"type": "image"})).wants_json


@pytest.mark.parametrize(
    ("tool", "others"),
    [
        ({"type": "google_search"}, False),
        ({"type": "mcp_server", "name": "m", "url": "https://x.example"}, False),
        ({"type": "computer_use"}, True),
        ({"type": "of_tomorrow"}, True),
    ],
)
def test_tools_that_google_runs_bring_no_functions(tool: dict[str, Any], others: bool) -> None:
    found = expected(asked(tools=[*TOOLS, tool]))
    assert (set(found.tools), found.others) == ({"weather"}, others)


# Its texts.


def test_the_text_of_an_answer_is_the_models_output_alone() -> None:
    output = CollectedOutput()
    read(output, whole("completed", THOUGHT, CALL, OUTPUT))
    assert output.choices[0].text == "Hello"
    output.restart()
    for event in [
        started(OUTPUT),
        delta("text", text=" you"),
        delta("thought_summary", content={"type": "text", "text": "hm"}),
        delta("arguments_delta", arguments="{}"),
    ]:
        take(output, json.dumps(event).encode())
    assert output.choices[0].text == "Hello you"


IMAGE = {"type": "image", "data": "eA==", "mime_type": "image/png"}
TEXT = {"type": "text", "text": "Where is it?"}


@pytest.mark.parametrize(
    ("given", "whole_turn"),
    [
        ("Where is it?", True),
        (TEXT, True),
        ([TEXT], True),
        ([TEXT, IMAGE], False),
        ([{"type": "user_input", "content": [TEXT]}], True),
        ([{"type": "user_input", "content": "Hi"}, OUTPUT, {"type": "user_input", "content": [TEXT]}], True),
    ],
)
def test_the_question_in_every_form_of_input(given: object, whole_turn: bool) -> None:
    body = json.dumps({"model": "m", "input": given}).encode()
    assert question(body) == "Where is it?"
    assert conversation(body)[-1] == PromptMessage(role="user", text="Where is it?", whole=whole_turn)


def test_a_conversation_has_its_system_instruction_its_turns_and_results() -> None:
    given = [
        {"type": "user_input", "content": [TEXT]},
        THOUGHT,
        CALL,
        {"type": "function_result", "call_id": "c1", "name": "weather", "result": "7 degrees"},
        OUTPUT,
    ]
    body = json.dumps({"model": "m", "system_instruction": "Be brief.", "input": given}).encode()
    found = conversation(body)
    assert [call.name for call in found[2].calls] == ["weather"]
    assert [(turn.role, turn.text) for turn in found] == [
        ("system", "Be brief."),
        ("user", "Where is it?"),
        ("assistant", ""),
        ("tool", "7 degrees"),
        ("assistant", "Hello"),
    ]
    asked_last = json.dumps({"model": "m", "input": given[:-1]}).encode()
    assert question(asked_last) == ""


def test_an_end_without_a_model_leaves_the_model_that_was_named() -> None:
    named = completed("requires_action", model="gemini-2.5-flash")
    assert told(named, completed()).seen.model == "gemini-2.5-flash"
