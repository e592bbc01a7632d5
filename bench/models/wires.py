"""Each wire API: the request for one answer, with tools, their calls and results in the API's own form, and
how sure the model was of it.

A request has no parameter of its own. Confidence is the answer's tokens' mean log probability.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec

from bench.models.tools import AgentTool, arguments_of, called, written_call
from proxy.dialects.operation import Api
from records.captures.capture import CapturedMessage
from records.outcome import FINGERPRINT

MOST_TOKENS = 4096
"""Anthropic requires a bound; no benchmark answer should reach it. An example's `max_tokens` replaces it."""

RESPONSES = "/v1/responses"
_CHATS: Mapping[Api, str] = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{}:generateContent",
}

Asked = tuple[str, dict[str, Any]]
"""The path below the base URL, and the JSON body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestExtras:
    """What a request has beside its model and its messages: further members of its body, headers, and the
    path as callers write it, "" for the API's own chat. These are of one `api`; "" is that of whoever is
    asked. `tools` are asked with in any API's form; `parameters` that have the API's own form come first."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""
    api: Api | Literal[""] = ""
    tools: tuple[AgentTool, ...] = ()


NO_EXTRAS = RequestExtras()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWire:
    """One API. `asks` takes the model, the messages, and what the request has beside them; `credential` gives
    the headers with a key. `with_logprobs` adds to the parameters what asks for log probabilities; None where
    the API has none. `others` are the API's other ways to ask, by the path that callers write."""

    api: Api
    asks: Callable[[str, Sequence[CapturedMessage], RequestExtras], Asked]
    credential: Callable[[str], Mapping[str, str]]
    with_logprobs: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    others: Mapping[str, "ChatWire"] = field(default_factory=dict)

    def at(self, path: str) -> "ChatWire":
        """The way to ask at this path; "" is the API's own chat."""
        return self.others[path] if path else self

    def own(self, extras: RequestExtras) -> RequestExtras:
        """What this API can be asked with: of another API's request only the tools."""
        return extras if extras.api in ("", self.api) else RequestExtras(tools=extras.tools)


def chat_path(api: Api, model: str = "any") -> str:
    """The path of the API's own chat, as callers write it."""
    return _CHATS[api].format(model)


def _openai(model: str, messages: Sequence[CapturedMessage], extras: RequestExtras) -> Asked:
    tools = [{"type": "function", "function": each.function()} for each in extras.tools]
    sent = list(map(_openai_message, messages))
    return "/chat/completions", {**_with(tools), **extras.parameters, "model": model, "messages": sent}


def _openai_message(message: CapturedMessage) -> dict[str, Any]:
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.tool_call_id, "content": message.content}
    if not message.tool_calls:
        return _plain(message)
    calls = list(map(written_call, message.tool_calls))
    return {"role": "assistant", "content": message.content or None, "tool_calls": calls}


def _responses(model: str, messages: Sequence[CapturedMessage], extras: RequestExtras) -> Asked:
    """Providers keep what `store` does not forbid, so it is forbidden where an example says nothing. There
    functions are strict unless the request says otherwise."""
    tools = [{"type": "function", "strict": False, **each.function()} for each in extras.tools]
    body = {"store": False, **_with(tools), **extras.parameters}
    declared = dict(_by_name(body.get("tools") or ()))
    custom = {name for name, (kind, _) in declared.items() if kind == "custom"}
    within = {name: {"namespace": space} for name, (_, space) in declared.items() if space}
    names = called(messages)
    sent = [item for message in messages for item in _items(message, custom, within, names)]
    return RESPONSES.removeprefix("/v1"), {**body, "model": model, "input": sent}


