"""Writes the request for one arm, sends it, and ends the wait for a candidate.

A request is the caller's bytes with the arm's model and credential. A compressed body that the arm changes
is sent plain.

OpenAI's API takes `stream_options` and says the usage of a stream only on request. Some compatible providers
refuse the member with 400 or 422. The request is then sent once more without it, and the entry not asked
again.

The baseline answers in a candidate's place:

| during the wait                                           | failure            |
|-----------------------------------------------------------|--------------------|
| the candidate loses its share: a rollback, an old plan    | `breaker_open`     |
| for a conversation it began: a hard rollback, an old plan | `breaker_open`     |
| the candidate's breaker opens                             | `breaker_open`     |
| the candidate's patience is over                          | `provider_timeout` |

A promoted candidate has no patience, because no baseline answers beside it any more: its `timeout` holds.
A wait lasts from the choice of the candidate until its first event or its whole JSON is there to be relayed.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from time import monotonic
from typing import Any

import msgspec
import structlog

from common.text import UNREADABLE
from proxy.attempts.attempt import Attempt
from proxy.attempts.realtime_session import RealtimeSession
from proxy.calls.call import NO_FACTS, Call, RequestFacts, UpstreamRequest, facts_of
from proxy.calls.compressed_body import without_coding
from proxy.calls.refusal import Refused
from proxy.calls.routes import ArmTarget, Trial
from proxy.dialects.anthropic import VERSION_HEADER as HEADER
from proxy.dialects.anthropic import version_header as as_header
from proxy.dialects.anthropic import version_member as as_member
from proxy.dialects.operation import Operation
from proxy.dialects.realtime import with_model, without_credentials
from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamError, UpstreamResponse
from proxy.network.upstream.tunnel import Tunnel
from proxy.providers.credentials import Credentials, NoCredential, UnsignedRequest
from proxy.providers.headers import PROTOCOLS, quoted, to_provider, without, without_key
from proxy.providers.json_edit import TooIntricateJson, adapted, insert_first, replace_value
from proxy.providers.provider import Provider
from proxy.providers.urls import HOLE, EntryUrl, UrlFormChange
from records.outcome import ErrorType
from routing.canary import NO_CHANGES, RequestChanges
from routing.states import UNKNOWN_PATIENCE_S, States

_decode_options = msgspec.json.Decoder(dict[str, Any] | None).decode
_INCLUDE_USAGE = b'{"include_usage":true}'
_REPEATED_MODEL = re.compile(rb'("model"\s*:\s*)"models/[^"\\]*"')


def upstream_request(
    call: Call, arm_target: ArmTarget, credentials: Credentials, *, ask_usage: bool = True
) -> UpstreamRequest:
    """Write the request for one arm. Without `ask_usage` no stream is asked for its usage.

    Raises Refused, NoCredential.
    """
    route, stream = call.route, call.facts.stream
    written = route.written.get((arm_target.key, stream)) or route.at(arm_target, stream)
    target, query = written.target, call.query
    body, facts = call.body, call.facts
    injected = is_adapted = hides_usage = False
    if arm_target.request is not NO_CHANGES or arm_target.texts is not None:
        body, facts, is_adapted = _adapted(call, arm_target)
        asks = is_adapted and stream and _asks_for_usage(facts)
        hides_usage = asks and not _asks_for_usage(call.facts)
    if isinstance(body, bytes):
        if written.change is not None:
            target, query, body = _in_other_form(call, target, body, written.change)
        if arm_target.model not in ("", call.facts.model):
            if route.operation.model_in == "query":
                query = with_model(query, quoted(arm_target.model).encode())
            else:
                body = _with_model(route.operation, arm_target.model, body)
        if ask_usage and stream and (asking := _asking_for_usage(call, facts, body, arm_target.request)):
            body, injected, hides_usage = asking, True, True
    elif written.change is not None and written.change.wants_model:
        raise _no_model()
    provider, came = arm_target.provider, call.headers
    if call.compressed is not None:
        if body is call.compressed.plain:
            body = call.compressed.packed
        else:
            came = without_coding(came)
    own_key = provider.has_credential or provider is not route.provider
    headers = to_provider(came, provider, identity=hides_usage, own_key=own_key)
    if written.change is not None or call.upgrades:
        headers += _headers_of_form(call, provider, written)
    if query and own_key:
        query = without_key(query)
    whole = (target + b"?" + query) if query else target
    if provider.has_credential and (credential := credentials.of(provider)) is not None:
        sent = body if isinstance(body, bytes) else None
        method = call.method.encode()
        unsigned = UnsignedRequest(method=method, target=whole, headers=headers, body=sent)
        headers += credential.headers(unsigned)
    return UpstreamRequest(
        target=whole,
        headers=headers,
        body=body,
        injected=injected,
        hides_usage=hides_usage,
        adapted=is_adapted,
        output=facts.output if call.trial is not None else None,
    )


def _headers_of_form(call: Call, provider: Provider, written: EntryUrl) -> list[tuple[bytes, bytes]]:
    """The headers that another form of the request needs, or a WebSocket whose key is not the caller's."""
    headers: list[tuple[bytes, bytes]] = []
    if written.change is not None and written.change.version == "header" and HEADER not in call.named:
        headers.append((HEADER, as_header(call.body if isinstance(call.body, bytes) else b"")))
    if call.upgrades and provider.has_credential:
        headers += _protocols(call)
    return headers


