"""Bedrock's answers as its API reference documents them: Converse, InvokeModel, streamed and whole."""

import json
from typing import Any

import pytest

from proxy.answers.reader import Reader, reader_for
from proxy.answers.recorder import AnswerRecorder
from proxy.attempts.examination import judge
from proxy.calls.call import facts_of
from proxy.calls.prompt import PromptMessage, conversation, question
from proxy.calls.routes import Route
from proxy.dialects.bedrock import operation
from proxy.dialects.operation import PASS_THROUGH, CollectedOutput, Operation, OutputRequest
from proxy.providers.provider import Provider
from proxy.providers.urls import other
from records.captures.capture import CapturedToolCall
from records.outcome import Fault, Finish, Usage
from tests.servers.event_frames import chunk, event

FRAMES = b"application/vnd.amazon.eventstream"
CONVERSE = operation("/model/amazon.nova-lite-v1%3A0/converse")
CONVERSE_STREAM = operation("/model/amazon.nova-lite-v1%3A0/converse-stream")
INVOKE = operation("/model/m/invoke")
INVOKE_STREAM = operation("/model/m/invoke-with-response-stream")


def told(
    of: Operation,
    body: bytes,
    *,
    output: CollectedOutput | None = None,
    recorder: AnswerRecorder | None = None,
    counted: Usage | None = None,
) -> Reader:
    reader = reader_for(
        of,
        status=200,
        content_type=FRAMES if of.streams else b"application/json",
        encoding=b"",
        strip=False,
        output=output,
        recorder=recorder,
        counted=counted,
    )
    for at in range(0, len(body), 50):
        reader.feed(body[at : at + 50], 1.0)
    assert reader.finish()[1] is None
    return reader


