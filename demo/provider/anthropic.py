"""Anthropic's Messages API: the document, the stream of named events, and token counting."""

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

import msgspec

from demo.provider.behaviour import LocalReply, Prompt, Tokens, Tool, alnum, count, first_tool, is_json
from demo.provider.connection import (
    REDACT,
    Event,
    Headers,
    LocalWire,
    Request,
    RequestRefused,
    compact,
    event,
    refuse_others_thinking,
    sealed,
)
from demo.provider.openai import bearer

SAMPLING = ("temperature", "top_p", "top_k")
SAMPLING_ENDED = "2026-10-21"  # sampling parameters are refused from this version on
STOP = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool": "tool_use",
    "refusal": "refusal",
    "filter": "refusal",
}
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}


class AnthropicDialect:
    """`demo.provider.connection.Dialect` for Anthropic."""

    def key(self, request: Request) -> str | None:
        return request.header("x-api-key") or bearer(request)

    def headers(self, draws: Random, spent_s: float) -> Headers:
        return (
            ("request-id", f"req_01{alnum(draws, 22)}"),
            ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
            ("anthropic-ratelimit-requests-limit", "4000"),
            ("anthropic-ratelimit-requests-remaining", "3999"),
            ("x-envoy-upstream-service-time", str(round(spent_s * 1e3))),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("set-cookie", f"_cfuvid={draws.randbytes(12).hex()}; path=/; HttpOnly; Secure"),
            ("server", "cloudflare"),
        )

    def error(self, refused: RequestRefused, request_id: str) -> bytes:
        kind = TYPES.get(refused.status, "api_error")
        error = {"type": kind, "message": refused.message}
        return compact({"type": "error", "error": error, "request_id": request_id})


def read(request: Request, body: Mapping[str, Any]) -> Prompt:
    """The prompt in a Messages body."""
    version = request.header("anthropic-version")
    if version is None:
        raise RequestRefused(400, "anthropic-version: header is required")
    for name in ("messages", "max_tokens") if request.path == "/v1/messages" else ("messages",):
        if not body.get(name):
            raise RequestRefused(400, f"{name}: Field required", param=name)
    if version >= SAMPLING_ENDED and (sent := next((name for name in SAMPLING if name in body), None)):
        raise RequestRefused(400, f"{sent}: Extra inputs are not permitted", param=sent)
    parts = [part for message in body["messages"] for part in _parts(message["content"])]
    return Prompt(
        model=str(body.get("model", "")),
        text="\n".join(str(part.get("text", "")) for part in [*_parts(body.get("system")), *parts]),
        images=sum(part.get("type") == "image" for part in parts),
        stream=body.get("stream") is True,
        tool=None if parts[-1].get("type") == "tool_result" else _tool_to_call(body),
        schema=_wanted_schema(body),
        max_tokens=body.get("max_tokens"),
    )


def _wanted_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return wanted.get("schema") or {} if wanted.get("type") == "json_schema" else None


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())


def _tool_to_call(body: Mapping[str, Any]) -> Tool | None:
    choice = body.get("tool_choice") or {"type": "auto"}
    offered = [tool for tool in body.get("tools") or () if choice.get("name") in (None, tool["name"])]
    return None if choice["type"] == "none" else first_tool(offered, "input_schema")


def count_tokens(prompt: Prompt) -> bytes:
    """The answer of `/v1/messages/count_tokens`."""
    return compact({"input_tokens": count(prompt.text) + 85 * prompt.images})


def document(prompt: Prompt, reply: LocalReply, _: int) -> bytes:
    """The whole message."""
    blocks = [_thought(prompt, reply)] if reply.tokens.reasoning else []
    if reply.tool:
        blocks.append({**_block(reply), "input": _arguments(reply)})
    elif not reply.silent:
        blocks.append({**_block(reply), "text": reply.text})
    counted = {**_input_usage(reply.tokens), "output_tokens": reply.tokens.output}
    return compact({**_message(reply, STOP[reply.finish], counted), "content": blocks})


