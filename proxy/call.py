"""Reads one request: its body (bounded), and from it only what routing and recording need."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import msgspec

from proxy.dialects.gemini import MODEL_PATH
from proxy.dialects.operation import UNREADABLE
from proxy.errors import Refused
from proxy.headers import Headers
from proxy.routes import Route, Routes, Trial
from routing.canary import UnitSource

BODY_BOUND = 64 << 20
_LABEL_BOUND = 64

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the body (or Gemini's path) says. `unit` is the body's, "" when it has none; `stream_options` is
    the member as it stands there, empty when it does not."""

    model: str = ""
    stream: bool = False
    stream_options: bytes = b""
    unit: str = ""
    names_state: bool = False
    declines_store: bool = False


@dataclass(slots=True, kw_only=True)
class Call:
    """One request, read. `at` and `mono` are the moment of its last byte (pass-through: of its head).

    `unit` is the sticky identity, from the first place of the canary's order that has one.
    """

    method: str
    route: Route
    query: bytes
    headers: Headers
    named: Mapping[bytes, bytes]
    body: bytes | AsyncIterator[bytes]
    facts: Facts
    trial: Trial | None
    unit: str | None
    tags: Mapping[str, str]
    at: float
    mono: float

    def text(self, name: bytes) -> str:
        """A request header as text, shortened to a label's length; "" when absent."""
        value = self.named.get(name)
        return value.decode("utf-8", "replace")[:_LABEL_BOUND] if value else ""

    @property
    def stateful(self) -> bool:
        """True when only one provider entry knows, or would know, what the request is about."""
        if self.trial is None or self.trial.shares_state:
            return False
        creates = self.route.operation.creates_state and not self.facts.declines_store
        return creates or self.facts.names_state or self._names_stored_things

    @property
    def _names_stored_things(self) -> bool:
        return isinstance(self.body, bytes) and _STORED.search(self.body) is not None


_STORED = re.compile(
    rb'"(?:file_ids?|vector_store_ids|item_reference|cached_?[cC]ontent)"'
    rb'|"container"\s*:\s*"|"file_?[uU]ri"\s*:\s*"[^"]*/files/'
)
"""Members that name a file, a vector store, a stored item or cache, or a running container."""


async def read(scope: Scope, receive: Receive, routes: Routes) -> Call:
    """Read one request. Raises Refused for what is not to be forwarded at all, CancelledError when the caller
    leaves before its end."""
    headers: Headers = scope["headers"]
    named = dict(headers)
    route = routes.route(scope["method"], scope["raw_path"].decode("ascii"), scope["query_string"], named)
    tags = _tags(named, routes)
    body: bytes | AsyncIterator[bytes]
    facts: Facts | None = None
    if route.operation.canary and b"content-encoding" not in named and _is_json(named):
        body = whole = await _whole(receive)
        facts = _facts(route, whole)
    else:
        body = _streamed(receive) if _has_body(named) else b""
    # No JSON: the provider's to answer, untouched and outside any canary.
    trial = routes.trial(route, facts.model, named, tags) if facts is not None else None
    return Call(
        method=scope["method"],
        route=route,
        query=scope["query_string"],
        headers=headers,
        named=named,
        body=body,
        facts=facts or _NO_FACTS,
        trial=trial,
        unit=_unit(trial.canary.unit_from, named, facts) if facts is not None and trial is not None else None,
        tags=tags,
        at=time.time(),
        mono=time.monotonic(),
    )


def _is_json(named: Mapping[bytes, bytes]) -> bool:
    kind = named.get(b"content-type", b"application/json")
    return b"json" in kind.partition(b";")[0].lower()


def _has_body(named: Mapping[bytes, bytes]) -> bool:
    return named.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in named


async def _whole(receive: Receive) -> bytes:
    parts, size, more = [], 0, True
    while more:
        part, more = await _part(receive)
        size += len(part)
        if size > BODY_BOUND:
            raise Refused(413, f"the request is over {BODY_BOUND >> 20} MiB", "caller_too_large")
        parts.append(part)
    return b"".join(parts)