def _by_name(tools: Sequence[Mapping[str, Any]], within: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """The type and the namespace of each declared tool, by its name."""
    for tool in tools:
        name, kind = tool.get("name", ""), tool.get("type", "")
        if kind == "namespace":
            yield from _by_name(tool.get("tools") or (), name)
        else:
            yield name, (kind, within)


def _items(
    message: CapturedMessage,
    custom: Set[str],
    within: Mapping[str, Mapping[str, str]],
    names: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """A message as items. A `custom` tool takes a text. `within`: the namespaces, by the names of tools."""
    if message.role == "tool":
        kind = "custom_tool_call" if names.get(message.tool_call_id) in custom else "function_call"
        yield {"type": f"{kind}_output", "call_id": message.tool_call_id, "output": message.content}
        return
    if message.content or not message.tool_calls:
        yield _plain(message)
    for call in message.tool_calls:
        about = {"call_id": call.id, "name": call.name, **within.get(call.name, {})}
        if call.name in custom:
            text = arguments_of(call.arguments).get("input", call.arguments)
            yield {"type": "custom_tool_call", **about, "input": str(text)}
        else:
            yield {"type": "function_call", **about, "arguments": call.arguments}


def _anthropic(model: str, messages: Sequence[CapturedMessage], extras: RequestExtras) -> Asked:
    tools: list[dict[str, Any]] = [
        {"name": each.name, "description": each.description, "input_schema": each.schema}
        for each in extras.tools
    ]
    body: dict[str, Any] = {"max_tokens": MOST_TOKENS, **_with(tools), **extras.parameters, "model": model}
    if system := _system(messages):
        body["system"] = system
    if called(messages) and (body.get("thinking") or {}).get("type") == "enabled":
        # It would want the thoughts before the calls, which only their account can read.
        body = {name: value for name, value in body.items() if name not in ("thinking", "context_management")}
    sent = _turns(messages, "assistant", "content", _anthropic_block)
    return "/v1/messages", {**body, "messages": list(map(_brief, sent))}


def _brief(turn: dict[str, Any]) -> dict[str, Any]:
    """A message of one text with the text itself."""
    only = turn["content"][0] if len(turn["content"]) == 1 else {}
    return {**turn, "content": only["text"]} if "text" in only else turn


def _anthropic_block(message: CapturedMessage, names: Mapping[str, str]) -> list[dict[str, Any]]:
    if message.role == "tool":
        result = {"type": "tool_result", "tool_use_id": _anthropic_id(message.tool_call_id)}
        return [{**result, "content": message.content}]
    text = [{"type": "text", "text": message.content}] if message.content else []
    return text + [
        {
            "type": "tool_use",
            "id": _anthropic_id(call.id),
            "name": call.name,
            "input": arguments_of(call.arguments),
        }
        for call in message.tool_calls
    ]


def _anthropic_id(call: str) -> str:
    """The id with the characters that Anthropic takes."""
    return re.sub(r"[^\w-]", "_", call, flags=re.ASCII)


def _gemini(model: str, messages: Sequence[CapturedMessage], extras: RequestExtras) -> Asked:
    functions = [
        {"name": each.name, "description": each.description, "parametersJsonSchema": each.schema}
        for each in extras.tools
    ]
    tools = [{"functionDeclarations": functions}] if functions else []
    body: dict[str, Any] = {**_with(tools), **extras.parameters}
    if system := _system(messages):
        body["systemInstruction"] = {"parts": [{"text": system}]}
    sent = _turns(messages, "model", "parts", _gemini_part)
    return f"/v1beta/models/{model}:generateContent", {**body, "contents": sent}


_UNSIGNED = "skip_thought_signature_validator"
"""What Gemini takes for the signature of a thought that it did not have itself: without one it refuses calls.
It is wanted of the first call of a message."""


def _gemini_part(message: CapturedMessage, names: Mapping[str, str]) -> list[dict[str, Any]]:
    if message.role == "tool":
        about = {"name": names.get(message.tool_call_id, ""), "response": _response(message.content)}
        return [{"functionResponse": about}]
    parts: list[dict[str, Any]] = [{"text": message.content}] if message.content else []
    signed: Mapping[str, Any] = {"thoughtSignature": _UNSIGNED}
    for call in message.tool_calls:
        function = {"name": call.name, "args": arguments_of(call.arguments)}
        parts.append({"functionCall": function, **signed})
        signed = {}
    return parts


def _response(content: str) -> dict[str, Any]:
    """A tool's result as the object that Gemini wants."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"result": content}


Blocks = Callable[[CapturedMessage, Mapping[str, str]], list[dict[str, Any]]]


def _turns(messages: Sequence[CapturedMessage], assistant: str, member: str, blocks: Blocks) -> list[Any]:
    """The messages, each with a list of blocks under `member`. The results of one message's calls are one
    message of the user, with what the user says behind them."""
    names, follows = called(messages), False
    sent: list[dict[str, Any]] = []
    for message in _others(messages):
        found = blocks(message, names)
        if follows and message.role != "assistant":
            sent[-1][member] += found
        else:
            role = assistant if message.role == "assistant" else "user"
            sent.append({"role": role, member: found or [_EMPTY]})
            follows = message.role == "tool"
    return sent


_EMPTY = {"text": ""}


def _with(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """The body's member with tools, none without any."""
    return {"tools": tools} if tools else {}


def _plain(message: CapturedMessage) -> dict[str, Any]:
    return {"role": _plain_role(message.role), "content": message.content}


def _openai_logprobs(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**parameters, "logprobs": True}


def _gemini_logprobs(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    config = parameters.get("generationConfig") or {}
    return {**parameters, "generationConfig": {**config, "responseLogprobs": True}}


def _plain_role(role: str) -> str:
    return role if role in ("system", "assistant") else "user"


def _system(messages: Sequence[CapturedMessage]) -> str:
    return "\n\n".join(message.content for message in messages if message.role == "system")


def _others(messages: Sequence[CapturedMessage]) -> list[CapturedMessage]:
    return [message for message in messages if message.role != "system"]


def _bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"}


WIRES: Mapping[str, ChatWire] = {
    "openai": ChatWire(
        api="openai",
        asks=_openai,
        credential=_bearer,
        with_logprobs=_openai_logprobs,
        others={RESPONSES: ChatWire(api="openai", asks=_responses, credential=_bearer)},
    ),
    "anthropic": ChatWire(
        api="anthropic",
        asks=_anthropic,
        credential=lambda key: {"x-api-key": key, "anthropic-version": "2026-10-21"},
    ),
    "gemini": ChatWire(
        api="gemini",
        asks=_gemini,
        credential=lambda key: {"x-goog-api-key": key},
        with_logprobs=_gemini_logprobs,
    ),
}


Form = TypeVar("Form")


def confidence_in(api: Api, body: bytes) -> float | None:
    """The geometric mean of the probabilities of an answer's tokens, from 0 to 1; None without them.

    A mean, so that a long answer is not less sure than a short one (Malinin and Gales, ICLR 2021).
    """
    found: list[float] = []
    if api == "openai":
        found = [token.logprob for token in _openai_tokens(body)]
    elif api == "gemini":
        found = [token.log_probability for token in _gemini_steps(body).chosen_candidates]
    return math.exp(math.fsum(found) / len(found)) if found else None


class _OpenAILikely(msgspec.Struct):
    token: str
    logprob: float


class _OpenAIToken(msgspec.Struct):
    logprob: float
    top_logprobs: list[_OpenAILikely] = []


class _OpenAILogprobs(msgspec.Struct):
    content: list[_OpenAIToken] | None = None


class _OpenAIChoice(msgspec.Struct):
    logprobs: _OpenAILogprobs | None = None


class _OpenAIAnswer(msgspec.Struct):
    choices: list[_OpenAIChoice] = []


class _GeminiToken(msgspec.Struct, rename="camel"):
    log_probability: float


class _GeminiLikely(msgspec.Struct, rename="camel"):
    token: str
    log_probability: float


class _GeminiStep(msgspec.Struct):
    candidates: list[_GeminiLikely] = []


class _GeminiLogprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_GeminiToken] = []
    top_candidates: list[_GeminiStep] = []


class _GeminiCandidate(msgspec.Struct, rename="camel"):
    logprobs_result: _GeminiLogprobs | None = None


class _GeminiAnswer(msgspec.Struct):
    candidates: list[_GeminiCandidate] = []


def _openai_tokens(body: bytes) -> list[_OpenAIToken]:
    answer = _decoded(body, _OpenAIAnswer)
    found = answer.choices[0].logprobs if answer is not None and answer.choices else None
    return [] if found is None else found.content or []


def _gemini_steps(body: bytes) -> _GeminiLogprobs:
    answer = _decoded(body, _GeminiAnswer)
    found = answer.candidates[0].logprobs_result if answer is not None and answer.candidates else None
    return found or _GeminiLogprobs()


def first_token_in(api: Api, body: bytes) -> dict[str, float]:
    """The likeliest first tokens of an answer, with their probabilities; empty without them."""
    likely: list[tuple[str, float]] = []
    if api == "openai":
        first = _openai_tokens(body)[:1]
        likely = [(each.token, each.logprob) for token in first for each in token.top_logprobs]
    elif api == "gemini":
        steps = _gemini_steps(body).top_candidates[:1]
        likely = [(each.token, each.log_probability) for step in steps for each in step.candidates]
    return {token: math.exp(logprob) for token, logprob in likely}


class _Named(msgspec.Struct):
    model: str | None = None
    version: str | None = msgspec.field(default=None, name="modelVersion")
    fingerprint: str | None = msgspec.field(default=None, name="system_fingerprint")


def names_in(body: bytes) -> tuple[str, ...]:
    """What an answer calls its model, and its system fingerprint, marked as that, as far as it says."""
    found = _decoded(body, _Named)
    if found is None:
        return ()
    fingerprint = FINGERPRINT + found.fingerprint if found.fingerprint else None
    return tuple(filter(None, (found.model or found.version, fingerprint)))


def _decoded(body: bytes, form: type[Form]) -> Form | None:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError:
        return None
