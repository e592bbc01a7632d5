"""OpenAI's chat completions: JSON, and the stream, which has usage only with `include_usage`."""

from collections.abc import Iterator, Mapping
from typing import Any

from demo.connection import Request
from demo.openai_dialect import OpenAIDialect, error_fields, whole_number
from demo.reply import LocalReply, Prompt, Tokens, Tool
from demo.wire import Event, LocalWire, RequestRefused, compact, pretty

FINISH = {
    "stop": "stop",
    "length": "length",
    "tool": "tool_calls",
    "refusal": "stop",
    "filter": "content_filter",
}
FAILED = RequestRefused(500, "The server had an error while processing your request. Sorry about that!")


def read(_: Request, body: Mapping[str, Any]) -> Prompt:
    """The prompt in a chat completion's body."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise RequestRefused(
            400,
            "Missing required parameter: 'messages'.",
            param="messages",
            code="missing_required_parameter",
        )
    parts = [part for message in messages for part in content_parts(message.get("content"))]
    return Prompt(
        model=str(body.get("model", "")),
        text="\n".join(str(part.get("text", "")) for part in parts),
        images=sum(part.get("type") == "image_url" for part in parts),
        stream=body.get("stream") is True,
        include_usage=(body.get("stream_options") or {}).get("include_usage") is True,
        tool=None if messages[-1].get("role") == "tool" else _tool_to_call(body),
        schema=wanted_schema(body.get("response_format") or {}),
        max_tokens=whole_number(body, "max_completion_tokens") or whole_number(body, "max_tokens"),
        choices=whole_number(body, "n") or 1,
        logprobs=body.get("logprobs") is True,
    )


def content_parts(content: Any) -> list[dict[str, Any]]:
    """A message's content, text or list, as parts."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())


def wanted_schema(response_format: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schema in a `response_format`, or in the flat form of `text.format`; {} for JSON without one."""
    match response_format.get("type"):
        case "json_schema":
            return response_format.get("json_schema", response_format).get("schema") or {}
        case "json_object":
            return {}
        case _:
            return None


def _tool_to_call(body: Mapping[str, Any]) -> Tool | None:
    offered = [tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        offered = [tool for tool in offered if tool["name"] == choice["function"]["name"]]
    if choice == "none" or not offered:
        return None
    return Tool(name=offered[0]["name"], parameters=offered[0].get("parameters") or {})


def document(prompt: Prompt, reply: LocalReply, created: int) -> bytes:
    """The whole chat completion."""
    refusal = reply.text if reply.finish == "refusal" else None
    message: dict[str, Any] = {"role": "assistant", "content": None if reply.tool or refusal else reply.text}
    if reply.tool:
        message["tool_calls"] = [_call(reply, reply.text)]
    message |= {"refusal": refusal, "annotations": []}
    return pretty(
        {
            "id": f"chatcmpl-{reply.id}",
            "object": "chat.completion",
            "created": created,
            "model": reply.model,
            "choices": [
                {
                    "index": index,
                    "message": message,
                    "logprobs": _logprobs(reply),
                    "finish_reason": FINISH[reply.finish],
                }
                for index in range(prompt.choices)
            ],
            "usage": usage(reply.tokens),
            "service_tier": "default",
            "system_fingerprint": "fp_demo",
        }
    )


def _logprobs(reply: LocalReply) -> dict[str, Any] | None:
    if reply.logprob is None:
        return None
    tokens = [
        {"token": piece, "logprob": reply.logprob, "bytes": list(piece.encode()), "top_logprobs": []}
        for piece in reply.pieces
    ]
    return {"content": tokens, "refusal": None}


def events(prompt: Prompt, reply: LocalReply, created: int) -> Iterator[Event]:
    """The stream: role, pieces, finish, the extra usage chunk if asked for, `[DONE]`."""

    def chunk(choices: list[dict[str, Any]], counted: dict[str, Any] | None = None) -> bytes:
        fields = {
            "id": f"chatcmpl-{reply.id}",
            "object": "chat.completion.chunk",
            "created": created,
            "model": reply.model,
            "service_tier": "default",
            "system_fingerprint": "fp_demo",
            "choices": choices,
        }
        if prompt.include_usage or counted is not None:
            fields["usage"] = counted
        return b"data: " + compact(fields) + b"\n\n"

    def delta(index: int, fields: dict[str, Any], finish: str | None = None) -> bytes:
        return chunk([{"index": index, "delta": fields, "logprobs": None, "finish_reason": finish}])

    first: dict[str, Any] = {"role": "assistant", "content": None if reply.tool else ""}
    if reply.tool:
        first["tool_calls"] = [{"index": 0, **_call(reply, "")}]
    for index in range(prompt.choices):
        yield Event(data=delta(index, {**first, "refusal": None}))
    for piece in reply.pieces:
        for index in range(prompt.choices):
            yield Event(data=delta(index, _piece(reply, piece)), token=True)
    for index in range(prompt.choices - 1):
        yield Event(data=delta(index, {}, FINISH[reply.finish]))
    last = {"index": prompt.choices - 1, "delta": {}, "logprobs": None, "finish_reason": FINISH[reply.finish]}
    yield Event(data=chunk([last], usage(reply.tokens) if reply.states_usage else None))
    if prompt.include_usage:
        yield Event(data=chunk([], usage(reply.tokens)))
    yield Event(data=b"data: [DONE]\n\n")


def usage(tokens: Tokens) -> dict[str, Any]:
    """OpenAI's count: prompt tokens include the cached ones, completion tokens the reasoning."""
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _call(reply: LocalReply, arguments: str) -> dict[str, Any]:
    function = {"name": reply.tool, "arguments": arguments}
    return {"id": f"call_{reply.id[:24]}", "type": "function", "function": function}


def _piece(reply: LocalReply, piece: str) -> dict[str, Any]:
    if reply.tool:
        return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
    return {"refusal": piece} if reply.finish == "refusal" else {"content": piece}


def failure(_: int) -> bytes:
    """The error that OpenAI sends inside a stream."""
    return b"data: " + compact({"error": error_fields(FAILED)}) + b"\n\n"


CHAT = LocalWire(dialect=OpenAIDialect(), read=read, document=document, events=events, failure=failure)
