"""The request for one answer in each wire API: path, headers and body, with no parameter of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from proxy.adaptation import adapted
from proxy.addressing import read, write
from proxy.provider import Provider
from records.capture import CapturedMessage

MOST_TOKENS = 4096
"""Anthropic requires a bound; no benchmark answer should reach it. An example's `max_tokens` replaces it."""

Asked = tuple[str, dict[str, Any]]
"""The path below the base URL, and the JSON body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWire:
    """One API. `asks` takes the model, the messages and an example's parameters, which are further members of
    the body; `credential` gives the headers with a key."""

    asks: Callable[[str, Sequence[CapturedMessage], Mapping[str, Any]], Asked]
    credential: Callable[[str], Mapping[str, str]]


def _openai(model: str, messages: Sequence[CapturedMessage], parameters: Mapping[str, Any]) -> Asked:
    sent = [{"role": _plain_role(message.role), "content": message.content} for message in messages]
    return "/chat/completions", {**parameters, "model": model, "messages": sent}


def _anthropic(model: str, messages: Sequence[CapturedMessage], parameters: Mapping[str, Any]) -> Asked:
    body: dict[str, Any] = {"max_tokens": MOST_TOKENS, **parameters, "model": model}
    if system := _system(messages):
        body["system"] = system
    sent = [{"role": _plain_role(message.role), "content": message.content} for message in _others(messages)]
    return "/v1/messages", {**body, "messages": sent}


def _gemini(model: str, messages: Sequence[CapturedMessage], parameters: Mapping[str, Any]) -> Asked:
    body = dict(parameters)
    if system := _system(messages):
        body["systemInstruction"] = {"parts": [{"text": system}]}
    sent = [
        {"role": "model" if message.role == "assistant" else "user", "parts": [{"text": message.content}]}
        for message in _others(messages)
    ]
    return f"/v1beta/models/{model}:generateContent", {**body, "contents": sent}


def _plain_role(role: str) -> str:
    """A tool result needs its call, which datasets do not have, so it is sent as a user message."""
    return role if role in ("system", "assistant") else "user"


def _system(messages: Sequence[CapturedMessage]) -> str:
    return "\n\n".join(message.content for message in messages if message.role == "system")


def _others(messages: Sequence[CapturedMessage]) -> list[CapturedMessage]:
    return [message for message in messages if message.role != "system"]


WIRES: Mapping[str, ChatWire] = {
    "openai": ChatWire(asks=_openai, credential=lambda key: {"authorization": f"Bearer {key}"}),
    "anthropic": ChatWire(
        asks=_anthropic, credential=lambda key: {"x-api-key": key, "anthropic-version": "2026-10-21"}
    ),
    "gemini": ChatWire(asks=_gemini, credential=lambda key: {"x-goog-api-key": key}),
}


def wire_of(provider: Provider) -> ChatWire:
    """The wire of an entry's API, in the URLs of its kind."""
    wire = WIRES[provider.api]
    return wire if provider.kind == "plain" else replace(wire, asks=_in_form_of(provider, wire))


def _in_form_of(
    provider: Provider, wire: ChatWire
) -> Callable[[str, Sequence[CapturedMessage], Mapping[str, Any]], Asked]:
    def asks(model: str, messages: Sequence[CapturedMessage], parameters: Mapping[str, Any]) -> Asked:
        path, body = wire.asks(model, messages, parameters)
        place = read("plain", provider.api, "POST", f"/v1{path}" if provider.api == "openai" else path)
        written = write(provider, place, model=model, stream=False, home=False)
        if written is None:
            return path, body
        target = written.target.decode()
        if written.change is None:
            return target, body
        sent = msgspec.json.encode(body)
        return target, msgspec.json.decode(adapted(sent, written.change.changes) or sent, type=dict[str, Any])

    return asks
