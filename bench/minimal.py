"""The smallest request of each operation of an API, as a caller writes it."""

from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.dialects import target_of
from proxy.headers import quoted
from proxy.provider import Api, Kind
from records.capture import WireRequest

FEW = 16
"""The least output tokens that every provider accepts as a limit."""

COUNTING = frozenset({"/v1/messages/count_tokens", "countTokens"})
"""Operations that need no model, and often work when the model does not."""

CHAT_PATHS: Mapping[Api, str] = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{}:generateContent",
}


def operation_of(api: Api, path: str) -> str:
    """An operation's short name, for a path as callers write it."""
    path = path.partition("?")[0]
    if path.startswith("/model/"):
        return path.rpartition("/")[2]  # Bedrock's method
    return path.rpartition(":")[2] if api == "gemini" else target_of(api, path)


def chat_path(api: Api, model: str) -> str:
    """The path of the API's own chat."""
    return CHAT_PATHS[api].format(model)


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
