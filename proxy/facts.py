"""What a request says of itself, mostly in its JSON: the little that routing and recording need. Pure."""

import re
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import unquote

import msgspec

from proxy.dialects.gemini import MODEL_PATH
from proxy.dialects.operation import UNREADABLE
from proxy.dialects.realtime import parameter
from proxy.routes import Route


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the body (or Gemini's path, or a session's handshake) says. `unit` is the body's, "" when it has
    none; `stream_options` is the member as it stands there, empty when it does not."""

    model: str = ""
    stream: bool = False
    stream_options: bytes = b""
    unit: str = ""
    names_state: bool = False
    declines_store: bool = False


NO_FACTS = RequestFacts()

_STORED = re.compile(
    rb'"(?:file_ids?|vector_store_ids|cached_?[cC]ontent)"\s*:\s*["\[]|"item_reference"'
    rb'|"container"\s*:\s*"|"file_?[uU]ri"\s*:\s*"[^"]*/files/'
)
"""Members that name a file, a vector store, a stored item or cache, or a running container. A tool's
parameter of such a name has an object for its value, and names nothing."""


def names_stored(body: bytes) -> bool:
    """True when a member anywhere in the body names something that its provider keeps."""
    return _STORED.search(body) is not None


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
    prompt: msgspec.Raw = msgspec.Raw()
    container: msgspec.Raw = msgspec.Raw()
    store: bool | None = None


_FIELDS = msgspec.structs.fields(_Body)
_decode = msgspec.json.Decoder(_Body).decode
_decode_members = msgspec.json.Decoder(
    msgspec.defstruct("_Members", [(field.name, msgspec.Raw, msgspec.Raw()) for field in _FIELDS])
).decode
_NOTHING = (b"", b"null", b'""')


def facts_of(route: Route, body: bytes) -> RequestFacts | None:
    """What the body says; None when it is no JSON object."""
    said = _body(body)
    if said is None:
        return None
    place = MODEL_PATH.match(route.path) if route.operation.model_in == "path" else None
    streams = route.operation.streams
    return RequestFacts(
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
            and (not route.operation.creates_state or bytes(said.prompt) in _NOTHING)
        ),
        declines_store=said.store is False,
    )


def facts_of_session(query: bytes, named: Mapping[bytes, bytes]) -> RequestFacts | None:
    """What a realtime session's handshake says; None where it names no model that could be an arm's: one
    that its caller made before, or one that only transcribes."""
    model = parameter(query, "model")
    if not model:
        return None
    return RequestFacts(
        model=model,
        stream=True,
        unit=named.get(b"openai-safety-identifier", b"").decode("utf-8", "backslashreplace").strip(),
        names_state=bool(parameter(query, "call_id")),
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