def _adapted(call: Call, arm_target: ArmTarget) -> tuple[bytes | AsyncIterator[bytes], RequestFacts, bool]:
    """The body as the arm's texts and `request:` change it, its facts, and whether it was changed."""
    if isinstance(call.body, bytes):
        body = call.adapted_body(arm_target)
        if body is not None:
            if not arm_target.request:
                return body, call.facts, True  # a prompt is no fact
            return body, facts_of(call.route, body) or call.facts, True
    return call.body, call.facts, False


def _with_model(operation: Operation, model: str, body: bytes) -> bytes:
    """Put the arm's model into the body, where this operation's body names the model."""
    if operation.model_in == "body":
        try:
            return replace_value(body, "model", msgspec.json.encode(model))
        except TooIntricateJson as exc:
            raise Refused(400, f"cannot change the model in this body: {exc}", "caller_rejected") from exc
    if operation.repeats_model:
        named = msgspec.json.encode(f"models/{model}")
        return _REPEATED_MODEL.sub(lambda place: place[1] + named, body)
    return body


def _in_other_form(
    call: Call, target: bytes, body: bytes, change: UrlFormChange
) -> tuple[bytes, bytes, bytes]:
    """Target, query and body in a form that is not the caller's. Raises Refused."""
    if change.wants_model:
        if not call.facts.model:
            raise _no_model()
        target = target.replace(HOLE, quoted(call.facts.model).encode())
    query = without(call.query, change.dropped) if call.query else call.query
    changes = change.changes
    if change.version == "member" and HEADER in call.named:
        changes = replace(changes, default=(("anthropic_version", as_member(call.named[HEADER])),))
    if call.facts is not NO_FACTS and changes:
        body = adapted(body, changes) or body
    return target, query, body


def _no_model() -> Refused:
    return Refused(400, "the request names no model, which this provider's URL needs", "caller_rejected")


def _protocols(call: Call) -> list[tuple[bytes, bytes]]:
    """The offered subprotocols without those that carry the caller's key."""
    offered = b",".join(value for name, value in call.headers if name == PROTOCOLS)
    protocols = without_credentials(offered)
    return [(PROTOCOLS, protocols)] if protocols else []


def _settles_usage(changes: RequestChanges) -> bool:
    """True when the arm's `request:` says whether its streams are asked for usage."""
    names = (*changes.remove, *[name for name, _ in (*changes.rename, *changes.set)])
    return "stream_options" in names or "stream_options.include_usage" in names


_LARGEST_OPTIONS = 4096
"""Bytes of `stream_options` that are read. The API's own have two members."""


