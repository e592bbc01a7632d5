"""The interfaces of a wire API in the demo provider: reads requests, writes answers, streams and errors."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import msgspec

from demo.connection import Headers, Request
from demo.reply import LocalReply, Prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One server-sent event, framed. `token` marks events with output, which are paced."""

    data: bytes
    token: bool = False


class RequestRefused(Exception):
    """The API refuses the request. `param` is the invalid body field, `code` OpenAI's error code."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class Dialect(Protocol):
    """A provider's conventions, common to all its operations."""

    def key(self, request: Request) -> str | None:
        """The caller's key."""
        ...

    def headers(self, draws: Random, spent_s: float) -> Headers:
        """The answer's headers: request id, processing time, limits, and those that CDNs add."""
        ...

    def error(self, refused: RequestRefused, request_id: str) -> bytes:
        """The error document."""
        ...


def _takes_all(account: str, body: Mapping[str, Any]) -> None:
    """For operations whose requests carry no state of an account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWire:
    """One generating operation of an API. `created` is UTC seconds; `failure` makes its in-stream error,
    given the number of events before; `refuse_others` refuses state of another account than the caller's."""

    dialect: Dialect
    read: Callable[[Request, Mapping[str, Any]], Prompt]
    document: Callable[[Prompt, LocalReply, int], bytes]
    events: Callable[[Prompt, LocalReply, int], Iterator[Event]]
    failure: Callable[[int], bytes]
    refuse_others: Callable[[str, Mapping[str, Any]], None] = _takes_all
    stream_type: str = "text/event-stream; charset=utf-8"
    json_type: str = "application/json"


def compact(value: object) -> bytes:
    """JSON without spaces, for streams."""
    return msgspec.json.encode(value)


def pretty(value: object) -> bytes:
    """JSON indented by two, the documents' format of OpenAI and Google."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def parse(body: bytes) -> dict[str, Any]:
    """The request's JSON object. Raises RequestRefused (400)."""
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as exc:
        raise RequestRefused(400, "We could not parse the JSON body of your request.") from exc
