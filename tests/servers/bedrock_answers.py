"""Bedrock's answers in each of its forms. Each names the model that answers, so that tests can tell arms."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from tests.servers import event_frames
from tests.servers.event_frames import exception

Behaviour = Literal[
    "text", "tool", "empty", "intervened", "cut", "invalid", "throttled", "model_error",
    "throttled_in_stream", "fails_in_stream", "llama",
]  # fmt: skip
"""What a model does. `throttled_in_stream` fails before the first event, `fails_in_stream` after a text."""

INPUT, OUTPUT, READ = 7, 5, 4
FRAMES = "application/vnd.amazon.eventstream"
Headers = dict[str, str]


class Answer(NamedTuple):
    """Status, headers, and the pieces in which the body is sent."""

    status: int
    headers: Headers
    pieces: list[bytes]


def whole(document: Any, status: int = 200, **headers: str) -> Answer:
    """A whole JSON answer. Headers' names have `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json", **named}, [json.dumps(document).encode()])


def refused(status: int, kind: str, message: str) -> Answer:
    """An error in Amazon's form."""
    return whole({"message": message}, status, x_amzn_errortype=f"{kind}:http://internal.amazon.com/coral/")


def says(model: str) -> str:
    """The text of each good answer."""
    return f"I am {model}."


STOPS = {"tool": "tool_use", "intervened": "guardrail_intervened", "cut": "max_tokens"}


def answered(method: str, model: str, body: dict[str, Any], behaviour: Behaviour) -> Answer:
    """The answer of one of Bedrock's own operations."""
    if behaviour == "throttled":
        return refused(429, "ThrottlingException", "Too many requests, please wait before trying again.")
    if behaviour == "invalid":
        return refused(400, "ValidationException", "This model does not support this.")
    if behaviour == "model_error":
        return refused(424, "ModelErrorException", "The model failed.")
    if method.startswith("invoke") and "anthropic_version" in body and "model" in body:
        return refused(400, "ValidationException", "extraneous key [model] is not permitted")
    return _METHODS[method](model, body, behaviour)


def _content(model: str, behaviour: Behaviour) -> list[dict[str, Any]]:
    if behaviour == "tool":
        return [{"toolUse": {"toolUseId": "t1", "name": "weather", "input": {"town": 5}}}]
    return [] if behaviour == "empty" else [{"text": says(model)}]


USAGE = {
    "inputTokens": INPUT,
    "outputTokens": OUTPUT,
    "totalTokens": INPUT + OUTPUT + READ,
    "cacheReadInputTokens": READ,
    "cacheWriteInputTokens": 0,
}


def _converse(model: str, body: dict[str, Any], behaviour: Behaviour) -> Answer:
    message = {"message": {"role": "assistant", "content": _content(model, behaviour)}}
    reason = STOPS.get(behaviour, "end_turn")
    return whole({"metrics": {"latencyMs": 9}, "output": message, "stopReason": reason, "usage": USAGE})


def _converse_events(model: str, behaviour: Behaviour) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "messageStart", {"role": "assistant"}
    for block in _content(model, behaviour):
        at = {"contentBlockIndex": 0}
        if call := block.get("toolUse"):
            begun = {"toolUseId": call["toolUseId"], "name": call["name"]}
            yield "contentBlockStart", {"start": {"toolUse": begun}, **at}
            yield "contentBlockDelta", {"delta": {"toolUse": {"input": json.dumps(call["input"])}}, **at}
        else:
            for word in block["text"].split(" "):
                yield "contentBlockDelta", {"delta": {"text": f"{word} "}, "p": "abcdef", **at}
        yield "contentBlockStop", at
    yield "messageStop", {"stopReason": STOPS.get(behaviour, "end_turn")}
    yield "metadata", {"usage": USAGE, "metrics": {"latencyMs": 9}}


def _converse_stream(model: str, body: dict[str, Any], behaviour: Behaviour) -> Answer:
    events = [event_frames.event(name, data) for name, data in _converse_events(model, behaviour)]
    return _frames(events, behaviour)


def _frames(events: list[bytes], behaviour: Behaviour) -> Answer:
    if behaviour == "throttled_in_stream":
        events = [exception("throttlingException", "Too many tokens, please wait before trying again.")]
    elif behaviour == "fails_in_stream":
        events = [*events[:3], exception("modelStreamErrorException", "failed", originalMessage="it broke")]
    return Answer(200, {"content-type": FRAMES, "x-amzn-bedrock-content-type": "application/json"}, events)


