"""Each wire API: the request for one answer, and how sure the model was of it.

A request has no parameter of its own. Confidence is the answer's tokens' mean log probability.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from proxy.dialects.operation import Api
from records.captures.capture import CapturedMessage

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
    path as callers write it, "" for the API's own chat."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    path: str = ""


NO_EXTRAS = RequestExtras()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatWire:
    """One API. `asks` takes the model, the messages and an example's parameters, which are further members of
    the body; `credential` gives the headers with a key. `with_logprobs` adds to the parameters what asks for
    log probabilities; None where the API has none. `others` are the API's other ways to ask, by the path that
    callers write."""

    asks: Callable[[str, Sequence[CapturedMessage], Mapping[str, Any]], Asked]
    credential: Callable[[str], Mapping[str, str]]
    with_logprobs: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    others: Mapping[str, "ChatWire"] = field(default_factory=dict)

    def at(self, path: str) -> "ChatWire":
        """The way to ask at this path; "" is the API's own chat."""
        return self.others[path] if path else self


def chat_path(api: Api, model: str = "any") -> str:
    """The path of the API's own chat, as callers write it."""
    return _CHATS[api].format(model)


def _openai(model: str, messages: Sequence[CapturedMessage], parameters: Mapping[str, Any]) -> Asked:
    sent = [{"role": _plain_role(message.role), "content": message.content} for message in messages]
    return "/chat/completions", {**parameters, "model": model, "messages": sent}


def _responses(model: str, messages: Sequence[CapturedMessage], parameters: Mapping[str, Any]) -> Asked:
    """Providers keep what `store` does not forbid, so it is forbidden where an example says nothing."""
    sent = [{"role": _plain_role(message.role), "content": message.content} for message in messages]
    return RESPONSES.removeprefix("/v1"), {"store": False, **parameters, "model": model, "input": sent}


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


def _openai_logprobs(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**parameters, "logprobs": True}


def _gemini_logprobs(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    config = parameters.get("generationConfig") or {}
    return {**parameters, "generationConfig": {**config, "responseLogprobs": True}}


def _plain_role(role: str) -> str:
    """A tool result needs its call, which datasets do not have, so it is sent as a user message."""
    return role if role in ("system", "assistant") else "user"


def _system(messages: Sequence[CapturedMessage]) -> str:
    return "\n\n".join(message.content for message in messages if message.role == "system")


def _others(messages: Sequence[CapturedMessage]) -> list[CapturedMessage]:
    return [message for message in messages if message.role != "system"]


def _bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"}


WIRES: Mapping[str, ChatWire] = {
    "openai": ChatWire(
        asks=_openai,
        credential=_bearer,
        with_logprobs=_openai_logprobs,
        others={RESPONSES: ChatWire(asks=_responses, credential=_bearer)},
    ),
    "anthropic": ChatWire(
        asks=_anthropic, credential=lambda key: {"x-api-key": key, "anthropic-version": "2026-10-21"}
    ),
    "gemini": ChatWire(
        asks=_gemini, credential=lambda key: {"x-goog-api-key": key}, with_logprobs=_gemini_logprobs
    ),
}


Form = TypeVar("Form")


def confidence_in(api: Api, body: bytes) -> float | None:
    """The geometric mean of the probabilities of an answer's tokens, from 0 to 1; None without them.

    A mean, so that a long answer is not less sure than a short one (Malinin and Gales, ICLR 2021).
    """
    read = _LOGPROBS.get(api)
    found = [] if read is None else list(read(body))
    return math.exp(math.fsum(found) / len(found)) if found else None


class _OpenAIToken(msgspec.Struct):
    logprob: float


class _OpenAILogprobs(msgspec.Struct):
    content: list[_OpenAIToken] | None = None


class _OpenAIChoice(msgspec.Struct):
    logprobs: _OpenAILogprobs | None = None


class _OpenAIAnswer(msgspec.Struct):
    choices: list[_OpenAIChoice] = []


class _GeminiToken(msgspec.Struct, rename="camel"):
    log_probability: float


class _GeminiLogprobs(msgspec.Struct, rename="camel"):
    chosen_candidates: list[_GeminiToken] = []


class _GeminiCandidate(msgspec.Struct, rename="camel"):
    logprobs_result: _GeminiLogprobs | None = None


class _GeminiAnswer(msgspec.Struct):
    candidates: list[_GeminiCandidate] = []


def _openai_confidence(body: bytes) -> Iterable[float]:
    answer = _decoded(body, _OpenAIAnswer)
    found = answer.choices[0].logprobs if answer is not None and answer.choices else None
    return [] if found is None else [token.logprob for token in found.content or ()]


def _gemini_confidence(body: bytes) -> Iterable[float]:
    answer = _decoded(body, _GeminiAnswer)
    found = answer.candidates[0].logprobs_result if answer is not None and answer.candidates else None
    return [] if found is None else [token.log_probability for token in found.chosen_candidates]


def _decoded(body: bytes, form: type[Form]) -> Form | None:
    try:
        return msgspec.json.decode(body, type=form)
    except msgspec.DecodeError:
        return None


_LOGPROBS: Mapping[Api, Callable[[bytes], Iterable[float]]] = {
    "openai": _openai_confidence,
    "gemini": _gemini_confidence,
}
