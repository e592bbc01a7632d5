"""Gemini's Interactions: the document with its steps, and the stream of named events."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from demo.provider.behaviour import LocalReply, Prompt, Tool, first_tool, is_json
from demo.provider.connection import Event, LocalWire, Request, RequestRefused, event, pretty
from demo.provider.gemini import GeminiDialect

ECHOED = ("continuation_token", "labels", "previous_interaction_id", "store", "system_instruction", "tools")
STATUSES = {
    "stop": "completed",
    "length": "incomplete",
    "tool": "requires_action",
    "hop": "requires_continuation",
}
BLOCKS = {"refusal": "safety", "filter": "prohibited_content"}
OVERLOADED = {"code": "unavailable", "message": "The model is overloaded."}


def read(_: Request, body: Mapping[str, Any]) -> Prompt:
    """The prompt in an interaction's body. A continuation has no input."""
    given = body.get("input")
    if not given and not body.get("continuation_token"):
        raise RequestRefused(400, "Missing required field: input.", code="invalid_request")
    parts = _parts(given or "")
    config = body.get("generation_config") or {}
    return Prompt(
        model=str(body.get("model") or body.get("agent") or ""),
        text="\n".join(
            [str(body.get("system_instruction") or ""), *(str(part.get("text", "")) for part in parts)]
        ),
        images=sum(part.get("type") == "image" for part in parts),
        stream=body.get("stream") is True,
        tool=None if _is_answered(given) else _tool_to_call(body, config),
        schema=_wanted_schema(body.get("response_format")),
        max_tokens=config.get("max_output_tokens"),
        echo={name: body[name] for name in ECHOED if name in body},
    )


def _parts(given: Any) -> list[dict[str, Any]]:
    """The contents of an input: a text, one content, contents, or steps with contents."""
    if isinstance(given, str):
        return [{"type": "text", "text": given}]
    items = given if isinstance(given, list) else [given]
    return [part for item in items for part in item.get("content") or [item]]


def _is_answered(given: Any) -> bool:
    return isinstance(given, list) and given[-1].get("type") == "function_result"


def _tool_to_call(body: Mapping[str, Any], config: Mapping[str, Any]) -> Tool | None:
    offered = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    return None if config.get("tool_choice") == "none" else first_tool(offered, "parameters")


def _wanted_schema(wanted: Any) -> Mapping[str, Any] | None:
    formats = wanted if isinstance(wanted, list) else [wanted or {}]
    json = next((each for each in formats if each.get("mime_type") == "application/json"), None)
    return None if json is None else json.get("schema") or {}


def hop(prompt: Prompt, reply: LocalReply, words: int | None) -> LocalReply:
    """The part of an answer that one request decodes: `words` of it, after those of the hops before."""
    before = int(str(prompt.echo.get("continuation_token") or "hop-0").partition("-")[2])
    rest = reply.pieces[before:]
    here = rest[:words]
    tokens = replace(reply.tokens, output=len(here) + reply.tokens.reasoning)
    if len(here) == len(rest):
        return replace(reply, pieces=here, tokens=tokens)
    return replace(reply, pieces=here, finish="hop", tokens=tokens, hop=before + len(here))


def document(prompt: Prompt, reply: LocalReply, created: int) -> bytes:
    """The whole interaction."""
    step = {**_step(reply), "arguments": _arguments(reply)} if reply.tool else _output(reply, reply.text)
    steps = [*_thoughts(reply), *([] if reply.silent or reply.finish in BLOCKS else [step])]
    return pretty({**_interaction(prompt, reply, created), "steps": steps})


