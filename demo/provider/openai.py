"""OpenAI's chat completions, embeddings, models and files, with its keys, headers and error documents.

The stream has usage only with `include_usage`.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from demo.provider.behaviour import LocalReply, Prompt, Tokens, Tool, count, first_tool
from demo.provider.connection import (
    Event,
    Headers,
    LocalWire,
    Request,
    RequestRefused,
    compact,
    missing,
    pretty,
)

JSON_TYPES = {
    str: "a string",
    float: "a decimal number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}
TYPES = {401: "invalid_request_error", 429: "requests", 500: "server_error", 503: "server_error"}


class OpenAIDialect:
    """`demo.provider.connection.Dialect` for OpenAI."""

    def key(self, request: Request) -> str | None:
        return bearer(request)

    def headers(self, draws: Random, spent_s: float) -> Headers:
        return (
            ("x-request-id", f"req_{draws.randbytes(16).hex()}"),
            ("openai-processing-ms", str(round(spent_s * 1e3))),
            ("openai-version", "2020-10-01"),
            ("openai-organization", "org-demo"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("set-cookie", f"__cf_bm={draws.randbytes(12).hex()}; path=/; HttpOnly; Secure"),
            ("alt-svc", 'h3=":443"; ma=86400'),
            ("server", "cloudflare"),
        )

    def error(self, refused: RequestRefused, request_id: str) -> bytes:
        return pretty({"error": error_fields(refused)})


def bearer(request: Request) -> str | None:
    """The token of `authorization: Bearer …`."""
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def whole_number(body: Mapping[str, Any], name: str) -> int | None:
    """A member that takes an integer; None where the body has none. Raises RequestRefused (400)."""
    value = body.get(name)
    if value is None or type(value) is int:
        return value
    got = JSON_TYPES[type(value)]
    message = f"Invalid type for '{name}': expected an integer, but got {got} instead."
    raise RequestRefused(400, message, param=name, code="invalid_type")


def error_fields(refused: RequestRefused) -> dict[str, Any]:
    """The `error` member, in documents and in streams."""
    return {
        "message": refused.message,
        "type": TYPES.get(refused.status, "invalid_request_error"),
        "param": refused.param,
        "code": refused.code,
    }


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
        raise missing("messages")
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
    return None if choice == "none" else first_tool(offered, "parameters")


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


DIMENSIONS = 64


def embeddings(body: Mapping[str, Any], means: Mapping[str, str]) -> bytes:
    """Unit vectors that depend only on the text, or on the text that it `means`, so that texts of one meaning
    have equal embeddings."""
    given = body.get("input")
    if not given:
        raise missing("input")
    texts = [given] if isinstance(given, str) else [str(text) for text in given]
    read = sum(count(text) for text in texts)
    return pretty(
        {
            "object": "list",
            "data": [
                {
                    "object": "embedding",
                    "index": place,
                    "embedding": vector(means.get(text, text), body.get("dimensions")),
                }
                for place, text in enumerate(texts)
            ],
            "model": body.get("model"),
            "usage": {"prompt_tokens": read, "total_tokens": read},
        }
    )


def vector(text: str, dimensions: int | None) -> list[float]:
    """The embedding of a text."""
    draws = Random(text)  # noqa: S311 - the same text must give the same vector
    raw = [draws.gauss(0.0, 1.0) for _ in range(dimensions or DIMENSIONS)]
    length = math.sqrt(sum(value * value for value in raw))
    return [value / length for value in raw]


def models(names: Sequence[str]) -> bytes:
    """The models list."""
    return pretty({"object": "list", "data": [_model(name) for name in names]})


def model(name: str) -> bytes:
    """One model's description."""
    return pretty(_model(name))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 1715367049, "owned_by": "demo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedFile:
    """An uploaded file."""

    id: str
    name: str
    purpose: str
    content: bytes
    created: int

    def document(self) -> bytes:
        """OpenAI's file object."""
        return pretty(
            {
                "id": self.id,
                "object": "file",
                "bytes": len(self.content),
                "created_at": self.created,
                "filename": self.name,
                "purpose": self.purpose,
                "status": "processed",
            }
        )


def upload(content_type: str, body: bytes, file_id: str, created: int) -> UploadedFile:
    """Parse a multipart upload (RFC 7578) with the parts `file` and `purpose`, byte for byte."""
    parts = dict(_parts(content_type, body))
    if "file" not in parts or "purpose" not in parts:
        raise RequestRefused(400, "An upload needs the parts 'file' and 'purpose'.", param="file")
    return UploadedFile(
        id=file_id,
        name=parts["file"].name or "upload",
        purpose=parts["purpose"].content.decode(),
        content=parts["file"].content,
        created=created,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    name: str | None
    content: bytes


def _parts(content_type: str, body: bytes) -> Iterator[tuple[str, _Part]]:
    boundary = re.search(r'boundary="?([^";]+)', content_type)
    if boundary is None:
        raise RequestRefused(400, "The upload's content-type names no boundary.")
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary[1].encode())[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        field = re.search(rb'[; ]name="([^"]*)"', head)
        file_name = re.search(rb'filename="([^"]*)"', head)
        if field:
            yield field[1].decode(), _Part(name=file_name[1].decode() if file_name else None, content=content)
