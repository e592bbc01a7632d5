"""Reads one request: its body, within a bound, and the facts that routing and recording need."""

import time
from collections.abc import AsyncIterator, Mapping
from functools import lru_cache, partial

import msgspec

from proxy.calls.call import (
    LABEL_BOUND,
    NO_FACTS,
    Call,
    RequestFacts,
    facts_of,
    facts_of_session,
    labels_of,
    streamed,
)
from proxy.calls.callers import Callers, asked_model, message_model, needs_model, session_model
from proxy.calls.canary_choice import CanaryChooser, Choice, session_in
from proxy.calls.compressed_body import ENCODING, BodyUnpacker, CompressedBody
from proxy.calls.refusal import Refused
from proxy.calls.routes import Route, Routes
from proxy.network.server.caller_request import CallerRequest
from proxy.providers.headers import Headers
from routing.caller import TAG, Caller
from routing.canary import SESSION_FROM

BODY_BOUND = 64 << 20
BODY_WITHIN_S = 600.0
"""How long a body that is read as a whole may take to arrive. One that passes through is bound by `total`."""
SMALL_BODY = 64 << 10
"""Bodies that arrive in one piece up to this size are not counted: most requests."""
_JSON = b"application/json"
"""What a body without a content-type is taken for."""
_TYPE_BOUND = 128
"""Bytes of a content-type that are looked at: what it says of the type stands before its parameters."""
_MOST_TAGS = 256
"""Tags of one request that are read."""


class HeldBodies:
    """The bytes of request bodies that a worker holds, at most `most`. `unpacker` unpacks the compressed."""

    def __init__(self, most: int = 512 << 20) -> None:
        self.most = most
        self.size = 0
        self.unpacker = BodyUnpacker(BODY_BOUND)
        self.held: dict[CallerRequest, int] = {}

    def hold(self, incoming: CallerRequest, size: int) -> None:
        """Count bytes of this request until its `release`. Raises Refused (503)."""
        if self.size + size > self.most:
            message = f"the request bodies that canary holds are over {self.most >> 20} MiB; try again"
            raise Refused(503, message, "shed", retry_after_s=5)
        self.size += size
        self.held[incoming] = self.held.get(incoming, 0) + size

    def release(self, incoming: CallerRequest) -> None:
        """The request has ended."""
        self.size -= self.held.pop(incoming, 0)


async def read(
    incoming: CallerRequest,
    routes: Routes,
    lanes: CanaryChooser,
    callers: Callers,
    bodies: HeldBodies,
) -> Call:
    """Read one request.

    Raises Refused for a request that must not be forwarded, CancelledError when the caller leaves before the
    request is complete.
    """
    headers: Headers = incoming.headers
    named = dict(headers)
    try:
        route = routes.route(incoming.method, incoming.path, incoming.query, named)
    except Refused as refusal:
        if (known := callers.find(named, incoming.query)) is not None:
            refusal.caller = known.name
        raise
    tags = _tags(headers, routes) if b"x-canary-tags" in named else {}
    body: bytes | AsyncIterator[bytes] = b""
    compressed: CompressedBody | None = None
    facts: RequestFacts | None = None
    upgrades = incoming.upgrades and incoming.method == "GET" and named[b"upgrade"].lower() == b"websocket"
    messages: Route | None = None
    caller: Caller | None = None
    try:
        if callers.named and (caller := callers.find(named, incoming.query)) is not None:
            callers.admit(caller, route.provider.name)
            tags = {**tags, TAG: caller.name}
        if upgrades:
            messages = _messages(incoming, routes, named, must_read=caller is not None)
            if messages is not None:
                headers = uncompressed(headers)
            if route.operation.model_in == "query":
                facts = facts_of_session(incoming.query, named)
        elif route.operation.canary and _is_json(named.get(b"content-type", _JSON)[:_TYPE_BOUND]):
            body = whole = incoming.taken() or await _whole(incoming, bodies)
            if len(whole) > SMALL_BODY and incoming not in bodies.held:  # it came in one piece
                bodies.hold(incoming, len(whole))
            if ENCODING in named:
                compressed = await _unpacked(incoming, whole, bodies)
                body = whole = compressed.plain
            facts = facts_of(route, whole)
        elif _has_body(named):
            if _hides_model(incoming, route, named, caller):
                compressed = await _unpacked(incoming, await _whole(incoming, bodies), bodies)
                body = compressed.plain
            elif route.provider.own_auth == "aws":
                body = await _whole(incoming, bodies)
            else:
                body = streamed(incoming)
        if caller is not None and caller.models is not None and messages is None:
            callers.check_model(caller, _asked(incoming, route, named, facts, None if upgrades else body))
    except Refused as refusal:
        refusal.form, refusal.caller = route.error_form, "" if caller is None else caller.name
        raise
    # A body that is not JSON passes through unchanged, outside any canary.
    choice: Choice = (
        (None, None, None, session_in(SESSION_FROM, named, NO_FACTS))
        if facts is None
        else lanes.choose(routes, route, facts, named, tags)
    )
    trial, rest, unit, session = choice
    if upgrades and (trial.has_texts if trial is not None else rest is not None and rest.texts is not None):
        headers = uncompressed(headers)
    return Call(
        method=incoming.method,
        route=route,
        query=incoming.query,
        headers=headers,
        named=named,
        body=body,
        compressed=compressed,
        facts=facts or NO_FACTS,
        trial=trial,
        rest=rest,
        unit=unit,
        session=session,
        tags=tags,
        labels=labels_of(named),
        at=time.time(),
        mono=time.monotonic(),
        upgrades=upgrades,
        messages=messages,
    )


