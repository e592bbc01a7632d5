"""What a preflight asks: captured requests, those of a file, or the smallest of each operation of an API."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from bench.errors import BenchError
from bench.models.wires import chat_path
from common.text import UNREADABLE
from proxy.dialects.operation import Api
from proxy.providers.headers import quoted
from proxy.providers.provider import Kind
from proxy.providers.urls import target_of
from records.captures.capture import Capture, WireRequest
from records.store import Store
from records.store.captures import CaptureStore
from routing.canary import Canary

FEW = 16
"""The least output tokens that every provider accepts as a limit."""

COUNTING = frozenset({"/v1/messages/count_tokens", "countTokens"})
"""Operations that need no model, and often work when the model does not."""


def operation_of(api: Api, path: str) -> str:
    """An operation's short name, for a path as callers write it."""
    path = path.partition("?")[0]
    if path.startswith("/model/"):
        return path.rpartition("/")[2]  # Bedrock's method
    return path.rpartition(":")[2] if api == "gemini" else target_of(api, path)


def minimal_requests(api: Api, model: str, kind: Kind = "plain") -> Mapping[str, WireRequest]:
    """The requests by operation. OpenAI's chat has no limit of tokens: its name differs by model."""
    bodies = {**_bodies(model)[api], **(_on_bedrock(model) if kind == "bedrock" else {})}
    return {
        operation_of(api, path): WireRequest(path=path, body=msgspec.json.encode(body).decode())
        for path, body in bodies.items()
    }


def _bodies(model: str) -> Mapping[Api, Mapping[str, Mapping[str, Any]]]:
    """By API, then by path."""
    messages = [{"role": "user", "content": "ping"}]
    content = {"role": "user", "parts": [{"text": "ping"}]}
    few = {"contents": [content], "generationConfig": {"maxOutputTokens": FEW}}
    gemini = f"/v1beta/models/{model}"
    return {
        "openai": {
            "/v1/chat/completions": {"model": model, "messages": messages},
            "/v1/responses": {"model": model, "input": "ping", "max_output_tokens": FEW, "store": False},
            "/v1/completions": {"model": model, "prompt": "ping", "max_tokens": FEW},
            "/v1/embeddings": {"model": model, "input": "ping"},
        },
        "anthropic": {
            "/v1/messages": {"model": model, "messages": messages, "max_tokens": FEW},
            "/v1/messages/count_tokens": {"model": model, "messages": messages},
        },
        "gemini": {
            f"{gemini}:generateContent": few,
            f"{gemini}:streamGenerateContent?alt=sse": few,
            f"{gemini}:countTokens": {"contents": [content]},
            f"{gemini}:embedContent": {"content": content},
        },
    }


def _on_bedrock(model: str) -> Mapping[str, Mapping[str, Any]]:
    """Bedrock's own chat, which all of its models have. The bodies of InvokeModel are each model's own."""
    messages = [{"role": "user", "content": [{"text": "ping"}]}]
    body = {"messages": messages, "inferenceConfig": {"maxTokens": FEW}}
    return {f"/model/{quoted(model)}/{method}": body for method in ("converse", "converse-stream")}


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """A request to another path than the API's own chat."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = {}


def parse_requests(text: str, *, api: Api, model: str) -> list[WireRequest]:
    """Parse the lines: a body for the API's own chat, or `{"path", "body"}`. Raises BenchError."""
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append(_request(line, chat_path(api, model)))
            except UNREADABLE as problem:
                raise BenchError(f"line {number} is not a request: {problem}") from problem
    if not found:
        raise BenchError("there is no request in it")
    return found


def _request(line: str, chat: str) -> WireRequest:
    """The line's request. The body stays as it is written."""
    members = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    if not {"path", "body"} <= members.keys():
        return WireRequest(path=chat, body=line.strip())
    read = msgspec.json.decode(line, type=_Line)
    if not read.path.startswith("/"):
        raise msgspec.ValidationError('"path" begins with a slash, for example /v1/responses')
    return WireRequest(path=read.path, body=bytes(members["body"]).decode(), headers=read.headers)


MOST_FOR_PROMPT = 200
"""Captured requests that are looked at for the text of a prompt."""

MOST_LOOKED_AT = 200
"""Captures of other canaries and models that are looked at for requests which a canary would take."""

_IN_PATH = re.compile(r"/models?/([^/:]+)")
"""Where Gemini and Bedrock have the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedRequest:
    """A captured request that can be sent again. `source`: of which canary, or model without one, it was."""

    request: WireRequest
    source: str


def newest_requests(store: Store, canary: Canary, *, limit: int) -> list[CapturedRequest]:
    """The newest captured requests of a canary; if they are fewer than `limit`, also others that it would
    take: those of earlier canaries, and of models without one. Raises StoreDown."""
    captures = CaptureStore(store)
    found = captures.newest([canary.name], limit)
    if len(found) < limit:
        others = captures.newest([each for each in captures.sources() if each != canary.name], MOST_LOOKED_AT)
        found += [each for each in others if _takes(canary, each)][: limit - len(found)]
    return [
        CapturedRequest(
            request=each.request, source=each.about.canary or f"{each.about.model} without a canary"
        )
        for each in found
        if each.request is not None
    ]


def _takes(canary: Canary, capture: Capture) -> bool:
    """True for a request of another canary, or of none, that this canary would take. What its headers were is
    not known, so a canary that matches by headers takes none."""
    request, about = capture.request, capture.about
    if request is None or about.provider != canary.baseline.provider:
        return False
    path = request.path.partition("?")[0]
    named = _IN_PATH.search(path)
    model = named[1] if named is not None else msgspec.json.decode(request.body).get("model")
    return canary.match.accepts(model=str(model), path=path, headers={}, tags=about.tags)
