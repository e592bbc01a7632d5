"""The request for one answer in each wire API: path, headers and body."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from records.capture import CapturedMessage

MOST_TOKENS = 4096
"""Anthropic requires a bound; no benchmark answer should reach it."""

Asked = tuple[str, dict[str, Any]]
"""The path below the base URL, and the JSON body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWire:
    """One API. `credential` gives the headers with a key. A calm request sets temperature 0, which not every
    model accepts."""

    asks: Callable[[str, Sequence[CapturedMessage], bool], Asked]
    credential: Callable[[str], Mapping[str, str]]


def _openai(model: str, messages: Sequence[CapturedMessage], calm: bool) -> Asked:
    sent = [{"role": _plain_role(message.role), "content": message.content} for message in messages]
    return "/chat/completions", {"model": model, "messages": sent, **_temperature(calm)}


def _anthropic(model: str, messages: Sequence[CapturedMessage], calm: bool) -> Asked:
    body: dict[str, Any] = {"model": model, "max_tokens": MOST_TOKENS, **_temperature(calm)}
    if system := _system(messages):
        body["system"] = system
    sent = [{"role": _plain_role(message.role), "content": message.content} for message in _others(messages)]
    return "/v1/messages", {**body, "messages": sent}


def _gemini(model: str, messages: Sequence[CapturedMessage], calm: bool) -> Asked:
    body: dict[str, Any] = {"generationConfig": _temperature(calm)} if calm else {}
    if system := _system(messages):
        body["systemInstruction"] = {"parts": [{"text": system}]}
    sent = [
        {"role": "model" if message.role == "assistant" else "user", "parts": [{"text": message.content}]}
        for message in _others(messages)
    ]
    return f"/v1beta/models/{model}:generateContent", {**body, "contents": sent}


def _temperature(calm: bool) -> dict[str, Any]:
    return {"temperature": 0} if calm else {}


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
