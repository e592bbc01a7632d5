"""One request: its facts and labels, as routing, arms and recording see it. `reader` reads it."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import msgspec

from common.text import UNREADABLE
from proxy.calls.compressed_body import CompressedBody
from proxy.calls.routes import ArmTarget, Route, Trial
from proxy.dialects.operation import OutputRequest, filled
from proxy.dialects.realtime import parameter
from proxy.dialects.responses import ADDED_TOOLS
from proxy.network.server.caller_request import CallerRequest
from proxy.providers.arm_texts import ArmTexts, Span
from proxy.providers.headers import Headers
from proxy.providers.json_edit import TooIntricateJson, adapted, members_of
from records.captures.capture import CaptureSample
from routing.identity import AGENT, session_of, unit_and_session

LABEL_BOUND = 64
"""Characters of a label."""

DISTINCT = ("utf-8", "backslashreplace")
"""Keeps different identities different even when they are not valid UTF-8."""

_CATEGORY, _REQUEST_ID = b"x-canary-category", b"x-canary-request-id"
_TRACEPARENT, _RETRIES = b"traceparent", b"x-stainless-retry-count"
_NAMES = frozenset({_CATEGORY, _REQUEST_ID, _TRACEPARENT, _RETRIES})


class CallerLabels(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The labels, cut to the length of a label; "" and 0 where the caller gave none."""

    category: str = ""
    request_id: str = ""
    traceparent: str = ""
    retries: int = 0


NO_LABELS = CallerLabels()


def labels_of(named: Mapping[bytes, bytes]) -> CallerLabels:
    if named.keys().isdisjoint(_NAMES):
        return NO_LABELS
    retries = named.get(_RETRIES, b"")
    return CallerLabels(
        category=_cut(text) if (text := named.get(_CATEGORY)) else "",
        request_id=_cut(text) if (text := named.get(_REQUEST_ID)) else "",
        traceparent=_cut(text) if (text := named.get(_TRACEPARENT)) else "",
        retries=int(retries) if retries.isdigit() and len(retries) < 4 else 0,
    )