def message(model: str, behaviour: Behaviour = "text") -> dict[str, Any]:
    """A message of Anthropic's."""
    content: list[dict[str, Any]] = [{"type": "text", "text": says(model)}]
    if behaviour == "tool":
        content = [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"town": 5}}]
    return {
        "id": "msg_bdrk_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [] if behaviour == "empty" else content,
        "stop_reason": STOPS.get(behaviour, "end_turn"),
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT, "cache_read_input_tokens": READ, "output_tokens": OUTPUT},
    }


def message_events(model: str, behaviour: Behaviour = "text") -> list[dict[str, Any]]:
    """A stream of Anthropic's."""
    told = message(model, behaviour)
    begun = {**told, "content": [], "stop_reason": None, "usage": {**told["usage"], "output_tokens": 1}}
    events: list[dict[str, Any]] = [{"type": "message_start", "message": begun}]
    for place, block in enumerate(told["content"]):
        is_text = block["type"] == "text"
        delta = (
            {"type": "text_delta", "text": block["text"]}
            if is_text
            else {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        )
        empty = {"text": ""} if is_text else {"input": {}}
        events += [
            {"type": "content_block_start", "index": place, "content_block": {**block, **empty}},
            {"type": "content_block_delta", "index": place, "delta": delta},
            {"type": "content_block_stop", "index": place},
        ]
    end = {"stop_reason": told["stop_reason"], "stop_sequence": None}
    return [
        *events,
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": OUTPUT}},
        {"type": "message_stop"},
    ]


COUNTS = {
    "x_amzn_bedrock_input_token_count": str(INPUT),
    "x_amzn_bedrock_output_token_count": str(OUTPUT),
    "x_amzn_bedrock_cache_read_input_token_count": str(READ),
}
METRICS = {
    "inputTokenCount": INPUT,
    "outputTokenCount": OUTPUT,
    "cacheReadInputTokenCount": READ,
    "invocationLatency": 9,
    "firstByteLatency": 3,
}


def _invoke(model: str, body: dict[str, Any], behaviour: Behaviour) -> Answer:
    if behaviour == "llama":
        return whole({"generation": says(model), "stop_reason": "stop"}, **COUNTS)
    if "anthropic_version" in body:
        return whole(message(model, behaviour), **COUNTS)
    return _converse(model, body, behaviour)


def _invoke_stream(model: str, body: dict[str, Any], behaviour: Behaviour) -> Answer:
    if behaviour == "llama":
        chunks: list[dict[str, Any]] = [
            {"generation": says(model), "stop_reason": None},
            {"stop_reason": "stop"},
        ]
    elif "anthropic_version" in body:
        chunks = message_events(model, behaviour)
    else:
        chunks = [{name: data} for name, data in _converse_events(model, behaviour)]
    chunks[-1]["amazon-bedrock-invocationMetrics"] = METRICS
    return _frames([event_frames.chunk(chunk) for chunk in chunks], behaviour)


_METHODS: dict[str, Callable[[str, dict[str, Any], Behaviour], Answer]] = {
    "converse": _converse,
    "converse-stream": _converse_stream,
    "invoke": _invoke,
    "invoke-with-response-stream": _invoke_stream,
}


def anthropics(body: dict[str, Any], behaviour: Behaviour) -> Answer:
    """The answer at `/anthropic/v1/messages`."""
    if not body.get("stream"):
        return whole(message(body["model"], behaviour))
    return _sse([(event["type"], json.dumps(event)) for event in message_events(body["model"], behaviour)])


def openais(body: dict[str, Any]) -> Answer:
    """The answer at `/openai/v1/chat/completions`."""
    model = body["model"]
    usage = {"prompt_tokens": INPUT, "completion_tokens": OUTPUT, "total_tokens": INPUT + OUTPUT}
    about = {"id": "c", "created": 1, "model": model}
    said = {"role": "assistant", "content": says(model)}
    if not body.get("stream"):
        choice = {"index": 0, "message": said, "finish_reason": "stop"}
        return whole({**about, "object": "chat.completion", "choices": [choice], "usage": usage})
    pieces = [
        {"index": 0, "delta": said, "finish_reason": None},
        {"index": 0, "delta": {}, "finish_reason": "stop"},
    ]
    chunks = [{**about, "object": "chat.completion.chunk", "choices": [piece]} for piece in pieces]
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**about, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    return _sse([("", json.dumps(chunk)) for chunk in chunks] + [("", "[DONE]")])


def _sse(events: list[tuple[str, str]]) -> Answer:
    written = [(f"event: {name}\n" if name else "") + f"data: {data}\n\n" for name, data in events]
    return Answer(200, {"content-type": "text/event-stream"}, [each.encode() for each in written])