def _asks_for_usage(facts: RequestFacts) -> bool:
    if len(facts.stream_options) > _LARGEST_OPTIONS:
        return False
    try:
        options = _decode_options(facts.stream_options or b"null")
    except UNREADABLE:
        return False
    return options is not None and options.get("include_usage") is True


def _asking_for_usage(call: Call, facts: RequestFacts, body: bytes, changes: RequestChanges) -> bytes | None:
    """The body with a request for usage; None when unnecessary, outside a canary, or settled by the arm."""
    if call.trial is None or not facts.stream or not call.route.operation.injects_usage:
        return None
    if changes and _settles_usage(changes):
        return None
    if facts.own_data:
        return None  # Azure refuses both together
    given = facts.stream_options
    if not given:
        return insert_first(body, "stream_options", _INCLUDE_USAGE)
    if len(given) > _LARGEST_OPTIONS:
        return None
    try:
        options = _decode_options(given)
    except UNREADABLE:
        return None  # the provider will refuse the request
    if not options:
        asking = _INCLUDE_USAGE
    elif options.get("include_usage") is True:
        return None
    elif "include_usage" in options:
        asking = replace_value(given, "include_usage", b"true")
    else:
        asking = insert_first(given, "include_usage", b"true")
    return replace_value(body, "stream_options", asking)


log = structlog.get_logger()

_REFUSED = frozenset({400, 422})
_MEMBER = b"stream_options"


class StreamUsageRefusals:
    """One worker's memory of the entries that refuse `stream_options`. A changed entry is asked again."""

    def __init__(self) -> None:
        self._refusing: dict[str, Provider] = {}

    def asks(self, provider: Provider) -> bool:
        """True when streams of this entry are to be asked for their usage."""
        if not self._refusing:
            return provider.asks_stream_usage
        return provider.asks_stream_usage and self._refusing.get(provider.name) != provider

    async def refused(self, attempt: Attempt) -> bool:
        """True when the provider refuses the `stream_options` that the proxy added. The attempt is then ready
        to be opened again; otherwise it holds what was read of the refusal for the caller."""
        if attempt.status not in _REFUSED or _MEMBER not in await attempt.refusal():
            return False
        attempt.start_again()
        return True

    def sent_without(self, attempt: Attempt) -> None:
        """Remember the entry, unless the request is refused without `stream_options` as well: some servers
        repeat the whole request in each refusal, and so name the member whatever is wrong."""
        provider = attempt.target.provider
        if attempt.status in _REFUSED or not self.asks(provider):
            return
        self._refusing[provider.name] = provider
        log.warning(
            "provider.refuses_stream_options",
            provider=provider.name,
            effect="its streams are no longer asked for usage; `stream_usage: leave` spares the refusal",
        )


_LEAST_REFUSAL = 400


def upgraded(
    upstreams: Upstreams, target: ArmTarget, request: UpstreamRequest
) -> Awaitable[Tunnel | UpstreamResponse]:
    """Ask an arm's entry for a WebSocket. Raises UpstreamError, but not for a refusal."""
    return upstreams.upgrade(
        target.provider,
        limit_key=target.key,
        target=request.target,
        headers=request.headers,
        timeout=target.timeout,
    )


