"""What is read of a request: its unit, its facts, its tags; and what is never read."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from proxy.calls import reader
from proxy.calls.callers import Callers
from proxy.calls.reader import BODY_BOUND, HeldBodies, read
from proxy.calls.refusal import Refused
from proxy.network.server import request_head
from proxy.network.server.caller_request import CallerRequest
from routing.canary import UnitSource
from tests.proxy.calls import LANES, Body, Header, Request, call, routes, trial

CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
UNIT, SESSION = b"x-canary-unit", b"x-canary-session"


def collected(body: bytes | AsyncIterator[bytes]) -> list[bytes]:
    """The parts of a streamed body."""

    async def collect() -> list[bytes]:
        assert not isinstance(body, bytes)
        return [part async for part in body]

    return asyncio.run(collect())


@pytest.mark.parametrize(
    ("body", "headers", "unit"),
    [
        ({"user": "u1", "metadata": {"user_id": "m1"}, "safety_identifier": "s1"}, [(UNIT, b"h1")], "h1"),
        ({"user": "u1", "metadata": {"user_id": "m1"}, "safety_identifier": "s1"}, [(SESSION, b"c1")], "u1"),
        ({"metadata": {"user_id": "m1"}, "safety_identifier": "s1"}, [], "m1"),
        ({"safety_identifier": "s1"}, [(SESSION, b"c1")], "s1"),
        ({}, [(SESSION, b"c1")], "c1"),
        ({}, [], None),
        ({"metadata": {"ticket": "7"}}, [], None),
    ],
)
def test_the_unit_is_the_header_then_the_body_then_the_session(
    body: dict[str, Any], headers: list[Header], unit: str | None
) -> None:
    assert call(CHAT | body, *headers).unit == unit


@pytest.mark.parametrize(
    ("order", "unit"),
    [(("body", "header"), "u1"), (("session",), "c1"), (("session", "body", "header"), "c1"), ((), None)],
)
def test_a_canary_may_want_another_order(order: Sequence[UnitSource], unit: str | None) -> None:
    table = routes(trial(unit_from=order))
    assert call(CHAT | {"user": "u1"}, (UNIT, b"h1"), (SESSION, b"c1"), table=table).unit == unit


AGENT = f"user_{'9c' * 32}_account__session_0b33f1e1-4ee4-4fe2-b935-8212afc96ea1"
NAMED = "0b33f1e1-4ee4-4fe2-b935-8212afc96ea1"
BODY = CHAT | {"metadata": {"user_id": AGENT}, "session_id": "b-1", "conversation": "conv_1"}
HARNESSES = (
    b"x-parent-session-id",
    b"x-claude-code-session-id",
    b"session_id",
    b"session-id",
    b"x-opencode-session",
    b"x-amp-thread-id",
    b"x-litellm-session-id",
    b"x-session-id",
    b"x-grok-conv-id",
)


def test_the_session_is_the_header_then_the_harness_then_the_metadata_then_the_body() -> None:
    harnesses = [(name, b"of " + name) for name in HARNESSES]
    assert call(BODY, *reversed(harnesses), (SESSION, b"h-1")).session == "h-1"
    for number, name in enumerate(HARNESSES):
        assert call(BODY, *reversed(harnesses[number:])).session == f"of {name.decode()}"
    assert call(BODY).session == NAMED
    assert call(CHAT | {"session_id": 7, "conversation": "conv_1"}).session == "7"
    assert call(CHAT | {"prompt_cache_key": "app"}).session == ""


def test_a_subagent_has_the_session_and_without_a_user_of_its_own_the_unit_of_its_parent() -> None:
    parent = call(CHAT, (b"x-session-id", b"ses_1"))
    child = call(CHAT, (b"x-session-id", b"ses_2"), (b"x-parent-session-id", b"ses_1"))
    assert (child.session, child.unit) == (parent.session, parent.unit) == ("ses_1", "ses_1")
    assert call(CHAT, (UNIT, b"ann"), (b"x-parent-session-id", b"ses_1")).unit == "ann"


@pytest.mark.parametrize(
    ("conversation", "session"),
    [
        ("conv_1", "conv_1"),
        ({"id": "conv_1"}, "conv_1"),
        ({}, ""),
        (None, ""),
        ("", ""),
        (7, ""),
        ({"id": 7}, ""),
    ],
)
def test_a_conversation_is_a_session_by_its_id(conversation: object, session: str) -> None:
    assert call(CHAT | {"conversation": conversation}).session == session


@pytest.mark.parametrize("none", [b"", b" ", b"s" * 257, b"a\x01b", "a\u0085b".encode(), b"a\tb"])
def test_what_is_no_session_leaves_it_to_the_next_source(none: bytes) -> None:
    assert call(CHAT, (SESSION, none), (b"session_id", none), (b"x-session-id", b"s-9")).session == "s-9"
    assert call(CHAT | {"session_id": none.decode()}, (SESSION, none)).session == ""
    assert call(CHAT, (SESSION, b"s" * 256)).session == "s" * 256


def test_a_canary_may_look_for_its_session_elsewhere() -> None:
    table = routes(trial(unit_from=("session",), session_from=("body", "harness")))
    said = call(BODY, (SESSION, b"h-1"), (b"session-id", b"x-1"), table=table)
    assert (said.session, said.unit) == ("b-1", "b-1")
    assert call(CHAT, (SESSION, b"h-1"), (b"session-id", b"x-1"), table=table).unit == "x-1"
    assert (bare := call(CHAT, (SESSION, b"h-1"), table=table)).unit is None and bare.session == ""


def test_the_unit_of_a_coding_agent_is_never_its_session() -> None:
    places = [
        call(CHAT | {"metadata": {"user_id": AGENT}}),
        call(CHAT | {"user": AGENT}),
        call(CHAT | {"safety_identifier": AGENT}),
        call(CHAT, (UNIT, AGENT.encode())),
    ]
    assert {each.unit for each in places} == {"9c" * 32}
    assert [each.session for each in places] == [NAMED, NAMED, NAMED, ""]
    alone = call(CHAT | {"metadata": {"user_id": json.dumps({"session_id": "s-1"})}})
    assert (alone.unit, alone.session) == ("s-1", "s-1")


def test_what_passes_through_has_the_session_of_its_headers() -> None:
    assert call(b"not json", (b"session_id", b"s-1")).session == "s-1"


@pytest.mark.parametrize("empty", [b"", b" ", b"\t"])
def test_an_empty_header_is_no_unit_but_the_next_place_may_have_one(empty: bytes) -> None:
    assert call(CHAT, (UNIT, empty), (SESSION, empty)).unit is None
    assert call(CHAT | {"user": "u1"}, (UNIT, empty)).unit == "u1"


@pytest.mark.parametrize("empty", ["", " ", None, [], {}, True, False, 1.5])
def test_what_is_no_text_in_the_body_is_no_unit(empty: object) -> None:
    assert call(CHAT | {"user": empty}).unit is None
    assert call(CHAT | {"metadata": {"user_id": empty}}).unit is None
    assert call(CHAT | {"safety_identifier": empty}, (SESSION, b"c1")).unit == "c1"
    assert call(CHAT | {"user": empty, "metadata": {"user_id": "m1"}}).unit == "m1"


def test_a_number_beyond_all_bounds_is_no_unit() -> None:
    assert call(b'{"model":"gpt-4o","user":' + b"9" * 5000 + b"}", (SESSION, b"c1")).unit == "c1"


def test_the_same_value_is_the_same_unit_wherever_it_stands_and_whatever_its_type() -> None:
    calls = [
        call(CHAT, (UNIT, b"1834")),
        call(CHAT, (SESSION, b"1834")),
        call(CHAT | {"user": "1834"}),
        call(CHAT | {"user": 1834}),
        call(CHAT | {"user": " 1834 "}),
        call(CHAT | {"metadata": {"user_id": "1834"}}),
        call(CHAT | {"safety_identifier": "1834"}),
    ]
    assert {each.unit for each in calls} == {"1834"}
    assert call(CHAT, (UNIT, "Zoë".encode())).unit == call(CHAT | {"user": "Zoë"}).unit == "Zoë"


def test_two_units_that_are_no_utf_8_stay_two() -> None:
    assert call(CHAT, (UNIT, b"caf\xe9")).unit != call(CHAT, (UNIT, b"caf\xe8")).unit


def test_without_a_canary_the_unit_is_looked_for_in_the_default_order() -> None:
    table = routes(trial(unit_from=("session",)))
    said = call(CHAT | {"model": "other", "user": "u1"}, (SESSION, b"c1"), table=table)
    assert said.trial is None
    assert said.unit == "u1"


def test_a_body_comes_whole_from_its_parts() -> None:
    whole = json.dumps(CHAT | {"user": "u1"}).encode()
    said = call(Body(whole[:7], b"", whole[7:40], whole[40:]))
    assert (said.body, said.unit) == (whole, "u1")


def test_64_mib_are_read_and_one_byte_more_is_refused() -> None:
    mib = b" " * (1 << 20)
    assert len(call(Body(*[mib] * 64)).body) == BODY_BOUND  # type: ignore[arg-type]
    for parts in ([*[mib] * 64, b" "], [b" " * BODY_BOUND, b" "]):
        with pytest.raises(Refused) as refused:
            call(Body(*parts))
        assert (refused.value.status, refused.value.error_type) == (413, "caller_too_large")
        assert "64 MiB" in refused.value.message


def test_what_passes_through_is_streamed_and_knows_no_bound() -> None:
    mib = b"x" * (1 << 20)
    body = Body(*[mib] * 70)
    said = call(body, (b"content-length", b"73400320"), path="/v1/files")
    assert len(body.parts) == 70
    assert collected(said.body) == [mib] * 70


def test_a_caller_who_leaves_has_sent_no_whole_request() -> None:
    with pytest.raises(asyncio.CancelledError):
        call(Body(b'{"model":', left=True))
    said = call(Body(b"part", left=True), (b"content-length", b"9"), path="/v1/files")
    with pytest.raises(asyncio.CancelledError):
        collected(said.body)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/files", []),
        ("/v1/unknown", []),
        ("/v1/files", [(b"content-encoding", b"gzip")]),
        ("/v1/chat/completions", [(b"content-type", b"multipart/form-data; boundary=json")]),
        ("/v1/chat/completions", [(b"content-type", b"text/plain")]),
    ],
)
def test_files_unknown_paths_and_other_bodies_are_not_looked_into(path: str, headers: list[Header]) -> None:
    said = call(CHAT, (b"content-length", b"60"), *headers, path=path)
    assert said.trial is None
    assert collected(said.body) == [json.dumps(CHAT).encode()]


@pytest.mark.parametrize(
    "kind", [b"application/json; charset=utf-8", b"Application/JSON", b"application/x+json"]
)
def test_any_spelling_of_json_is_read(kind: bytes) -> None:
    assert call(CHAT, (b"content-type", kind)).trial is not None


def test_a_request_without_a_body_has_none_to_stream() -> None:
    assert call(Body(), path="/v1/models", method="GET").body == b""
    assert call(Body(), (b"content-length", b"0"), path="/v1/files").body == b""


def test_only_listed_tags_are_taken_and_shortened() -> None:
    said = call(
        CHAT,
        (b"x-canary-tags", b" region=eu,plan = pro ,secret=x,,=y, long=" + b"z" * 99),
        table=routes(trial(), tags=["region", "plan", "long", "never"]),
    )
    assert said.tags == {"region": "eu", "plan": "pro", "long": "z" * 64}


def test_tags_may_stand_in_several_lines() -> None:
    lines = [(b"x-canary-tags", b"region=eu"), (b"x-other", b"plan=no"), (b"x-canary-tags", b"plan=pro")]
    assert call(CHAT, *lines, table=routes(trial(), tags=["region", "plan"])).tags == {
        "region": "eu",
        "plan": "pro",
    }


def test_of_very_many_tags_the_first_ones_are_looked_at() -> None:
    table = routes(trial(), tags=["region", "plan"])
    for many, found in ((255, {"region": "eu"}), (256, {})):
        assert (
            call(CHAT, (b"x-canary-tags", b"a=b," * many + b"region=eu,plan=pro"), table=table).tags == found
        )


def test_labels_are_short_text() -> None:
    said = call(CHAT, (b"x-canary-category", b"bill\xffing" + b"x" * 99), (b"x-canary-request-id", b"r-1"))
    assert said.labels.category == "bill\ufffding" + "x" * 56
    assert said.labels.request_id == "r-1"
    assert said.labels.traceparent == ""


@pytest.mark.parametrize(("method", "upgrades"), [("GET", True), ("POST", False), ("DELETE", False)])
def test_only_a_get_asks_for_a_websocket(method: str, upgrades: bool) -> None:
    """RFC 6455 §4.1: whatever else offers one is answered as if it did not."""
    asking = [(b"connection", b"upgrade"), (b"upgrade", b"WebSocket")]
    request = Request(method, "/v1/models/m", b"", asking, Body(), upgrades=True)
    assert (
        asyncio.run(read(cast(CallerRequest, request), routes(), LANES, Callers(), HeldBodies())).upgrades
        is upgrades
    )


def test_what_is_kept_of_foreign_text_is_bounded_in_bytes() -> None:
    for kept in (reader._is_json, request_head._is_host):
        kept.cache_clear()
    for number in range(9):
        kind = b"application/json; " + b"a" * 60_000 + b"%d" % number
        assert call(CHAT, (b"content-type", kind)).trial is not None
        assert (
            request_head.find_fault("GET", "1.1", [(b"host", b"a" * 60_000 + b"%d" % number)], upgrade=False)
            is not None
        )
    assert [kept.cache_info().currsize for kept in (reader._is_json, request_head._is_host)] == [1, 0]


def test_bodies_beyond_the_workers_budget_are_refused_and_room_comes_back() -> None:
    bodies = HeldBodies(most=100)
    first, second = (
        cast(CallerRequest, Request("POST", "/", b"", [], Body(b"%d" % number))) for number in range(2)
    )
    bodies.hold(first, 60)
    bodies.hold(first, 40)
    with pytest.raises(Refused) as caught:
        bodies.hold(second, 1)
    assert (caught.value.status, caught.value.error_type, caught.value.retry_after_s) == (503, "shed", 5)
    bodies.release(first)
    bodies.hold(second, 100)
    bodies.release(second)
    bodies.release(second)
    assert (bodies.size, bodies.held) == (0, {})


def test_a_large_body_of_too_many_members_passes_outside_any_canary() -> None:
    many = b'{"model":"gpt-4o",' + b",".join([b'"m%d":"%b"' % (n, b"x" * 300) for n in range(1001)]) + b"}"
    passed = call(body=many)
    assert (passed.trial, passed.facts.model, passed.body) == (None, "", many)
    few = b'{"model":"gpt-4o",' + b",".join([b'"m%d":"%b"' % (n, b"x" * 300) for n in range(999)]) + b"}"
    assert call(body=few).facts.model == "gpt-4o"
