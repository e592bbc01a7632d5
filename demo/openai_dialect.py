"""OpenAI's conventions: Bearer keys, headers, error documents."""

from collections.abc import Mapping
from random import Random
from typing import Any

from demo.connection import Headers, Request
from demo.wire import RequestRefused, pretty

JSON_TYPES = {
    str: "a string",
    float: "a decimal number",
    bool: "a boolean",
    list: "an array",
    dict: "an object",
}
TYPES = {401: "invalid_request_error", 429: "requests", 500: "server_error", 503: "server_error"}


class OpenAIDialect:
    """`demo.wire.Dialect` for OpenAI."""

    def key(self, request: Request) -> str | None:
        return bearer(request)

    def headers(self, draws: Random, spent_s: float) -> Headers:
        return (
            ("x-request-id", f"req_{draws.randbytes(16).hex()}"),
            ("openai-processing-ms", str(round(spent_s * 1e3))),
            ("openai-version", "2020-10-01"),
            ("openai-organization", "org-demo"),
            ("x-ratelimit-limit-requests", "10000"),
            ("x-ratelimit-remaining-requests", "9999"),
            ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
            ("set-cookie", f"__cf_bm={draws.randbytes(12).hex()}; path=/; HttpOnly; Secure"),
            ("alt-svc", 'h3=":443"; ma=86400'),
            ("server", "cloudflare"),
        )

    def error(self, refused: RequestRefused, request_id: str) -> bytes:
        return pretty({"error": error_fields(refused)})


def bearer(request: Request) -> str | None:
    """The token of `authorization: Bearer …`."""
    scheme, _, token = (request.header("authorization") or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def whole_number(body: Mapping[str, Any], name: str) -> int | None:
    """A member that takes an integer; None where the body has none. Raises RequestRefused (400)."""
    value = body.get(name)
    if value is None or type(value) is int:
        return value
    got = JSON_TYPES[type(value)]
    message = f"Invalid type for '{name}': expected an integer, but got {got} instead."
    raise RequestRefused(400, message, param=name, code="invalid_type")


def error_fields(refused: RequestRefused) -> dict[str, Any]:
    """The `error` member, in documents and in streams."""
    return {
        "message": refused.message,
        "type": TYPES.get(refused.status, "invalid_request_error"),
        "param": refused.param,
        "code": refused.code,
    }