def uncompressed(headers: Headers) -> Headers:
    """The headers of a handshake whose caller's messages are read and may be changed."""
    return [header for header in headers if header[0] != b"sec-websocket-extensions"]


def _messages(
    incoming: CallerRequest, routes: Routes, named: Mapping[bytes, bytes], *, must_read: bool
) -> Route | None:
    """The route of a WebSocket's messages; None where they are no requests that a canary may take, or
    (`must_read`) that are counted and checked for their caller."""
    route = routes.route("POST", incoming.path, incoming.query, named)
    return route if route.operation.over_socket and (must_read or routes.may_take(route)) else None


def _asked(
    incoming: CallerRequest,
    route: Route,
    named: Mapping[bytes, bytes],
    facts: RequestFacts | None,
    body: bytes | AsyncIterator[bytes] | None,
) -> str | None:
    """The model that a request asks for, as `check_model` takes it. Without a body it is a handshake."""
    if body is None:
        return session_model(route, incoming.query)
    if facts is None and isinstance(body, bytes) and _is_json(_type(named)):
        facts = facts_of(route, body)
    return asked_model(route, incoming.method, incoming.query, facts, body)


def admit_message(callers: Callers, call: Call) -> None:
    """Let one message on a WebSocket through, by the handshake's key. Raises Refused (401, 403, 429)."""
    if (caller := callers.find(call.named, call.query)) is not None:
        callers.admit(caller, call.route.provider.name)
        if caller.models is not None:
            callers.check_model(caller, message_model(call.facts, call.body))


def message_call(handshake: Call, routes: Routes, lanes: CanaryChooser, body: bytes) -> Call:
    """The call of one message on a WebSocket. Its headers are those of the handshake."""
    route, named = handshake.messages or handshake.route, handshake.named
    facts = facts_of(route, body) or NO_FACTS
    trial, rest, unit, session = lanes.choose(routes, route, facts, named, handshake.tags)
    return msgspec.structs.replace(
        handshake,
        method="POST",
        route=route,
        body=body,
        facts=msgspec.structs.replace(facts, stream=True),
        trial=trial,
        rest=rest,
        unit=unit,
        session=session,
        at=time.time(),
        mono=time.monotonic(),
        upgrades=False,
        messages=None,
        found=None,
    )


def _hides_model(
    incoming: CallerRequest, route: Route, named: Mapping[bytes, bytes], caller: Caller | None
) -> bool:
    """True when a body that only passes through must be read for its model."""
    if caller is None or caller.models is None:
        return False
    return needs_model(route, incoming.method) and _is_json(_type(named))


def _type(named: Mapping[bytes, bytes]) -> bytes:
    return named.get(b"content-type", _JSON)[:_TYPE_BOUND]


@lru_cache(256)
def _is_json(content_type: bytes) -> bool:
    return b"json" in content_type.partition(b";")[0].lower()


def _has_body(named: Mapping[bytes, bytes]) -> bool:
    return named.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in named


async def _whole(incoming: CallerRequest, bodies: HeldBodies) -> bytes:
    parts, size, began = [], 0, time.monotonic()
    while part := await incoming.read():
        size += len(part)
        bodies.hold(incoming, len(part))
        if time.monotonic() - began > BODY_WITHIN_S:
            message = f"the request body took over {BODY_WITHIN_S:g} s to arrive"
            raise Refused(408, message, "caller_rejected")
        if size > BODY_BOUND:
            raise Refused(413, f"the request body is over {BODY_BOUND >> 20} MiB", "caller_too_large")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _unpacked(incoming: CallerRequest, packed: bytes, bodies: HeldBodies) -> CompressedBody:
    """The body as it came and unpacked, which is the same where it has no coding. Raises Refused."""
    hold = partial(bodies.hold, incoming)
    return CompressedBody(packed, await bodies.unpacker.unpacked(packed, incoming.headers, hold))


def _tags(headers: Headers, routes: Routes) -> Mapping[str, str]:
    """Parse `x-canary-tags: region=eu, plan=pro`, in one header or several. Only tags in the config count."""
    given = b",".join([value for name, value in headers if name == b"x-canary-tags"])
    parts = given.decode("utf-8", "replace").split(",", _MOST_TAGS)[:_MOST_TAGS]
    pairs = (part.partition("=") for part in parts)
    return {
        name.strip(): value.strip()[:LABEL_BOUND] for name, _, value in pairs if name.strip() in routes.tags
    }
