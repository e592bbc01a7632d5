"""The providers' wire APIs, one file each: which paths are LLM operations and how to read their answers."""

from proxy.dialects import anthropic, gemini, openai, realtime
from proxy.dialects.operation import PASS_THROUGH, Api, Operation

_BY_API = {"openai": openai.operation, "anthropic": anthropic.operation, "gemini": gemini.operation}


def operation(api: Api, method: str, path: str) -> Operation:
    """Return the operation of a provider's API at `path`, as the provider sees it, without query."""
    if method == "POST":
        return _BY_API[api](path)
    if method == "GET" and api == "openai" and path == realtime.PATH:
        return realtime.REALTIME
    return PASS_THROUGH


def target_of(api: Api, path: str) -> str:
    """The path below the base URL, for a path as callers write it (`/v1/…`)."""
    return path[3:] if api == "openai" and path.startswith("/v1/") else path


__all__ = ["PASS_THROUGH", "Operation", "operation", "target_of"]
