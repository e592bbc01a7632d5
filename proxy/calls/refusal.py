"""The proxy's own errors, in the form of the API that was called."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from proxy.dialects.operation import Api
from records.outcome import ErrorType

ErrorForm = Api | Literal["amazon"]


class Refused(Exception):
    """The proxy refuses this request; the message says how to correct it.

    `form` and `caller` are known once the request's path and its key are: the API that was called, and the
    name of the caller.
    """

    caller: str = ""

    def __init__(
        self,
        status: int,
        message: str,
        error_type: ErrorType,
        *,
        retry_after_s: int | None = None,
        form: ErrorForm | None = None,
    ) -> None:
        super().__init__(message)
        self.form: ErrorForm | None = form
        self.status = status
        self.message = message
        self.error_type: ErrorType = error_type
        self.retry_after_s = retry_after_s


_CALLERS_FAULTS: frozenset[str] = frozenset({"caller_unauthorized", "caller_limited"})
_OWN_WORDS: Mapping[tuple[ErrorForm, int], str] = {
    ("openai", 401): "invalid_api_key",
    ("openai", 403): "insufficient_permissions",
    ("openai", 429): "rate_limit_exceeded",
    ("anthropic", 401): "authentication_error",
    ("anthropic", 403): "permission_error",
    ("anthropic", 429): "rate_limit_error",
    ("gemini", 401): "UNAUTHENTICATED",
    ("gemini", 403): "PERMISSION_DENIED",
    ("gemini", 429): "RESOURCE_EXHAUSTED",
    ("amazon", 401): "UnrecognizedClientException",
    ("amazon", 403): "AccessDeniedException",
    ("amazon", 429): "ThrottlingException",
}
"""What each API calls a caller's missing key, its missing right and its spent rate. Apps tell them apart by
these words."""
_OPENAI_TYPES = {401: "invalid_request_error", 403: "invalid_request_error", 429: "requests"}
"""OpenAI's `type` beside those codes."""


def error_body(form: ErrorForm | None, status: int, message: str, code: str) -> bytes:
    """Build an error document that the API's SDK understands. `code`: one of canary's error types."""
    form = form or "openai"
    own = _OWN_WORDS.get((form, status)) if code in _CALLERS_FAULTS else None
    document: dict[str, object]
    if form == "amazon":
        document = {"__type": own or code, "message": message}
    elif form == "anthropic":
        document = {"type": "error", "error": {"type": own or code, "message": message}}
    elif form == "gemini":
        document = {"error": {"code": status, "message": message, "status": own or code.upper()}}
    else:
        kind = _OPENAI_TYPES[status] if own else "canary_proxy"
        document = {"error": {"message": message, "type": kind, "param": None, "code": own or code}}
    return msgspec.json.encode(document)
