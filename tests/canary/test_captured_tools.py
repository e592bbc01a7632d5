"""One step of an agent is captured alike in every wire API: what it called before, with the result, the tools
that it has, and what it calls now, streamed or whole. Arguments and results are redacted and stay JSON."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from canary.programs.capturer import captured
from proxy.answers.reader import reader_for
from proxy.answers.recorder import MOST_BYTES, AnswerRecorder
from proxy.dialects import bedrock
from proxy.dialects.operation import Api
from proxy.providers.urls import operation
from records.captures.capture import Capture, CapturedMessage, CapturedToolCall, CaptureInfo, RawCapture
from tests.servers.event_frames import chunk, event

GIVEN = {"to": "anna@example.com", "account": 4111111111111111, "password": "hunter22", "copies": 2}
NEW = {"path": "/srv/a", "note": "call\n0151 23456789", "token": "abcdefgh12", "lines": [1, 2]}
RESULT = '{"sent": true, "phone": 4915112345678, "by": "bob@example.com"}'
SCHEMA = {"type": "object", "properties": {"to": {"type": "string"}}}
NOW_TEXT = json.dumps(NEW)
PIECES = (NOW_TEXT[:25], NOW_TEXT[25:])


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step in one wire API. `whole` is the answer, `events` the same as a stream; `ids` are those of the
    earlier call and of the new one."""

    api: Api
    path: str
    request: dict[str, Any]
    whole: Any
    events: list[Any]
    whole_path: str = ""
    frames: bool = False
    ids: tuple[str, str] = ("c1", "c2")
    tools: dict[str, Any] = field(
        default_factory=lambda: {"description": "Sends a mail.", "parameters": SCHEMA}
    )


