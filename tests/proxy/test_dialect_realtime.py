"""What stands in a session's handshake: the model in its query, a browser's key among its subprotocols."""

import asyncio
from dataclasses import replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.attempts.dispatch import upstream_request
from proxy.calls.call import Call
from proxy.calls.callers import Callers
from proxy.calls.reader import HeldBodies, read
from proxy.calls.routes import Routes
from proxy.dialects.realtime import parameter, with_model, without_credentials
from proxy.network.server.caller_request import CallerRequest
from proxy.providers.credentials import Credentials
from proxy.providers.headers import PROTOCOLS
from proxy.providers.urls import operation
from routing.canary import RequestChanges
from tests.proxy.calls import LANES, Body, Header, Request, routes, trial

KEY = b"openai-insecure-api-key.sk-caller"


def handshake(
    query: bytes,
    *headers: Header,
    path: str = "/v1/realtime",
    table: Routes | None = None,
    upgrade: bool = True,
) -> Call:
    """One handshake, read by the real reader. A trial takes gpt-realtime, from openai to azure's own key."""
    asked = [(b"connection", b"Upgrade"), (b"upgrade", b"WebSocket")] if upgrade else []
    request = Request("GET", path, query, [*asked, *headers], Body(), upgrades=upgrade)
    table = table or routes(trial(models=["gpt-realtime"], candidate=("azure", "gpt realtime/2")))
    return asyncio.run(read(cast(CallerRequest, request), table, LANES, Callers(), HeldBodies()))


@pytest.mark.parametrize(
    ("query", "model"),
    [
        (b"model=gpt-realtime", "gpt-realtime"),
        (b"x=1&model=a%2Fb+c&y=2", "a/b c"),
        (b"model=first&model=second", "first"),
        (b"model=", ""),
        (b"supermodel=x&model", ""),
        (b"", ""),
    ],
)
def test_the_model_stands_in_the_query(query: bytes, model: str) -> None:
    assert parameter(query, "model") == model


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"model=a", b"model=B"),
        (b"x=%20&model=a%2Fb&y=&z", b"x=%20&model=B&y=&z"),
        (b"supermodel=a&model=a", b"supermodel=a&model=B"),
        (b"model=a&x&model=a", b"model=B&x&model=B"),
        (b"x=model=a", b"x=model=a"),
        (b"", b""),
    ],
)
def test_only_the_model_s_value_is_replaced(query: bytes, expected: bytes) -> None:
    assert with_model(query, b"B") == expected


@given(st.binary(max_size=60))
def test_no_query_breaks_it(query: bytes) -> None:
    parameter(query, "model")
    assert with_model(query, b"\\1B").count(b"&") == query.count(b"&")


@pytest.mark.parametrize(
    ("offered", "kept"),
    [
        (b"realtime, " + KEY + b", openai-beta.realtime-v1", b"realtime, openai-beta.realtime-v1"),
        (KEY, b""),
        (b"realtime,openai-organization.org-1,openai-project.p", b"realtime"),
        (b"realtime", b"realtime"),
        (b" , ", b""),
    ],
)
def test_what_is_a_key_is_no_protocol(offered: bytes, kept: bytes) -> None:
    assert without_credentials(offered) == kept


def test_a_get_of_realtime_is_the_operation() -> None:
    assert operation("openai", "GET", "/realtime").name == "realtime"
    for method, path in (("POST", "/realtime"), ("GET", "/realtime/sessions"), ("GET", "/models")):
        assert operation("openai", method, path).name == "other"
    assert operation("anthropic", "GET", "/realtime").name == "other"


def test_a_handshake_is_assigned_by_what_its_headers_say() -> None:
    said = handshake(
        b"model=gpt-realtime", (b"x-canary-unit", b"alice"), (b"openai-safety-identifier", b"bob")
    )
    assert said.trial is not None and said.upgrades
    assert (said.unit, said.facts.model, said.facts.stream, said.stateful) == (
        "alice",
        "gpt-realtime",
        True,
        False,
    )
    assert handshake(b"model=gpt-realtime", (b"openai-safety-identifier", b" bob ")).unit == "bob"
    assert handshake(b"model=gpt-realtime", (b"x-canary-session", b"call-7")).unit == "call-7"
    assert handshake(b"model=gpt-realtime").unit is None


def test_a_handshake_has_no_body_to_adapt() -> None:
    said = handshake(b"model=gpt-realtime")
    assert said.trial is not None
    target = replace(said.trial.candidate, request=RequestChanges(set=[("a", "1")]))
    request = upstream_request(said, target, Credentials())
    assert (request.body, request.adapted) == (b"", False)


@pytest.mark.parametrize("query", [b"", b"intent=transcription", b"call_id=rtc_1", b"model=other"])
def test_a_session_whose_model_is_no_canary_s_passes_through(query: bytes) -> None:
    said = handshake(query, (b"x-canary-unit", b"alice"))
    # Only of a known model its user's totals are kept, for a canary that comes later.
    unit = "alice" if query == b"model=other" else None
    assert (said.trial, said.unit, said.upgrades, said.route.operation.name) == (None, unit, True, "realtime")


def test_a_call_that_one_provider_holds_is_stateful() -> None:
    assert handshake(b"model=gpt-realtime&call_id=rtc_1").stateful


def test_a_get_that_asks_for_no_websocket_is_no_session() -> None:
    said = handshake(b"model=gpt-realtime", upgrade=False)
    assert (said.upgrades, said.trial) == (False, None)
    other = [(b"connection", b"Upgrade"), (b"upgrade", b"h2c")]
    request = Request("GET", "/v1/realtime", b"model=gpt-realtime", other, Body(), upgrades=True)
    assert not asyncio.run(
        read(cast(CallerRequest, request), routes(), LANES, Callers(), HeldBodies())
    ).upgrades


def test_other_paths_ask_for_websockets_too() -> None:
    said = handshake(b"", path="/v1/responses")
    assert (said.upgrades, said.trial, said.route.operation.name) == (True, None, "other")


def test_the_arm_s_model_and_key_go_out_and_nothing_else_changes() -> None:
    offered = (PROTOCOLS, b"realtime, " + KEY)
    version = (b"sec-websocket-version", b"13")
    said = handshake(
        b"a=%20&model=gpt-realtime&access_token=k&b",
        offered,
        version,
        (b"authorization", b"Bearer sk-caller"),
    )
    assert said.trial is not None
    own = upstream_request(said, said.trial.candidate, Credentials())
    assert own.target == b"/realtime?a=%20&model=gpt%20realtime%2F2&b"
    assert own.headers == [
        version, (PROTOCOLS, b"realtime"), (b"authorization", b"Bearer sk-azure-own")
    ]  # fmt: skip
    callers = upstream_request(said, said.trial.baseline, Credentials())
    assert callers.target == b"/realtime?a=%20&model=gpt-4o-2024-08-06&access_token=k&b"
    assert callers.headers == [offered, version, (b"authorization", b"Bearer sk-caller")]


def test_a_key_among_subprotocols_never_meets_another_key_on_any_request() -> None:
    said = handshake(b"", (PROTOCOLS, KEY), path="/azure/v1/models", upgrade=False)
    assert (
        KEY
        not in str(
            upstream_request(said, routes().plain(said.route.provider), Credentials()).headers
        ).encode()
    )