def _cut(text: bytes) -> str:
    return text.decode("utf-8", "replace")[:LABEL_BOUND]


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The facts of a request, from its body, from its path or from a session's handshake.

    `unit`: the unit in the body, "" without one. `agent_session`: the session in a coding agent's text about
    its user; `body_session`: that in a member of its own; "" without them. `stream_options`: the raw member,
    empty without one. `names_state`: the request names provider-side state. `declines_store`: `store` is
    false. `output`: the members about tools and formats, None for a request without them. `own_data`: Azure
    is to search the caller's `data_sources`.
    """

    model: str = ""
    stream: bool = False
    stream_options: bytes = b""
    unit: str = ""
    agent_session: str = ""
    body_session: str = ""
    names_state: bool = False
    declines_store: bool = False
    output: OutputRequest | None = None
    own_data: bool = False


NO_FACTS = RequestFacts()

_STORED = re.compile(
    rb'"(?:file_ids?|vector_store_ids|cached_?[cC]ontent)"\s*:\s*["\[]|"item_reference"'
    rb'|"container"\s*:\s*"|"file_?[uU]ri"\s*:\s*"[^"]*/files/'
)
"""Members that name a file, a vector store, a stored item or cache, or a running container. A tool parameter
of that name has an object as its value and does not match."""


def names_stored(body: bytes) -> bool:
    """True when a member anywhere in the body names stored provider-side state."""
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
    session_id: _Unit = None
    stream_options: msgspec.Raw = msgspec.Raw()
    previous_response_id: msgspec.Raw = msgspec.Raw()
    previous_interaction_id: msgspec.Raw = msgspec.Raw()
    continuation_token: msgspec.Raw = msgspec.Raw()
    environment: msgspec.Raw = msgspec.Raw()
    conversation: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()
    container: msgspec.Raw = msgspec.Raw()
    store: bool | None = None
    input: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    toolConfig: msgspec.Raw = msgspec.Raw()  # noqa: N815 - Bedrock's name
    functions: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()
    output_config: msgspec.Raw = msgspec.Raw()
    outputConfig: msgspec.Raw = msgspec.Raw()  # noqa: N815 - Bedrock's name
    output_format: msgspec.Raw = msgspec.Raw()
    generationConfig: msgspec.Raw = msgspec.Raw()  # noqa: N815
    generation_config: msgspec.Raw = msgspec.Raw()
    data_sources: msgspec.Raw = msgspec.Raw()


MANY_MEMBERS_BYTES = 256 << 10
"""A body over this size is read member by member, and not beyond MOST_MEMBERS of them: skipping five million
members takes a quarter of a second. In a smaller one even the most members take a millisecond or two."""

_FIELDS = msgspec.structs.fields(_Body)
_decode = msgspec.json.Decoder(_Body).decode
_NOTHING = (b"", b"null", b'""')


def facts_of(route: Route, body: bytes) -> RequestFacts | None:
    """Read the facts of a body; None when it is not a JSON object, is a large one of more than MOST_MEMBERS
    members, or names no model where it needs one."""
    parsed = _body(body)
    if parsed is None or (route.operation.needs_model and not parsed.model):
        return None
    streams = route.operation.streams
    names_state = not (
        bytes(parsed.previous_response_id) in _NOTHING
        and bytes(parsed.conversation) in _NOTHING
        and bytes(parsed.container) in _NOTHING
        and not (route.operation.creates_state and _names_stored_answer(parsed))
    )
    unit, agent_session = _text(parsed.user) or _text(parsed.safety_identifier), ""
    if parsed.metadata is not None or unit.startswith(AGENT):
        unit, agent_session = _user(parsed)
    return RequestFacts(
        model=route.model or parsed.model or "",
        stream=bool(parsed.stream) if streams is None else streams,
        stream_options=bytes(parsed.stream_options),
        unit=unit,
        agent_session=agent_session,
        body_session=_body_session(parsed) if parsed.session_id is not None or parsed.conversation else "",
        names_state=names_state,
        declines_store=parsed.store is False,
        output=_output_request(parsed, body, names_state=names_state),
        own_data=len(parsed.data_sources) > 0 and filled(parsed.data_sources),
    )


def _user(parsed: _Body) -> tuple[str, str]:
    """The unit in the body, and the session beside it where a coding agent names both in one text."""
    unit = session = ""
    agent = parsed.metadata.user_id if parsed.metadata is not None else None
    for given in (parsed.user, agent, parsed.safety_identifier):
        if given is not None:
            its_unit, its_session = unit_and_session(_text(given))
            unit, session = unit or its_unit, session or its_session
    return unit, session


def _body_session(parsed: _Body) -> str:
    """The session that a member names: an id, as text or in an object."""
    session = session_of(_text(parsed.session_id))
    if session or not parsed.conversation:
        return session
    with suppress(*UNREADABLE):
        found = _decode_conversation(parsed.conversation)
        return session_of(_text(found.id if isinstance(found, _Conversation) else found))
    return ""


class _Conversation(msgspec.Struct):
    id: str | None = None


_decode_conversation = msgspec.json.Decoder(_Conversation | str | None).decode


def _names_stored_answer(parsed: _Body) -> bool:
    """True when a member names state, as the APIs that store answers have them: elsewhere the same members
    mean other things. An `environment` that is no text is a new one."""
    names = (parsed.prompt, parsed.previous_interaction_id, parsed.continuation_token)
    return bytes(parsed.environment)[:1] == b'"' or any(bytes(name) not in _NOTHING for name in names)


def _output_request(parsed: _Body, body: bytes, *, names_state: bool) -> OutputRequest | None:
    """The members that say what the answer may hold; None without tools and without a word of JSON. A request
    that goes on from state may have declared its tools before."""
    form = (
        parsed.response_format
        or parsed.text
        or parsed.output_config
        or parsed.outputConfig
        or parsed.generationConfig
        or parsed.output_format
        or parsed.generation_config
    )
    tools = parsed.tools or parsed.toolConfig
    added = parsed.input if parsed.input and _ADDS_TOOLS in body else _NO_MEMBER
    if not (form or tools or parsed.functions or added or names_state):
        return None  # most requests
    if form and not _WANTS_JSON.search(form):
        form = parsed.output_format  # Anthropic's older member, beside an output_config about something else
    if form or filled(tools) or filled(parsed.functions) or added or names_state:
        return OutputRequest(tools=tools, input=added, functions=parsed.functions, form=form)
    return None


_ADDS_TOOLS = b'"%b"' % ADDED_TOOLS.encode()
_NO_MEMBER = msgspec.Raw()
_WANTS_JSON = re.compile(b"json")


def facts_of_session(query: bytes, named: Mapping[bytes, bytes]) -> RequestFacts | None:
    """Read the facts of a realtime session's handshake; None when it names no model, as for a session that
    its caller created before or that only transcribes."""
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
    if len(body) > MANY_MEMBERS_BYTES:
        return _tolerant(body)  # which stops where there are too many members
    try:
        return _decode(body)
    except msgspec.ValidationError:
        return _tolerant(body)
    except UNREADABLE:
        return None


def _tolerant(body: bytes) -> _Body | None:
    """Parse a body with members of unexpected types; only those of the right type are taken."""
    try:
        members = members_of(body)
    except (*UNREADABLE, TooIntricateJson):
        return None
    parsed = _Body()
    for field in _FIELDS:
        if (member := members.get(field.name)) is not None:
            with suppress(*UNREADABLE):
                setattr(parsed, field.name, msgspec.json.decode(member, type=field.type))
    return parsed


def _text(unit: _Unit) -> str:
    """Format a unit as a header would carry it: numbers as digits, without surrounding space."""
    return str(unit).strip() if unit is not None else ""


class Call(msgspec.Struct, kw_only=True):
    """One request. `at` and `mono` are the moment of its last byte, or of its head for pass-through requests.

    `upgrades`: the request asks for a WebSocket. `messages`: the route of its messages, where each is a
    request that a canary may take. `sample`: set when the exchange is captured. `unit`: the sticky identity,
    `session`: the conversation, "" without one; each from the first source in the canary's order that has
    one, and not hashed. `rest`: the baseline of a request that a standing canary matches, or canaries whose
    lanes do not have it. `found`: where the body has the text of each prompt that was looked for.
    `compressed`: the body as it came, where it came compressed; `body` is then the plain one.
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
    session: str = ""
    labels: CallerLabels = NO_LABELS
    rest: ArmTarget | None = None
    upgrades: bool = False
    messages: Route | None = None
    sample: CaptureSample | None = None
    found: dict[ArmTexts, list[Span]] | None = None
    compressed: CompressedBody | None = None

    @property
    def captured_for(self) -> str:
        """The canary that takes the request, or the standing one whose baseline serves it; "" without any."""
        if self.trial is not None:
            return self.trial.canary.name
        return self.rest.standing if self.rest is not None else ""

    def adapted_body(self, target: ArmTarget) -> bytes | None:
        """The body with the arm's own texts and the changes of its `request:`; None where it stays as it
        came."""
        body = self.body
        if not body or not isinstance(body, bytes):
            return None
        own = None if target.texts is None else target.texts.edited(body, self.places(target.texts))
        if not target.request:
            return own
        return adapted(body if own is None else own, target.request) or own

    def places(self, texts: ArmTexts) -> list[Span]:
        """Where the body has the text in whose place an arm has its own prompt."""
        if self.found is None:
            self.found = {}
        if texts not in self.found:
            body = self.body
            self.found[texts] = texts.places(body) if isinstance(body, bytes) else []
        return self.found[texts]

    @property
    def misses_prompt(self) -> bool:
        """True when an arm has a prompt of its own, and the request not the text in whose place it stands."""
        prompts = () if self.trial is None else self.trial.prompts
        return not all(map(self.places, prompts))

    @property
    def stateful(self) -> bool:
        """True when the request depends on state that only one arm's provider entry has or would have."""
        trial = self.trial
        if trial is None or trial.shares_state:
            return False
        return self._creates_state(trial.baseline) or self.touches_state(trial.candidate)

    def touches_state(self, target: ArmTarget) -> bool:
        """True when the request names provider-side state, or creates some when it goes to this arm."""
        names = self.facts.names_state or (isinstance(self.body, bytes) and names_stored(self.body))
        return names or self._creates_state(target)

    def _creates_state(self, target: ArmTarget) -> bool:
        if not self.route.operation.creates_state:
            return False
        facts = self.facts
        if target.request.concerns("store") and (body := self.adapted_body(target)) is not None:
            facts = facts_of(self.route, body) or facts
        return not facts.declines_store


async def streamed(incoming: CallerRequest) -> AsyncIterator[bytes]:
    """The request's body as it arrives. (mypyc compiles no asynchronous generator.)"""
    while part := await incoming.read():
        yield part


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream request.

    `injected`: the proxy added a request for usage. `hides_usage`: the stream has usage for which the caller
    did not ask. `adapted`: the arm's `request:` or its texts changed the body. `output`: the members about
    tools and formats, if the answer is to be judged by them.
    """

    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | AsyncIterator[bytes]
    injected: bool
    hides_usage: bool = False
    adapted: bool = False
    output: OutputRequest | None = None
