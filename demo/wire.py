"""What a wire API is to the demo provider: how it reads a request and writes answers, streams and errors."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import msgspec

from demo.connection import Headers, Request
from demo.reply import LocalReply, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event, framed. `token` marks those that carry output, which are paced."""

    data: bytes
    token: bool = False


class RequestRefused(Exception):
    """The API turns the request down. `param` is the body field at fault, `code` OpenAI's own error code."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class Dialect(Protocol):
    """A provider's manners, the same for all its operations."""

    def key(self, request: Request) -> str | None:
        """The caller's key, from where this API looks for it."""
        ...

    def headers(self, draws: Random, spent_s: float) -> Headers:
        """The answer's own headers: request id, processing time, limits, and what CDNs add."""
        ...

    def error(self, refused: RequestRefused, request_id: str) -> bytes:
        """The error document."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWire:
    """One generating operation of an API. `created` is UTC seconds; `failure` writes its in-stream error
    event, given how many events went before."""

    dialect: Dialect
    read: Callable[[Request, Mapping[str, Any]], Prompt]
    document: Callable[[Prompt, LocalReply, int], bytes]
    events: Callable[[Prompt, LocalReply, int], Iterator[Event]]
    failure: Callable[[int], bytes]
    stream_type: str = "text/event-stream; charset=utf-8"
    json_type: str = "application/json"


def compact(value: object) -> bytes:
    """JSON without spaces, as in streams."""
    return msgspec.json.encode(value)


def pretty(value: object) -> bytes:
    """JSON indented by two, as OpenAI and Google send documents."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object; Refused(400) when it is none."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise RequestRefused(400, "We could not parse the JSON body of your request.") from exc