async def _streamed(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        part, more = await _part(receive)
        if part:
            yield part


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """The next part of the body, and whether there are more."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise asyncio.CancelledError  # what has come must not pass for a whole request
    return message.get("body", b""), message.get("more_body", False)


_Unit = str | int | None


class _Metadata(msgspec.Struct):
    user_id: _Unit = None


class _Body(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None
    user: _Unit = None
    safety_identifier: _Unit = None
    metadata: _Metadata | None = None
    stream_options: msgspec.Raw = msgspec.Raw()
    previous_response_id: msgspec.Raw = msgspec.Raw()
    conversation: msgspec.Raw = msgspec.Raw()
    container: msgspec.Raw = msgspec.Raw()
    store: bool | None = None


_FIELDS = msgspec.structs.fields(_Body)
_decode = msgspec.json.Decoder(_Body).decode
_decode_members = msgspec.json.Decoder(
    msgspec.defstruct("_Members", [(field.name, msgspec.Raw, msgspec.Raw()) for field in _FIELDS])
).decode
_NOTHING = (b"", b"null", b'""')
_NO_FACTS = Facts()


def _facts(route: Route, body: bytes) -> Facts | None:
    """What the body says; None when it is no JSON object."""
    said = _body(body)
    if said is None:
        return None
    place = MODEL_PATH.match(route.path) if route.operation.model_in == "path" else None
    streams = route.operation.streams
    return Facts(
        model=unquote(place["model"]) if place else said.model or "",
        stream=bool(said.stream) if streams is None else streams,
        stream_options=bytes(said.stream_options),
        unit=_text(said.user)
        or (_text(said.metadata.user_id) if said.metadata is not None else "")
        or _text(said.safety_identifier),
        names_state=not (
            bytes(said.previous_response_id) in _NOTHING
            and bytes(said.conversation) in _NOTHING
            and bytes(said.container) in _NOTHING
        ),
        declines_store=said.store is False,
    )


def _body(body: bytes) -> _Body | None:
    try:
        return _decode(body)
    except msgspec.ValidationError:
        return _tolerant(body)
    except UNREADABLE:
        return None


def _tolerant(body: bytes) -> _Body | None:
    """The same for JSON whose members have types that the API does not know: those that fit are taken."""
    try:
        members = _decode_members(body)
    except UNREADABLE:
        return None
    said = _Body()
    for field in _FIELDS:
        with suppress(*UNREADABLE):
            setattr(said, field.name, msgspec.json.decode(getattr(members, field.name), type=field.type))
    return said


def _text(unit: _Unit) -> str:
    """A unit as a header would carry it: a number is its digits, space around it does not count."""
    return str(unit).strip() if unit is not None else ""


def _unit(places: Sequence[UnitSource], named: Mapping[bytes, bytes], facts: Facts) -> str | None:
    """The first place's that has one. Empty is none: it would be one bucket shared by all."""
    for place in places:
        unit = (
            facts.unit if place == "body" else named.get(_UNIT_HEADERS[place], b"").decode(*_DISTINCT).strip()
        )
        if unit:
            return unit
    return None


_UNIT_HEADERS: Mapping[UnitSource, bytes] = {"header": b"x-canary-unit", "session": b"x-canary-session"}
_DISTINCT = ("utf-8", "backslashreplace")
"""Two units that are no UTF-8 stay two units."""


def _tags(named: Mapping[bytes, bytes], routes: Routes) -> Mapping[str, str]:
    """`x-canary-tags: region=eu, plan=pro`: only names that the config lists."""
    given = named.get(b"x-canary-tags")
    if not given:
        return {}
    pairs = (part.partition("=") for part in given.decode("utf-8", "replace").split(","))
    return {
        name.strip(): value.strip()[:_LABEL_BOUND] for name, _, value in pairs if name.strip() in routes.tags
    }
