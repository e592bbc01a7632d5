"""Reads one request: its body (bounded), and from it only what routing and recording need."""

import time
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from proxy.errors import Refused
from proxy.facts import NO_FACTS, RequestFacts, facts_of, facts_of_session, names_stored
from proxy.headers import Headers
from proxy.routes import Route, Routes, Trial
from proxy.server import Incoming
from records.capture import CaptureSample
from routing.canary import UnitSource

BODY_BOUND = 64 << 20
_LABEL_BOUND = 64
_MOST_TAGS = 256
"""Tags of one request that are looked at."""


class Call(msgspec.Struct, kw_only=True):
    """One request, read. `at` and `mono` are the moment of its last byte (pass-through: of its head).

    `upgrades`: it asks for a WebSocket. `sample`: it is to be captured. `unit` is the sticky identity, from
    the first place of the canary's order that has one.
    """

    method: str
    route: Route
    query: bytes
    headers: Headers
    named: Mapping[bytes, bytes]
    body: bytes | AsyncIterator[bytes]
    facts: RequestFacts
    trial: Trial | None
    unit: str | None
    tags: Mapping[str, str]
    at: float
    mono: float
    upgrades: bool = False
    sample: CaptureSample | None = None

    def text(self, name: bytes) -> str:
        """A request header as text, shortened to a label's length; "" when absent."""
        value = self.named.get(name)
        return value.decode("utf-8", "replace")[:_LABEL_BOUND] if value else ""

    @property
    def stateful(self) -> bool:
        """True when only one provider entry knows, or would know, what the request is about."""
        return self.trial is not None and not self.trial.shares_state and self.touches_state

    @property
    def touches_state(self) -> bool:
        """True when the request names what a provider keeps, or has it keep something."""
        creates = self.route.operation.creates_state and not self.facts.declines_store
        return creates or self.facts.names_state or (isinstance(self.body, bytes) and names_stored(self.body))


async def read(incoming: Incoming, routes: Routes) -> Call:
    """Read one request. Raises Refused for what is not to be forwarded at all, CancelledError when the caller
    leaves before its end."""
    headers: Headers = incoming.headers
    named = dict(headers)
    route = routes.route(incoming.method, incoming.path, incoming.query, named)
    tags = _tags(headers, routes) if b"x-canary-tags" in named else {}
    body: bytes | AsyncIterator[bytes]
    facts: RequestFacts | None = None
    upgrades = incoming.upgrades and incoming.method == "GET" and named[b"upgrade"].lower() == b"websocket"
    if upgrades:
        body = b""
        if route.operation.model_in == "query":
            facts = facts_of_session(incoming.query, named)
    elif route.operation.canary and b"content-encoding" not in named and _is_json(named):
        body = whole = incoming.taken() or await _whole(incoming)
        facts = facts_of(route, whole)
    else:
        body = _streamed(incoming) if _has_body(named) else b""
    # No JSON: the provider's to answer, untouched and outside any canary.
    trial = routes.trial(route, facts.model, named, tags) if facts is not None else None
    return Call(
        method=incoming.method,
        route=route,
        query=incoming.query,
        headers=headers,
        named=named,
        body=body,
        facts=facts or NO_FACTS,
        trial=trial,
        unit=_unit(trial.canary.unit_from, named, facts) if facts is not None and trial is not None else None,
        tags=tags,
        at=time.time(),
        mono=time.monotonic(),
        upgrades=upgrades,
    )


def _is_json(named: Mapping[bytes, bytes]) -> bool:
    kind = named.get(b"content-type", b"application/json")
    return b"json" in kind.partition(b";")[0].lower()


def _has_body(named: Mapping[bytes, bytes]) -> bool:
    return named.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in named


async def _whole(incoming: Incoming) -> bytes:
    parts, size = [], 0
    while part := await incoming.read():
        size += len(part)
        if size > BODY_BOUND:
            raise Refused(413, f"the request is over {BODY_BOUND >> 20} MiB", "caller_too_large")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _streamed(incoming: Incoming) -> AsyncIterator[bytes]:
    while part := await incoming.read():
        yield part


def _unit(places: Sequence[UnitSource], named: Mapping[bytes, bytes], facts: RequestFacts) -> str | None:
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


def _tags(headers: Headers, routes: Routes) -> Mapping[str, str]:
    """`x-canary-tags: region=eu, plan=pro`, in one line or several: only names that the config lists."""
    given = b",".join([value for name, value in headers if name == b"x-canary-tags"])
    parts = given.decode("utf-8", "replace").split(",", _MOST_TAGS)[:_MOST_TAGS]
    pairs = (part.partition("=") for part in parts)
    return {
        name.strip(): value.strip()[:_LABEL_BOUND] for name, _, value in pairs if name.strip() in routes.tags
    }
