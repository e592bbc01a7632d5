"""Builds the upstream request for one arm: the caller's bytes with the arm's model and credential."""

import re
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from proxy.call import Call
from proxy.credentials import Credentials, UnsignedRequest
from proxy.dialects.gemini import MODEL_PATH
from proxy.dialects.operation import UNREADABLE
from proxy.dialects.realtime import with_model, without_credentials
from proxy.errors import Refused
from proxy.facts import RequestFacts, facts_of
from proxy.headers import PROTOCOLS, quoted, to_provider, without_key
from proxy.output import OutputRequest
from proxy.routes import ArmTarget
from proxy.splice import TooIntricate, insert_first, replace_value

_decode_options = msgspec.json.Decoder(dict[str, Any] | None).decode
_INCLUDE_USAGE = b'{"include_usage":true}'
_REPEATED_MODEL = re.compile(rb'("model"\s*:\s*)"models/[^"\\]*"')


class UpstreamRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream request.

    `injected`: the proxy added a request for usage. `hides_usage`: the stream has usage for which the caller
    did not ask. `adapted`: the arm's `request:` changed the body. `output`: the members about tools and
    formats, if the answer is to be judged by them.
    """

    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes | AsyncIterator[bytes]
    injected: bool
    hides_usage: bool = False
    adapted: bool = False
    output: OutputRequest | None = None


def upstream_request(
    call: Call, arm_target: ArmTarget, credentials: Credentials, *, ask_usage: bool = True
) -> UpstreamRequest:
    """Write the request for one arm. Without `ask_usage` no stream is asked for its usage.

    Raises Refused, NoCredential.
    """
    target, query, body, facts = call.route.target, call.query, call.body, call.facts
    injected = hides_usage = is_adapted = False
    if isinstance(body, bytes):
        if arm_target.request and (changed := call.adapted_body(arm_target)) is not None:
            body, facts, is_adapted = changed, facts_of(call.route, changed) or facts, True
            hides_usage = facts.stream and _asks_for_usage(facts) and not _asks_for_usage(call.facts)
        if arm_target.model not in ("", call.facts.model):
            if call.route.operation.model_in == "query":
                query = with_model(query, quoted(arm_target.model).encode())
            else:
                target, body = _with_model(call, arm_target.model, body)
        ask_usage = ask_usage and not _settles_usage(arm_target)
        if ask_usage and (asking := _asking_for_usage(call, facts, body)):
            body, injected, hides_usage = asking, True, True
    headers = to_provider(call.headers, arm_target.provider, identity=hides_usage)
    if arm_target.provider.has_credential:
        query = without_key(query)
        if call.upgrades:
            headers += _protocols(call)
    whole = (target.encode() + b"?" + query) if query else target.encode()
    if (credential := credentials.of(arm_target.provider)) is not None:
        unsigned = UnsignedRequest(
            method=call.method.encode(),
            target=whole,
            headers=headers,
            body=body if isinstance(body, bytes) else None,
        )
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


def _with_model(call: Call, model: str, body: bytes) -> tuple[str, bytes]:
    """Put the arm's model into the target and the body, wherever this operation names the model."""
    operation, target = call.route.operation, call.route.target
    if operation.model_in == "body":
        try:
            return target, replace_value(body, "model", msgspec.json.encode(model))
        except TooIntricate as exc:
            raise Refused(400, f"cannot change the model in this body: {exc}", "caller_rejected") from exc
    target = MODEL_PATH.sub(lambda place: f"{place['before']}{quoted(model)}:{place['method']}", target)
    if operation.repeats_model:
        named = msgspec.json.encode(f"models/{model}")
        body = _REPEATED_MODEL.sub(lambda place: place[1] + named, body)
    return target, body


def _protocols(call: Call) -> list[tuple[bytes, bytes]]:
    """The offered subprotocols without those that carry the caller's key."""
    offered = b",".join(value for name, value in call.headers if name == PROTOCOLS)
    protocols = without_credentials(offered)
    return [(PROTOCOLS, protocols)] if protocols else []


def _settles_usage(arm_target: ArmTarget) -> bool:
    """True when the arm's `request:` says whether its streams are asked for usage."""
    changes = arm_target.request
    if not changes:
        return False
    names = (*changes.remove, *[name for name, _ in (*changes.rename, *changes.set)])
    return "stream_options" in names or "stream_options.include_usage" in names


def _asks_for_usage(facts: RequestFacts) -> bool:
    try:
        options = _decode_options(facts.stream_options or b"null")
    except UNREADABLE:
        return False
    return options is not None and options.get("include_usage") is True


def _asking_for_usage(call: Call, facts: RequestFacts, body: bytes) -> bytes | None:
    """The body with a request for usage; None when unnecessary or outside a canary."""
    if call.trial is None or not facts.stream or not call.route.operation.injects_usage:
        return None
    if facts.own_data:
        return None  # Azure refuses both together
    given = facts.stream_options
    if not given:
        return insert_first(body, "stream_options", _INCLUDE_USAGE)
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
