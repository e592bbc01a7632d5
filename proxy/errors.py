"""The proxy's own errors, in the form of the API that was called."""

from typing import Literal

import msgspec

from proxy.provider import Api
from records.outcome import ErrorType

ErrorForm = Api | Literal["amazon"]


class Refused(Exception):
    """The proxy refuses this request; the message says how to correct it.

    `form` and `caller` are known once the request's path and its key are: the API that was called, and the
    name of the caller.
    """

    form: ErrorForm | None = None
    caller: str = ""

    def __init__(
        self, status: int, message: str, error_type: ErrorType, *, retry_after_s: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.error_type: ErrorType = error_type
        self.retry_after_s = retry_after_s


def error_body(form: ErrorForm | None, status: int, message: str, code: str) -> bytes:
    """Build an error document that the API's SDK understands."""
    document: dict[str, object]
    if form == "amazon":
        document = {"__type": code, "message": message}
    elif form == "anthropic":
        document = {"type": "error", "error": {"type": code, "message": message}}
    elif form == "gemini":
        document = {"error": {"code": status, "message": message, "status": code.upper()}}
    else:
        document = {"error": {"message": message, "type": "canary_proxy", "param": None, "code": code}}
    return msgspec.json.encode(document)