def events(prompt: Prompt, reply: LocalReply, _: int) -> Iterator[Event]:
    """The stream: start with the input's usage, blocks, delta with the output's usage, stop."""
    started = {**_input_usage(reply.tokens), "output_tokens": 1}
    yield _event("message_start", {"message": {**_message(reply, None, started), "content": []}})
    index = 0
    if reply.tokens.reasoning:
        yield from _thinking(_thought(prompt, reply), index)
        index += 1
    if not reply.silent:
        yield from _written(reply, index)
    delta = {"stop_reason": STOP[reply.finish], "stop_sequence": None}
    counted = {**_input_usage(reply.tokens), "output_tokens": reply.tokens.output}
    yield _event("message_delta", {"delta": delta, "usage": counted})
    yield _event("message_stop", {})


def _written(reply: LocalReply, index: int) -> Iterator[Event]:
    yield _event("content_block_start", {"index": index, "content_block": _block(reply)})
    yield _event("ping", {})
    for piece in reply.pieces:
        yield _event("content_block_delta", {"index": index, "delta": _delta(reply, piece)}, token=True)
    yield _event("content_block_stop", {"index": index})


def failure(_: int) -> bytes:
    """The error event in a stream."""
    return _event("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}}).data


def _event(name: str, fields: dict[str, Any], *, token: bool = False) -> Event:
    return event(name, {"type": name, **fields}, token=token)


def _message(reply: LocalReply, stop_reason: str | None, usage: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": reply.model,
        "id": f"msg_01{reply.id[:22]}",
        "type": "message",
        "role": "assistant",
        "content": None,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": usage,
    }


def _block(reply: LocalReply) -> dict[str, Any]:
    if reply.tool:
        return {"type": "tool_use", "id": f"toolu_01{reply.id[:22]}", "name": reply.tool, "input": {}}
    return {"type": "text", "text": ""}


def _delta(reply: LocalReply, piece: str) -> dict[str, Any]:
    if reply.tool:
        return {"type": "input_json_delta", "partial_json": piece}
    return {"type": "text_delta", "text": piece}


def _arguments(reply: LocalReply) -> Any:
    """The tool's arguments as an object; {} if `max_tokens` cut them off, their text if they are not JSON."""
    if is_json(reply.text):
        return msgspec.json.decode(reply.text)
    return {} if reply.finish == "length" else reply.text


def _thought(prompt: Prompt, reply: LocalReply) -> dict[str, Any]:
    state = sealed(prompt.account, reply.id)
    if REDACT in prompt.text:
        return {"type": "redacted_thinking", "data": state}
    return {"type": "thinking", "thinking": "The user wants help; be brief.", "signature": state}


def _thinking(thought: dict[str, Any], index: int) -> Iterator[Event]:
    if thought["type"] == "redacted_thinking":
        yield _event("content_block_start", {"index": index, "content_block": thought})
        yield _event("content_block_stop", {"index": index})
        return
    yield _event(
        "content_block_start", {"index": index, "content_block": {**thought, "thinking": "", "signature": ""}}
    )
    delta = {"type": "thinking_delta", "thinking": thought["thinking"]}
    yield _event("content_block_delta", {"index": index, "delta": delta}, token=True)
    signed = {"type": "signature_delta", "signature": thought["signature"]}
    yield _event("content_block_delta", {"index": index, "delta": signed})
    yield _event("content_block_stop", {"index": index})


def _input_usage(tokens: Tokens) -> dict[str, Any]:
    """Anthropic's count: `input_tokens` excludes tokens read from the cache."""
    return {
        "input_tokens": tokens.input - tokens.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "service_tier": "standard",
    }


MESSAGES = LocalWire(
    dialect=AnthropicDialect(),
    read=read,
    document=document,
    events=events,
    failure=failure,
    refuse_others=refuse_others_thinking,
)
