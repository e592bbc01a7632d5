"""How each wire API is asked for one answer: path, headers and body. Not how it is sent, or read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from records.capture import Said

MOST_TOKENS = 4096
"""Anthropic wants a bound; no answer of a benchmark should meet it."""

Asked = tuple[str, dict[str, Any]]
"""The path below the base URL, and the JSON body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWire:
    """One API. `credential` is the headers that carry a key; calm requests ask for as little chance as the
    API knows to give, which not every model takes."""

    asks: Callable[[str, Sequence[Said], bool], Asked]
    credential: Callable[[str], Mapping[str, str]]


def _openai(model: str, messages: Sequence[Said], calm: bool) -> Asked:
    said = [{"role": _plain_role(each.role), "content": each.content} for each in messages]
    return "/chat/completions", {"model": model, "messages": said, **_temperature(calm)}


def _anthropic(model: str, messages: Sequence[Said], calm: bool) -> Asked:
    body: dict[str, Any] = {"model": model, "max_tokens": MOST_TOKENS, **_temperature(calm)}
    if system := _system(messages):
        body["system"] = system
    said = [{"role": _plain_role(each.role), "content": each.content} for each in _others(messages)]
    return "/v1/messages", {**body, "messages": said}


def _gemini(model: str, messages: Sequence[Said], calm: bool) -> Asked:
    body: dict[str, Any] = {"generationConfig": _temperature(calm)} if calm else {}
    if system := _system(messages):
        body["systemInstruction"] = {"parts": [{"text": system}]}
    said = [
        {"role": "model" if each.role == "assistant" else "user", "parts": [{"text": each.content}]}
        for each in _others(messages)
    ]
    return f"/v1beta/models/{model}:generateContent", {**body, "contents": said}


def _temperature(calm: bool) -> dict[str, Any]:
    return {"temperature": 0} if calm else {}


def _plain_role(role: str) -> str:
    """A tool's answer needs its call, which no dataset has: it is told as the user's words."""
    return role if role in ("system", "assistant") else "user"


def _system(messages: Sequence[Said]) -> str:
    return "\n\n".join(each.content for each in messages if each.role == "system")


def _others(messages: Sequence[Said]) -> list[Said]:
    return [each for each in messages if each.role != "system"]


WIRES: Mapping[str, ChatWire] = {
    "openai": ChatWire(asks=_openai, credential=lambda key: {"authorization": f"Bearer {key}"}),
    "anthropic": ChatWire(
        asks=_anthropic, credential=lambda key: {"x-api-key": key, "anthropic-version": "2026-10-21"}
    ),
    "gemini": ChatWire(asks=_gemini, credential=lambda key: {"x-goog-api-key": key}),
}