CHAT = Step(
    api="openai",
    path="/chat/completions",
    request={
        "messages": [
            {"role": "user", "content": "Mail it."},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "mail", "arguments": json.dumps(GIVEN)},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": RESULT},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "mail", "description": "Sends a mail.", "parameters": SCHEMA},
            }
        ],
    },
    whole={
        "choices": [
            {"message": {"tool_calls": [{"id": "c2", "function": {"name": "read", "arguments": NOW_TEXT}}]}}
        ]
    },
    events=[
        {
            "choices": [
                {
                    "delta": {
                        "tool_calls": [
                            {"index": 0, "id": "c2", "function": {"name": "read", "arguments": ""}}
                        ]
                    }
                }
            ]
        },
        *(
            {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"arguments": each}}]}}]}
            for each in PIECES
        ),
    ],
)
RESPONSES = Step(
    api="openai",
    path="/responses",
    request={
        "input": [
            {"role": "user", "content": "Mail it."},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "c1", "name": "mail", "arguments": json.dumps(GIVEN)},
            {"type": "function_call_output", "call_id": "c1", "output": RESULT},
        ],
        "tools": [{"type": "function", "name": "mail", "description": "Sends a mail.", "parameters": SCHEMA}],
    },
    whole={"output": [{"type": "function_call", "call_id": "c2", "name": "read", "arguments": NOW_TEXT}]},
    events=[
        {
            "type": "response.output_item.done",
            "item": {"type": "function_call", "call_id": "c2", "name": "read", "arguments": NOW_TEXT},
        },
        {"type": "response.completed", "response": {"output": []}},
    ],
)
ANTHROPIC = Step(
    api="anthropic",
    path="/v1/messages",
    request={
        "messages": [
            {"role": "user", "content": "Mail it."},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "mail", "input": GIVEN}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": RESULT}]},
        ],
        "tools": [{"name": "mail", "description": "Sends a mail.", "input_schema": SCHEMA}],
    },
    whole={"type": "message", "content": [{"type": "tool_use", "id": "c2", "name": "read", "input": NEW}]},
    events=[
        {
            "type": "content_block_start",
            "index": 0,
            "content_block": {"type": "tool_use", "id": "c2", "name": "read"},
        },
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "input_json_delta", "partial_json": each},
            }
            for each in PIECES
        ),
    ],
)
GEMINI_CALL = {"candidates": [{"content": {"parts": [{"functionCall": {"name": "read", "args": NEW}}]}}]}
GEMINI = Step(
    api="gemini",
    path="/v1beta/models/m:streamGenerateContent",
    whole_path="/v1beta/models/m:generateContent",
    request={
        "contents": [
            {"role": "user", "parts": [{"text": "Mail it."}]},
            {"role": "model", "parts": [{"functionCall": {"name": "mail", "args": GIVEN}}]},
            {
                "role": "user",
                "parts": [{"functionResponse": {"name": "mail", "response": json.loads(RESULT)}}],
            },
        ],
        "tools": [
            {
                "functionDeclarations": [
                    {
                        "name": "mail",
                        "description": "Sends a mail.",
                        "parameters": {"type": "OBJECT", "properties": {"to": {"type": "STRING"}}},
                    }
                ]
            }
        ],
    },
    whole=GEMINI_CALL,
    events=[GEMINI_CALL],
    ids=("call_1", ""),
)
CONVERSE = Step(
    api="openai",
    path="/model/m/converse-stream",
    whole_path="/model/m/converse",
    request={
        "messages": [
            {"role": "user", "content": [{"text": "Mail it."}]},
            {
                "role": "assistant",
                "content": [{"toolUse": {"toolUseId": "c1", "name": "mail", "input": GIVEN}}],
            },
            {
                "role": "user",
                "content": [{"toolResult": {"toolUseId": "c1", "content": [{"json": json.loads(RESULT)}]}}],
            },
        ],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        "name": "mail",
                        "description": "Sends a mail.",
                        "inputSchema": {"json": SCHEMA},
                    }
                },
                {"cachePoint": {"type": "default"}},
            ]
        },
    },
    whole={
        "output": {"message": {"content": [{"toolUse": {"toolUseId": "c2", "name": "read", "input": NEW}}]}}
    },
    events=[
        (
            "contentBlockStart",
            {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "c2", "name": "read"}}},
        ),
        *(
            ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"toolUse": {"input": each}}})
            for each in PIECES
        ),
    ],
    frames=True,
)
INVOKE = Step(
    api="openai",
    path="/model/m/invoke-with-response-stream",
    whole_path="/model/m/invoke",
    request=ANTHROPIC.request,
    whole=ANTHROPIC.whole,
    events=ANTHROPIC.events,
    frames=True,
)
INTERACTIONS = Step(
    api="gemini",
    path="/v1beta/interactions",
    request={
        "input": [
            {"type": "user_input", "content": [{"type": "text", "text": "Mail it."}]},
            {"type": "function_call", "id": "c1", "name": "mail", "arguments": GIVEN},
            {"type": "function_result", "call_id": "c1", "name": "mail", "result": json.loads(RESULT)},
        ],
        "tools": [{"type": "function", "name": "mail", "description": "Sends a mail.", "parameters": SCHEMA}],
    },
    whole={"steps": [{"type": "function_call", "id": "c2", "name": "read", "arguments": NEW}]},
    events=[
        {
            "event_type": "step.start",
            "index": 0,
            "step": {"type": "function_call", "id": "c2", "name": "read", "arguments": {}},
        },
        *(
            {"event_type": "step.delta", "index": 0, "delta": {"type": "arguments_delta", "arguments": each}}
            for each in PIECES
        ),
    ],
)
STEPS = [
    pytest.param(CHAT, id="chat"),
    pytest.param(RESPONSES, id="responses"),
    pytest.param(ANTHROPIC, id="anthropic"),
    pytest.param(GEMINI, id="gemini"),
    pytest.param(CONVERSE, id="converse"),
    pytest.param(INVOKE, id="invoke", marks=pytest.mark.more),
    pytest.param(INTERACTIONS, id="interactions", marks=pytest.mark.more),
]


