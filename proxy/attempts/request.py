"""Builds the upstream request for one arm: the caller's bytes with the arm's model and credential."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec

from proxy.calls.call import NO_FACTS, Call, RequestFacts, UpstreamRequest, facts_of
from proxy.calls.refusal import Refused
from proxy.calls.routes import ArmTarget
from proxy.dialects import Operation
from proxy.dialects.anthropic import VERSION_HEADER as HEADER
from proxy.dialects.anthropic import version_header as as_header
from proxy.dialects.anthropic import version_member as as_member
from proxy.dialects.operation import UNREADABLE
from proxy.dialects.realtime import with_model, without_credentials
from proxy.providers.body import TooIntricate, adapted, insert_first, replace_value
from proxy.providers.credentials import Credentials, UnsignedRequest
from proxy.providers.headers import PROTOCOLS, quoted, to_provider, without, without_key
from proxy.providers.provider import Provider
from proxy.providers.urls import HOLE, FormChange, Written
from routing.canary import NO_CHANGES, RequestChanges

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
    if arm_target.request is not NO_CHANGES:
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
    provider = arm_target.provider
    own_key = provider.has_credential or provider is not route.provider
    headers = to_provider(call.headers, provider, identity=hides_usage, own_key=own_key)
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


def _headers_of_form(call: Call, provider: Provider, written: Written) -> list[tuple[bytes, bytes]]:
    """The headers that another form of the request needs, or a WebSocket whose key is not the caller's."""
    headers: list[tuple[bytes, bytes]] = []
    if written.change is not None and written.change.version == "header" and HEADER not in call.named:
        headers.append((HEADER, as_header(call.body if isinstance(call.body, bytes) else b"")))
    if call.upgrades and provider.has_credential:
        headers += _protocols(call)
    return headers


def _adapted(call: Call, arm_target: ArmTarget) -> tuple[bytes | AsyncIterator[bytes], RequestFacts, bool]:
    """The body as the arm's `request:` changes it, its facts, and whether it was changed."""
    if isinstance(call.body, bytes):
        body = call.adapted_body(arm_target)
        if body is not None:
            return body, facts_of(call.route, body) or call.facts, True
    return call.body, call.facts, False


def _with_model(operation: Operation, model: str, body: bytes) -> bytes:
    """Put the arm's model into the body, where this operation's body names the model."""
    if operation.model_in == "body":
        try:
            return replace_value(body, "model", msgspec.json.encode(model))
        except TooIntricate as exc:
            raise Refused(400, f"cannot change the model in this body: {exc}", "caller_rejected") from exc
    if operation.repeats_model:
        named = msgspec.json.encode(f"models/{model}")
        return _REPEATED_MODEL.sub(lambda place: place[1] + named, body)
    return body


def _in_other_form(call: Call, target: bytes, body: bytes, change: FormChange) -> tuple[bytes, bytes, bytes]:
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