class AttemptDispatch:
    def __init__(
        self, upstreams: Upstreams, credentials: Credentials, stream_usage: StreamUsageRefusals
    ) -> None:
        self._upstreams = upstreams
        self._credentials = credentials
        self._stream_usage = stream_usage

    async def send(self, call: Call, attempt: Attempt, *, covered: bool, is_copy: bool = False) -> None:
        """Send the request and wait for the head; once more without the usage that the provider refuses.

        `covered`: the baseline answers if this one fails. `is_copy`: without the idempotency key, with which
        the provider would refuse one of the two. Raises UpstreamError, Refused.
        """
        asks = call.facts.stream and self._stream_usage.asks(attempt.target.provider)
        request = await self._open(call, attempt, covered=covered, is_copy=is_copy, ask_usage=asks)
        if request.injected and attempt.failure is not None and await self._stream_usage.refused(attempt):
            await self._open(call, attempt, covered=covered, is_copy=is_copy, ask_usage=False)
            self._stream_usage.sent_without(attempt)

    async def _open(
        self, call: Call, attempt: Attempt, *, covered: bool, is_copy: bool, ask_usage: bool
    ) -> UpstreamRequest:
        """Send the request and wait for the head. Raises UpstreamError, Refused."""
        target = attempt.target
        try:
            request = upstream_request(call, target, self._credentials, ask_usage=ask_usage)
        except NoCredential as problem:
            raise UpstreamError("proxy_no_credential", str(problem)) from problem
        attempt.request = request
        if attempt.sent_at is None:
            attempt.sent_at = monotonic()
        if call.upgrades:
            answer = await upgraded(self._upstreams, target, request)
            if isinstance(answer, Tunnel):
                session = RealtimeSession(answer, answer.headers, idle_s=target.timeout.idle_s)
                await attempt.begin_session(session, call, covered=covered)
                return request
            attempt.opened(answer, call, covered=covered)
            if attempt.failure is None and answer.status < _LEAST_REFUSAL:
                attempt.failure = "provider_malformed"  # neither a session nor a refusal
            return request
        headers = request.headers
        if is_copy:
            headers = [header for header in headers if not header[0].endswith(b"idempotency-key")]
        response = await self._upstreams.send(
            target.provider,
            limit_key=target.key,
            method=call.method.encode(),
            target=request.target,
            headers=headers,
            body=request.body,
            streaming=call.facts.stream,
            timeout=target.timeout,
        )
        attempt.opened(response, call, covered=covered)
        return request


class CandidateWait:
    """One request's wait for a candidate whose failure the baseline covers. Watched by the ticker.

    `failure`: why the wait was ended; None while it was not.
    """

    __slots__ = (
        "_kind", "_probes", "_recalled", "_run", "_since", "_states", "_timeout", "_trial", "check_at",
        "failure",
    )  # fmt: skip

    def __init__(
        self,
        trial: Trial,
        states: Callable[[], States],
        timeout: asyncio.Timeout,
        *,
        run: int,
        kind: str,
        recalled: bool = False,
    ) -> None:
        """`states()` returns the newest states; `timeout` ends the wait. `run` is the assignment's; `kind`
        is the request's (`routing.states.request_kind`). `recalled`: the candidate is asked about a
        conversation that it began, for one of the baseline's units. A wait that begins with an open breaker
        is its probe."""
        self.check_at = 0.0
        self.failure: ErrorType | None = None
        self._trial = trial
        self._states = states
        self._timeout = timeout
        self._run = run
        self._kind = kind
        self._recalled = recalled
        self._since = monotonic()
        self._probes = trial.breaker.open

    def check(self, now: float) -> None:
        """End the wait if it is time. Looks at the newest states every time."""
        if self.failure is not None:
            return
        self.failure = self._reason(now)
        if self.failure is not None:
            self._timeout.reschedule(0.0)

    def _reason(self, now: float) -> ErrorType | None:
        trial, states = self._trial, self._states()
        state = states.state_of(trial.canary.name, trial.definition)
        promoted = state is not None and state.state == "promoted"
        if not promoted and now - self._since >= patience_s(trial, states, self._kind):
            return "provider_timeout"
        if self._recalled:
            runs = state is not None and state.recallable
        else:
            runs = state is not None and state.run == self._run and state.effective_share > 0.0
        opened = trial.breaker.open and not self._probes
        return "breaker_open" if opened or not runs else None


def patience_s(trial: Trial, states: States, kind: str) -> float:
    """The seconds that a request of this kind may wait for the candidate.

    The config's, else that of the states, else `UNKNOWN_PATIENCE_S`; at most the candidate's `total`.
    """
    patience = trial.candidate.patience_s
    if patience is None:
        known = states.patience.get(trial.canary.name)
        patience = None if known is None else known.get(kind)
    return min(UNKNOWN_PATIENCE_S if patience is None else patience, trial.candidate.timeout.total_s)