def answered(step: Step, *, streamed: bool) -> AnswerRecorder:
    """What the recorder has of the step's answer, which came in pieces of seven bytes."""
    recorder = AnswerRecorder()
    kind = b"application/vnd.amazon.eventstream" if step.frames else b"text/event-stream"
    path = step.path if streamed else step.whole_path or step.path
    reader = reader_for(
        bedrock.operation(path) if step.frames else operation(step.api, "POST", path),
        status=200,
        content_type=kind if streamed else b"application/json",
        encoding=b"",
        strip=False,
        recorder=recorder,
    )
    data = stream(step) if streamed else json.dumps(step.whole).encode()
    for begin in range(0, len(data), 7):
        reader.feed(data[begin : begin + 7], 0.0)
    reader.finish()
    return recorder


def stream(step: Step) -> bytes:
    if not step.frames:
        return b"".join(b"data: %b\n\n" % json.dumps(each).encode() for each in step.events)
    return b"".join(event(*each) if isinstance(each, tuple) else chunk(each) for each in step.events)


def capture(step: Step, *, streamed: bool) -> Capture:
    """The step as the capture process keeps it."""
    recorder = answered(step, streamed=streamed)
    about = CaptureInfo(
        exchange_id="e", at=1.0, expires_at=2.0, canary="c", run=1, phase=0, arm="baseline", kept="rate"
    )
    answer, calls = recorder.recorded()
    taken = RawCapture(
        about=about,
        request=json.dumps(step.request).encode(),
        answer=answer,
        calls=calls,
        path=step.path,
    )
    found = captured(msgspec.msgpack.decode(msgspec.msgpack.encode(taken), type=RawCapture))
    assert found is not None
    return found


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize("step", STEPS)
def test_a_step_is_captured_alike_in_every_api(step: Step, streamed: bool) -> None:
    found = capture(step, streamed=streamed)
    before, now = step.ids
    call, result = found.messages[1].tool_calls[0], found.messages[2]
    assert found.messages[0] == CapturedMessage("user", "Mail it.")
    assert (found.messages[1].role, found.messages[1].content) == ("assistant", "")
    assert (call.id, call.name, json.loads(call.arguments)) == (
        before,
        "mail",
        {"to": "[email]", "account": 0, "password": "[secret]", "copies": 2},
    )
    assert (result.role, result.tool_call_id) == ("tool", before)
    assert json.loads(result.content) == {"sent": True, "phone": 0, "by": "[email]"}
    (answer,) = found.answer_calls
    assert (answer.id, answer.name, json.loads(answer.arguments)) == (
        now,
        "read",
        {"path": "/srv/a", "note": "call\n[phone]", "token": "[secret]", "lines": [1, 2]},
    )
    assert json.loads(found.tools) == [{"type": "function", "function": {"name": "mail", **step.tools}}]
    assert found.request is not None
    for secret in ("hunter22", "anna@", "abcdefgh12", "23456789", "4111111111111111"):
        assert secret not in msgspec.json.encode(found).decode()


def test_arguments_in_a_captured_request_stay_json() -> None:
    found = capture(CHAT, streamed=True)
    assert found.request is not None
    messages = json.loads(found.request.body)["messages"]
    assert json.loads(messages[1]["tool_calls"][0]["function"]["arguments"])["account"] == 0
    assert json.loads(messages[2]["content"])["phone"] == 0


def test_calls_that_are_too_long_leave_a_truncated_answer_without_calls() -> None:
    text = json.dumps({"note": "x" * MOST_BYTES})
    delta = {"tool_calls": [{"index": 0, "id": "c2", "function": {"name": "read", "arguments": text}}]}
    events = [{"choices": [{"delta": {"content": "I read."}}]}, {"choices": [{"delta": delta}]}]
    recorder = answered(replace(CHAT, events=events), streamed=True)
    assert (recorder.truncated, recorder.recorded()) == (True, ("I read.", ()))


def test_a_tool_that_takes_a_text_has_it_as_a_json_string() -> None:
    item = {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "*** Begin"}
    events = [{"type": "response.output_item.done", "item": item}]
    recorder = answered(replace(RESPONSES, events=events), streamed=True)
    assert recorder.recorded() == ("", (CapturedToolCall("c2", "patch", '"*** Begin"'),))