def whole(content: list[Any], reason: str = "end_turn", **usage: Any) -> bytes:
    message = {"message": {"role": "assistant", "content": content}}
    usage = usage or {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    return json.dumps(
        {"metrics": {"latencyMs": 5}, "output": message, "stopReason": reason, "usage": usage}
    ).encode()


def converse_events(content: list[Any], reason: str = "end_turn", **usage: Any) -> list[tuple[str, Any]]:
    """The events in which Converse streams these blocks, in pieces."""
    events: list[tuple[str, Any]] = [("messageStart", {"role": "assistant"})]
    for place, block in enumerate(content):
        at = {"contentBlockIndex": place}
        if "toolUse" in block:
            call = dict(block["toolUse"])
            text = json.dumps(call.pop("input"))
            events.append(("contentBlockStart", {"start": {"toolUse": call}, **at}))
            pieces = [{"toolUse": {"input": piece}} for piece in (text[:4], text[4:])]
        elif "reasoningContent" in block:
            pieces = [{"reasoningContent": {"text": block["reasoningContent"]["reasoningText"]["text"]}}]
        else:
            pieces = [{"text": block["text"][:2]}, {"text": block["text"][2:]}]
        events += [("contentBlockDelta", {"delta": piece, **at, "p": "abc"}) for piece in pieces]
        events.append(("contentBlockStop", at))
    events.append(("messageStop", {"stopReason": reason}))
    usage = usage or {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    return [*events, ("metadata", {"usage": usage, "metrics": {"latencyMs": 5}})]


def streamed(content: list[Any], reason: str = "end_turn", **usage: Any) -> bytes:
    return b"".join(event(name, data) for name, data in converse_events(content, reason, **usage))


def nova(content: list[Any], reason: str = "end_turn", **usage: Any) -> bytes:
    return b"".join(chunk({name: data}) for name, data in converse_events(content, reason, **usage))


BOTH = pytest.mark.parametrize(
    ("of", "body"), [(CONVERSE, whole), (CONVERSE_STREAM, streamed), (INVOKE, whole), (INVOKE_STREAM, nova)]
)
TEXT = {"text": "Blue."}
REASONING = {"reasoningContent": {"reasoningText": {"text": "Hm"}}}
CALL = {"toolUse": {"toolUseId": "c", "name": "f", "input": {"a": 1}}}
SERVER_CALL = {
    "toolUse": {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use", "input": {}}
}


@pytest.mark.parametrize(
    ("path", "name", "streams"),
    [
        ("/model/amazon.nova-lite-v1%3A0/converse", "chat", False),
        ("/model/anthropic.claude-sonnet-4-5-20250929-v1:0/converse-stream", "chat", True),
        ("/model/arn:aws:bedrock:eu-west-1:1:inference-profile/eu.x-v1:0/invoke", "invoke_model", False),
        ("/model/m/invoke-with-response-stream", "invoke_model", True),
        ("/model/m/count-tokens", "count_tokens", False),
    ],
)
def test_operations_are_known_by_their_path(path: str, name: str, streams: bool) -> None:
    found = operation(path)
    assert (found.name, found.streams, found.model_in, found.canary) == (name, streams, "path", True)


@pytest.mark.parametrize(
    "path",
    [
        "/model/m",
        "/model/m/invoke-with-bidirectional-stream",
        "/guardrail/g/version/1/apply",
        "/model//invoke/x",
    ],
)
def test_other_paths_pass_through(path: str) -> None:
    assert operation(path) is PASS_THROUGH


@BOTH
def test_input_is_what_was_not_cached_and_what_was_read_and_written(of: Operation, body: Any) -> None:
    reader = told(
        of,
        body(
            [TEXT],
            inputTokens=21,
            outputTokens=393,
            totalTokens=2482,
            cacheReadInputTokens=1880,
            cacheWriteInputTokens=188,
            cacheDetails=[{"ttl": "1h", "inputTokens": 100}, {"ttl": "5m", "inputTokens": 88}],
        ),
    )
    assert reader.seen.usage == Usage(
        input_tokens=21 + 1880 + 188,
        cached_input_tokens=1880,
        cache_write_tokens=188,
        cache_write_1h_tokens=100,
        output_tokens=393,
    )


@BOTH
@pytest.mark.parametrize("usage", [{"inputTokens": -1}, {"inputTokens": "3"}, {"cacheDetails": {}}])
def test_counts_of_another_shape_are_unknown(of: Operation, body: Any, usage: Any) -> None:
    reader = told(of, body([TEXT], **usage))
    assert reader.seen.usage is None
    assert reader.seen.answer is not None


@BOTH
@pytest.mark.parametrize(
    ("content", "reason", "finish", "faults"),
    [
        ([TEXT], "end_turn", "stop", set()),
        ([TEXT], "stop_sequence", "stop", set()),
        ([REASONING, TEXT], "end_turn", "stop", set()),
        ([CALL], "tool_use", "tool_calls", set()),
        ([TEXT], "max_tokens", "length", {"cut_off"}),
        ([TEXT], "model_context_window_exceeded", "length", {"cut_off"}),
        ([TEXT], "guardrail_intervened", "content_filter", {"refused"}),
        ([], "content_filtered", "content_filter", {"refused"}),
        ([], "end_turn", "stop", {"empty"}),
        ([{"text": " \n "}], "end_turn", "stop", {"empty"}),
        ([REASONING], "end_turn", "stop", {"empty"}),
        ([SERVER_CALL, TEXT], "end_turn", "stop", set()),
        ([], "malformed_tool_use", "other", {"tool_args_invalid"}),
        ([TEXT], "malformed_model_output", "other", set()),
    ],
)
def test_how_an_answer_ended_and_what_is_wrong_with_it(
    of: Operation, body: Any, content: list[Any], reason: str, finish: Finish, faults: set[Fault]
) -> None:
    answer = told(of, body(content, reason)).seen.answer
    assert answer is not None
    assert (answer.finish, answer.faults()) == (finish, faults)


@BOTH
def test_output_is_collected_and_judged(of: Operation, body: Any) -> None:
    output = CollectedOutput()
    reader = told(of, body([REASONING, TEXT, CALL, SERVER_CALL], "tool_use"), output=output)
    assert output.choices[0].text == "Blue."
    assert [(call.name, json.loads(call.arguments)) for call in output.choices[0].calls] == [("f", {"a": 1})]
    schema = {"type": "object", "required": ["b"]}
    tools = {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": schema}}}, {"cachePoint": {}}]}
    request = asked(of, toolConfig=tools)
    assert of.output is not None
    judgement = judge(of.output, request, output, reader.seen.answer)
    assert [(one.fault, one.schema and json.loads(one.schema.text)) for one in judgement.open] == [
        ("tool_args_off_schema", schema)
    ]
    other = asked(of, toolConfig={"tools": [{"toolSpec": {"name": "g", "inputSchema": {"json": {}}}}]})
    assert judge(of.output, other, output, reader.seen.answer).faults == {"tool_unknown"}


def asked(of: Operation, **members: Any) -> OutputRequest:
    route = Route(
        provider=Provider(name="aws", api="anthropic", base_url="http://localhost"),
        operation=of,
        path="/model/m/converse",
        model="m",
        place=other("/model/m/converse"),
        target=b"/model/m/converse",
    )
    facts = facts_of(route, json.dumps({"messages": [], **members}).encode())
    assert facts is not None
    assert facts.output is not None
    return facts.output


@pytest.mark.parametrize(("text", "faults"), [("Blue.", {"json_invalid"}), ('{"a": 1}', set())])
def test_a_wanted_format_is_checked(text: str, faults: set[Fault]) -> None:
    output = CollectedOutput()
    reader = told(CONVERSE_STREAM, streamed([{"text": text}]), output=output)
    wanted = {
        "type": "json_schema",
        "structure": {"jsonSchema": {"schema": '{"type":"object"}', "name": "n"}},
    }
    request = asked(CONVERSE, outputConfig={"textFormat": wanted})
    assert CONVERSE.output is not None
    judgement = judge(CONVERSE.output, request, output, reader.seen.answer)
    assert judgement.faults == faults
    assert [one.schema and one.schema.text for one in judgement.open] == (
        [] if faults else [b'{"type":"object"}']
    )


@BOTH
def test_the_text_is_recorded(of: Operation, body: Any) -> None:
    recorder = AnswerRecorder()
    told(of, body([REASONING, TEXT, CALL]), recorder=recorder)
    assert recorder.recorded()[0] == "Blue."


MESSAGE = {
    "type": "message",
    "role": "assistant",
    "model": "claude-sonnet-4-5",
    "content": [{"type": "text", "text": "Blue."}, {"type": "tool_use", "id": "c", "name": "f", "input": {}}],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": 2},
}
METRICS = {
    "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 3,
        "outputTokenCount": 9,
        "invocationLatency": 40,
        "firstByteLatency": 11,
        "cacheReadInputTokenCount": 4,
        "cacheWriteInputTokenCount": 0,
    }
}
COUNTED = Usage(input_tokens=7, cached_input_tokens=4, cache_write_tokens=0, output_tokens=9)
MESSAGE_STREAM = [
    {"type": "message_start", "message": {**MESSAGE, "content": [], "usage": {"input_tokens": 3}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Blue."}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop", **METRICS},
]


def test_invoked_claude_is_read_as_anthropics_api() -> None:
    output = CollectedOutput()
    reader = told(INVOKE, json.dumps(MESSAGE).encode(), output=output)
    assert reader.seen.usage == Usage(input_tokens=7, cached_input_tokens=4, output_tokens=2)
    assert reader.seen.answer is not None
    assert reader.seen.answer.finish == "tool_calls"
    assert [call.name for call in output.choices[0].calls] == ["f"]
    request = asked(INVOKE, tools=[{"name": "f", "input_schema": {"type": "object"}}])
    assert INVOKE.output is not None
    assert [one.fault for one in judge(INVOKE.output, request, output, reader.seen.answer).open] == [
        "tool_args_off_schema"
    ]


def test_a_stream_of_invoked_claude_is_read_as_anthropics_api() -> None:
    output, recorder = CollectedOutput(), AnswerRecorder()
    body = b"".join(map(chunk, MESSAGE_STREAM))
    reader = told(INVOKE_STREAM, body, output=output, recorder=recorder)
    assert reader.seen.usage == Usage(input_tokens=3, output_tokens=2)
    assert (reader.seen.done, reader.seen.first_token_at) == (True, 1.0)
    assert reader.seen.answer is not None
    assert reader.seen.answer.finish == "stop"
    assert output.choices[0].text == "Blue."
    assert recorder.recorded() == ("Blue.", ())


CHAT_MESSAGE = {"role": "assistant", "content": "Blue."}
CHAT_USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def test_an_invoked_model_in_openais_form_is_read_so() -> None:
    body = {"choices": [{"index": 0, "message": CHAT_MESSAGE, "finish_reason": "stop"}], "usage": CHAT_USAGE}
    output = CollectedOutput()
    reader = told(INVOKE, json.dumps(body).encode(), output=output)
    assert reader.seen.usage == Usage(input_tokens=3, output_tokens=2)
    assert output.choices[0].text == "Blue."
    chunks = [
        {"choices": [{"index": 0, "delta": CHAT_MESSAGE, "finish_reason": None}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}], **METRICS},
    ]
    reader = told(INVOKE_STREAM, b"".join(map(chunk, chunks)))
    assert reader.seen.usage == COUNTED
    assert reader.seen.answer is not None
    assert reader.seen.answer.faults() == {"cut_off"}
    request = asked(INVOKE, tools=[{"type": "function", "function": {"name": "f"}}])
    assert INVOKE.output is not None
    assert list(INVOKE.output.expected(request).tools) == ["f"]


@pytest.mark.parametrize(
    "text",
    [
        {"generation": "Blue."},
        {"outputs": [{"text": "Blue."}]},
        {"outputText": "Blue.", "index": 0},
        {"completion": "Blue."},
    ],
)
def test_of_another_models_form_bedrocks_own_counts_are_known(text: dict[str, Any]) -> None:
    reader = told(INVOKE_STREAM, chunk({"generation": ""}) + chunk(text) + chunk(METRICS))
    assert (reader.seen.usage, reader.seen.answer, reader.seen.first_token_at, reader.seen.done) == (
        COUNTED,
        None,
        1.0,
        True,
    )
    head = {b"x-amzn-bedrock-input-token-count": b"3", b"x-amzn-bedrock-output-token-count": b"9"}
    assert INVOKE.usage_in_head is not None
    reader = told(INVOKE, json.dumps(text).encode(), counted=INVOKE.usage_in_head(head))
    assert (reader.seen.usage, reader.seen.answer) == (Usage(input_tokens=3, output_tokens=9), None)


def test_counts_in_the_head_include_the_caches_and_may_be_missing() -> None:
    assert INVOKE.usage_in_head is not None
    head = {
        b"x-amzn-bedrock-input-token-count": b"3",
        b"x-amzn-bedrock-output-token-count": b"9",
        b"x-amzn-bedrock-cache-read-input-token-count": b"4",
        b"x-amzn-bedrock-cache-write-input-token-count": b"0",
    }
    assert INVOKE.usage_in_head(head) == COUNTED
    assert INVOKE.usage_in_head({}) is None
    assert INVOKE.usage_in_head({b"x-amzn-bedrock-input-token-count": b"many"}) is None
    assert told(INVOKE, b'{"embedding": [0.1]}').seen.usage is None


def test_an_answer_that_is_no_json_is_malformed() -> None:
    for of in (CONVERSE, INVOKE):
        reader = reader_for(of, status=200, content_type=b"text/html", encoding=b"", strip=False)
        reader.feed(b"<html>", 0.0)
        assert reader.finish()[1] == "provider_malformed"
        reader = reader_for(of, status=200, content_type=b"", encoding=b"", strip=False)
        reader.feed(b'{"output": 5, "usage": []}', 0.0)
        assert reader.finish()[1] is None
        assert (reader.seen.usage, reader.seen.answer) == (None, None)


@pytest.mark.parametrize(
    "payload", [b"", b"{", b"[]", b'{"bytes": 5}', b'{"bytes": "!"}', b'{"bytes": "e30="}']
)
def test_events_that_cannot_be_read_change_nothing(payload: bytes) -> None:
    for of in (CONVERSE_STREAM, INVOKE_STREAM):
        assert of.events is not None
        events = of.events()
        events.take(b"chunk", payload)
        events.take(b"metadata", payload)
        assert (events.seen.token, events.seen.failed, events.seen.usage) == (False, False, None)


def test_counted_tokens_are_read() -> None:
    counting = operation("/model/m/count-tokens")
    assert told(counting, b'{"inputTokens": 7}').seen.usage == Usage(input_tokens=7)


def test_a_conversation_in_converses_form_is_read() -> None:
    result = {"toolResult": {"toolUseId": "c", "content": [{"text": "42"}, {"json": {}}]}}
    body = {
        "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {"role": "user", "content": [{"text": "Why?"}, {"image": {"format": "png", "source": {}}}]},
            {"role": "assistant", "content": [REASONING, TEXT, CALL]},
            {"role": "user", "content": [result]},
        ],
    }
    assert conversation(json.dumps(body).encode()) == [
        PromptMessage(role="system", text="Be brief."),
        PromptMessage(role="user", text="Why?", whole=False),
        PromptMessage(role="assistant", text="Blue.", calls=(CapturedToolCall("c", "f", '{"a":1}'),)),
        PromptMessage(role="tool", text="42\n{}", call_id="c"),
    ]
    assert question(json.dumps(body).encode()) == ""
    asking = {"messages": body["messages"][:1]}
    assert question(json.dumps(asking).encode()) == "Why?"


def test_converse_names_the_model_to_which_a_prompt_router_sent_the_request() -> None:
    trace = {"trace": {"promptRouter": {"invokedModelId": "amazon.nova-lite-v1:0"}}}
    document = json.dumps({**json.loads(whole([TEXT])), **trace}).encode()
    assert told(CONVERSE, document).seen.model == "amazon.nova-lite-v1:0"
    (name, metadata) = converse_events([TEXT])[-1]
    frames = streamed([TEXT])[: -len(event(name, metadata))] + event(name, {**metadata, **trace})
    assert told(CONVERSE_STREAM, frames).seen.model == "amazon.nova-lite-v1:0"
    assert told(CONVERSE, whole([TEXT])).seen.model == ""