def events(prompt: Prompt, reply: LocalReply, created: int) -> Iterator[Event]:
    """The stream, from `interaction.created` to `interaction.completed`."""
    ended = _interaction(prompt, reply, created)
    started = {name: ended[name] for name in ("id", "object", "model", "created")} | {"status": "in_progress"}
    yield _event("interaction.created", {"interaction": started})
    yield _event("interaction.status_update", {"interaction_id": ended["id"], "status": "in_progress"})
    index = 0
    for thought in _thoughts(reply):
        yield _event("step.start", {"index": index, "step": {"type": "thought"}})
        delta = {"type": "thought_summary", "content": thought["summary"][0]}
        yield _event("step.delta", {"index": index, "delta": delta}, token=True)
        yield _event("step.stop", {"index": index})
        index += 1
    if not (reply.silent or reply.finish in BLOCKS):
        yield from _steps(reply, index)
    yield _event("interaction.completed", {"interaction": ended})
    yield Event(data=b"event: done\ndata: [DONE]\n\n")


def _steps(reply: LocalReply, index: int) -> Iterator[Event]:
    yield _event("step.start", {"index": index, "step": _step(reply)})
    for piece in reply.pieces:
        delta = {"type": "text", "text": piece}
        if reply.tool:
            delta = {"type": "arguments_delta", "arguments": piece}
        yield _event("step.delta", {"index": index, "delta": delta}, token=True)
    yield _event("step.stop", {"index": index})


def _event(name: str, fields: dict[str, Any], *, token: bool = False) -> Event:
    return event(name, {**fields, "event_type": name}, token=token)


def _step(reply: LocalReply) -> dict[str, Any]:
    """A step as it begins."""
    if not reply.tool:
        return {"type": "model_output"}
    return {"type": "function_call", "id": f"call_{reply.id[:16]}", "name": reply.tool, "arguments": {}}


def _output(reply: LocalReply, text: str) -> dict[str, Any]:
    return {**_step(reply), "content": [{"type": "text", "text": text}]}


def _arguments(reply: LocalReply) -> Any:
    return msgspec.json.decode(reply.text) if is_json(reply.text) else {}  # a limit cut them short


def _thoughts(reply: LocalReply) -> list[dict[str, Any]]:
    if not reply.tokens.reasoning:
        return []
    summary = {"type": "text", "text": "The user wants help; be brief."}
    return [{"type": "thought", "summary": [summary]}]


def _interaction(prompt: Prompt, reply: LocalReply, created: int) -> dict[str, Any]:
    """The interaction without its steps."""
    fields: dict[str, Any] = {
        "id": interaction_id(reply),
        "object": "interaction",
        "model": reply.model,
        "status": STATUSES.get(reply.finish, "failed"),
        "created": datetime.fromtimestamp(created, UTC).isoformat(),
        "role": "model",
        "usage": _usage(reply),
    }
    if "previous_interaction_id" in prompt.echo:
        fields["previous_interaction_id"] = prompt.echo["previous_interaction_id"]
    if reply.hop:
        fields["continuation_token"] = f"hop-{reply.hop}"
    if reply.finish in BLOCKS:
        fields["errors"] = [{"code": BLOCKS[reply.finish], "message": "The answer was blocked."}]
    return fields


def interaction_id(reply: LocalReply) -> str:
    """The id of a stored interaction."""
    return f"v1_{reply.id}"


def _usage(reply: LocalReply) -> dict[str, Any]:
    """Gemini's count: output tokens exclude thoughts, input tokens include cached ones."""
    tokens = reply.tokens
    return {
        "total_input_tokens": tokens.input,
        "input_tokens_by_modality": [{"modality": "text", "tokens": tokens.input}],
        "total_cached_tokens": tokens.cached,
        "total_output_tokens": tokens.output - tokens.reasoning,
        "total_tool_use_tokens": 0,
        "total_thought_tokens": tokens.reasoning,
        "total_tokens": tokens.input + tokens.output,
    }


def failure(_: int) -> bytes:
    """The error event in a stream."""
    return _event("error", {"error": OVERLOADED}).data


INTERACTIONS = LocalWire(
    dialect=GeminiDialect(), read=read, document=document, events=events, failure=failure
)
