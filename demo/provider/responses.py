"""OpenAI's Responses API: the document, and the stream of named, numbered events."""

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from demo.provider.behaviour import LocalReply, Prompt, Tokens, Tool, first_tool
from demo.provider.connection import (
    Event,
    LocalWire,
    Request,
    event,
    missing,
    pretty,
    refuse_others_reasoning,
    sealed,
)
from demo.provider.openai import FAILED, OpenAIDialect, content_parts, wanted_schema, whole_number

REASONING = "reasoning.encrypted_content"
"""What `include` names to get a reasoning item that its account can read again."""

ECHOED = ("instructions", "max_output_tokens", "metadata", "previous_response_id", "store", "tools", "user")
INCOMPLETE = {"length": "max_output_tokens", "filter": "content_filter"}


def read(_: Request, body: Mapping[str, Any]) -> Prompt:
    """The prompt in a Responses body."""
    given = body.get("input")
    if not given:
        raise missing("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    parts = [part for item in items for part in content_parts(item.get("content"))]
    return Prompt(
        model=str(body.get("model", "")),
        text="\n".join([str(body.get("instructions") or ""), *(str(part.get("text", "")) for part in parts)]),
        images=sum(part.get("type") == "input_image" for part in parts),
        stream=body.get("stream") is True,
        tool=None if items[-1].get("type") == "function_call_output" else _tool_to_call(body),
        schema=wanted_schema((body.get("text") or {}).get("format") or {}),
        max_tokens=whole_number(body, "max_output_tokens"),
        echo={name: body[name] for name in ECHOED if name in body},
        shows_reasoning=REASONING in (body.get("include") or ()),
    )


def _tool_to_call(body: Mapping[str, Any]) -> Tool | None:
    items = body["input"] if isinstance(body["input"], list) else ()
    added = [tool for item in items if item.get("type") == "additional_tools" for tool in item["tools"]]
    inner = [tool for group in added if group.get("type") == "namespace" for tool in group["tools"]]
    declared = [*(body.get("tools") or ()), *added, *inner]
    offered = [tool for tool in declared if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, dict):
        offered = [tool for tool in offered if tool["name"] == choice.get("name")]
    return None if choice == "none" else first_tool(offered, "parameters")


def document(prompt: Prompt, reply: LocalReply, created: int) -> bytes:
    """The finished response."""
    return pretty(_finished(prompt, reply, created))


def events(prompt: Prompt, reply: LocalReply, created: int) -> Iterator[Event]:
    """The stream, from `response.created` to `response.completed` (or `response.incomplete`)."""
    numbers = count()
    item = _item(reply, "", "in_progress")
    reasoning = _reasoning(prompt, reply)
    index = len(reasoning)
    place = {"item_id": item["id"], "output_index": index}

    def told(name: str, fields: dict[str, Any], *, token: bool = False) -> Event:
        kind = f"response.{name}"
        return event(kind, {"type": kind, "sequence_number": next(numbers), **fields}, token=token)

    started = _response(prompt, reply, created, status="in_progress", output=[], usage=None)
    yield told("created", {"response": started})
    yield told("in_progress", {"response": started})
    for thought in reasoning:
        yield told("output_item.added", {"output_index": 0, "item": thought})
        yield told("output_item.done", {"output_index": 0, "item": thought})
    if not reply.silent:
        added = {**item, "content": []} if not reply.tool else item
        yield told("output_item.added", {"output_index": index, "item": added})
        yield from _tool_events(told, place, reply) if reply.tool else _text_events(told, place, reply)
        done = _item(reply, reply.text, "completed")
        yield told("output_item.done", {"output_index": index, "item": done})
    finished = _finished(prompt, reply, created)
    yield told(finished["status"], {"response": finished})


def _tool_events(told: Any, place: dict[str, Any], reply: LocalReply) -> Iterator[Event]:
    for piece in reply.pieces:
        yield told("function_call_arguments.delta", {**place, "delta": piece}, token=True)
    yield told("function_call_arguments.done", {**place, "name": reply.tool, "arguments": reply.text})


def _text_events(told: Any, place: dict[str, Any], reply: LocalReply) -> Iterator[Event]:
    place = {**place, "content_index": 0}
    refuses = reply.finish == "refusal"
    kind = "refusal" if refuses else "output_text"
    unlikely: dict[str, Any] = {} if refuses else {"logprobs": []}
    yield told("content_part.added", {**place, "part": _part(reply, "")})
    for piece in reply.pieces:
        yield told(f"{kind}.delta", {**place, "delta": piece, **unlikely}, token=True)
    yield told(f"{kind}.done", {**place, "refusal" if refuses else "text": reply.text, **unlikely})
    yield told("content_part.done", {**place, "part": _part(reply, reply.text)})


def _finished(prompt: Prompt, reply: LocalReply, created: int) -> dict[str, Any]:
    return _response(
        prompt,
        reply,
        created,
        status="incomplete" if reply.finish in INCOMPLETE else "completed",
        output=_reasoning(prompt, reply) + ([] if reply.silent else [_item(reply, reply.text, "completed")]),
        usage=_usage(reply.tokens),
    )


def _response(prompt: Prompt, reply: LocalReply, created: int, **fields: Any) -> dict[str, Any]:
    incomplete = {"reason": INCOMPLETE[reply.finish]} if fields["status"] == "incomplete" else None
    return {
        "id": response_id(reply),
        "object": "response",
        "created_at": created,
        "background": False,
        "error": None,
        "incomplete_details": incomplete,
        "instructions": None,
        "max_output_tokens": None,
        "model": reply.model,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
        "metadata": {},
        **prompt.echo,
        **fields,
    }


def response_id(reply: LocalReply) -> str:
    """The id of a stored response."""
    return f"resp_{reply.id.encode().hex()[:48]}"


def _reasoning(prompt: Prompt, reply: LocalReply) -> list[dict[str, Any]]:
    """The reasoning item, if the request asked for one and the model reasoned."""
    if not (prompt.shows_reasoning and reply.tokens.reasoning):
        return []
    state = sealed(prompt.account, reply.id)
    return [{"id": f"rs_{reply.id}", "type": "reasoning", "summary": [], "encrypted_content": state}]


def _item(reply: LocalReply, text: str, status: str) -> dict[str, Any]:
    if reply.tool:
        call = {"type": "function_call", "call_id": f"call_{reply.id[:24]}", "name": reply.tool}
        return {"id": f"fc_{reply.id}", "status": status, **call, "arguments": text}
    message = {"type": "message", "role": "assistant", "content": [_part(reply, text)]}
    return {"id": f"msg_{reply.id}", "status": status, **message}


def _part(reply: LocalReply, text: str) -> dict[str, Any]:
    if reply.finish == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _usage(tokens: Tokens) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
        "output_tokens": tokens.output,
        "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
        "total_tokens": tokens.input + tokens.output,
    }


def compacted(prompt: Prompt, reply: LocalReply, created: int) -> bytes:
    """A conversation in one item, which its account can go on with."""
    item = {
        "id": f"cmp_{reply.id}",
        "type": "compaction",
        "encrypted_content": sealed(prompt.account, reply.id),
    }
    found = {"id": response_id(reply), "object": "response.compaction", "created_at": created}
    return pretty({**found, "output": [item], "usage": _usage(reply.tokens)})


def counted(reply: LocalReply) -> bytes:
    """The tokens of a conversation."""
    return pretty({"object": "response.input_tokens", "input_tokens": reply.tokens.input})


def failure(sent: int) -> bytes:
    """The error event in a stream."""
    fields = {"type": "error", "sequence_number": sent, "code": "server_error", "message": FAILED.message}
    return event("error", {**fields, "param": None}).data


RESPONSES = LocalWire(
    dialect=OpenAIDialect(),
    read=read,
    document=document,
    events=events,
    failure=failure,
    refuse_others=refuse_others_reasoning,
)
