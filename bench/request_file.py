"""A file of requests for `canary preflight --from`: one a line, as callers send them."""

from typing import Any

import msgspec

from bench.errors import BenchError
from bench.minimal import chat_path
from proxy.dialects.operation import UNREADABLE
from proxy.provider import Api
from records.capture import WireRequest


class BadRequestFile(BenchError):
    """A line is not a request; the message says which and why."""


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """A request to another path than the API's own chat."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str] = {}


def parse_requests(text: str, *, api: Api, model: str) -> list[WireRequest]:
    """Parse the lines: a body for the API's own chat, or `{"path", "body"}`. Raises BadRequestFile."""
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append(_request(line, chat_path(api, model)))
            except UNREADABLE as problem:
                raise BadRequestFile(f"line {number} is not a request: {problem}") from problem
    if not found:
        raise BadRequestFile("there is no request in it")
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
