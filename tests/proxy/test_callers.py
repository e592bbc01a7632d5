"""Who calls is known by a key, wherever the SDKs put it; what a caller may not do is refused."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

import brotli
import pytest

from proxy.calls.call import Call
from proxy.calls.callers import Callers, session_model
from proxy.calls.compressed_body import CompressedBody
from proxy.calls.reader import HeldBodies, admit_message, message_call, read
from proxy.calls.refusal import Refused, error_body
from proxy.network.server.caller_request import CallerRequest
from proxy.providers.provider import Provider
from routing.caller import Caller
from tests.proxy.calls import LANES, PROVIDERS, Body, Header, Request, routes, trial

KEY, OTHER_KEY = b"ck_web", b"ck_batch"
BEDROCK = Provider(name="bedrock", api="anthropic", base_url="https://b.example", kind="bedrock", region="r")
OWN = {name: replace(each, api_key="own") for name, each in PROVIDERS.items()} | {"bedrock": BEDROCK}
JSON: Header = (b"content-type", b"application/json")
BEARER: Header = (b"authorization", b"Bearer " + KEY)


def digest(key: bytes) -> str:
    return sha256(key).hexdigest()


def web(**limits: Any) -> Caller:
    return Caller(name="web", key_sha256=(digest(KEY),), **limits)


class HandClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def ask(
    callers: Callers,
    *headers: Header,
    path: str = "/v1/chat/completions",
    body: bytes | dict[str, Any] | Body = b'{"model": "gpt-4o"}',
    query: bytes = b"",
    method: str = "POST",
    upgrades: bool = False,
    tags: Sequence[str] = (),
) -> Call:
    """One request, read by the real reader."""
    sent = json.dumps(body).encode() if isinstance(body, dict) else body
    whole = sent if isinstance(sent, Body) else Body(sent)
    asked = [(b"upgrade", b"websocket"), (b"connection", b"upgrade")] if upgrades else []
    length = [(b"content-length", b"%d" % sum(map(len, whole.parts)))] if whole.parts else []
    request = Request(method, path, query, [*asked, *length, *headers], whole, upgrades=upgrades)
    table = routes(trial(), tags=tags, providers=OWN)
    return asyncio.run(read(cast(CallerRequest, request), table, LANES, callers, HeldBodies()))


def refusal(callers: Callers, *headers: Header, **request: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        ask(callers, *headers, **request)
    assert refused.value.form is not None
    assert KEY.decode() not in refused.value.message
    return refused.value


# The key


@pytest.mark.parametrize(
    "header",
    [
        BEARER,
        (b"authorization", b"bearer  " + KEY + b" "),
        (b"x-api-key", KEY),
        (b"x-goog-api-key", KEY),
        (b"api-key", KEY),
        (b"x-canary-key", KEY),
        (b"sec-websocket-protocol", b"realtime, openai-insecure-api-key." + KEY + b", x"),
    ],
    ids=lambda header: header[0].decode(),
)
def test_a_key_is_found_wherever_an_sdk_puts_it(header: Header) -> None:
    assert ask(Callers([web()]), JSON, header).tags == {"caller": "web"}


def test_a_key_is_found_in_geminis_query() -> None:
    callers = Callers([Caller(name="web", key_sha256=(digest(b"a/b+c"),))])
    path = "/v1beta/models/gemini-2.5-flash:generateContent"
    for query in (b"key=a%2Fb%2Bc", b"alt=sse&key=a/b+c"):
        assert ask(callers, JSON, path=path, query=query).tags == {"caller": "web"}
    assert refusal(callers, JSON, path=path, query=b"monkey=a/b+c").status == 401


@pytest.mark.parametrize(("path", "status"), [("/admin", 404), ("/v1/../admin", 400)])
def test_the_key_is_asked_for_before_the_path_is_looked_at(path: str, status: int) -> None:
    def told(callers: Callers, *headers: Header) -> tuple[int, str, bool]:
        with pytest.raises(Refused) as refused:
            ask(callers, JSON, *headers, path=path)
        return refused.value.status, refused.value.caller, "/v1beta/" in refused.value.message

    assert told(Callers([web()])) == (401, "", False)
    assert told(Callers([web()]), BEARER) == (status, "web", status == 404)
    assert told(Callers()) == (status, "", status == 404)


def test_the_header_of_signing_sdks_decides_alone() -> None:
    both = [web(), Caller(name="batch", key_sha256=(digest(OTHER_KEY),))]
    signed = (b"authorization", b"AWS4-HMAC-SHA256 Credential=AKIA/20261127/x")
    assert ask(Callers(both), JSON, signed, (b"x-canary-key", OTHER_KEY)).tags == {"caller": "batch"}
    assert ask(Callers(both), JSON, BEARER, (b"x-canary-key", OTHER_KEY)).tags == {"caller": "batch"}
    assert refusal(Callers(both), JSON, BEARER, (b"x-canary-key", b"wrong")).status == 401


def test_a_stray_credential_beside_the_key_does_no_harm() -> None:
    stray = (b"authorization", b"Bearer of-something-else")
    assert ask(Callers([web()]), JSON, stray, (b"x-api-key", KEY)).tags == {"caller": "web"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer ck_wrong")],
        [(b"authorization", b"Basic " + KEY)],
        [(b"authorization", KEY)],
        [(b"authorization", b"Bearer ")],
        [(b"x-api-key", digest(KEY).encode())],
        [(b"x-canary-key", b"")],
        [(b"api-key", KEY.upper())],
        [(b"cookie", KEY)],
    ],
)
def test_without_a_callers_key_a_request_is_refused_before_its_body_is_read(headers: list[Header]) -> None:
    body = Body(b'{"model":', b'"gpt-4o"}')
    found = refusal(Callers([web()]), JSON, *headers, body=body)
    assert (found.status, found.error_type, found.caller) == (401, "caller_unauthorized", "")
    assert len(body.parts) == 2


def test_without_callers_everybody_may_call_and_an_apps_own_tag_stays() -> None:
    said = (b"x-canary-tags", b"caller=me")
    assert ask(Callers(), JSON, said, tags=["caller"]).tags == {"caller": "me"}
    assert ask(Callers(), JSON).tags == {}


def test_an_app_cannot_say_that_it_is_another_caller() -> None:
    said = (b"x-canary-tags", b"caller=batch, region=eu")
    call = ask(Callers([web()]), JSON, BEARER, said, tags=["caller", "region"])
    assert call.tags == {"caller": "web", "region": "eu"}


def test_both_keys_are_good_while_one_replaces_the_other() -> None:
    callers = Callers([Caller(name="web", key_sha256=(digest(KEY), digest(OTHER_KEY)))])
    for key in (KEY, OTHER_KEY):
        assert ask(callers, JSON, (b"x-api-key", key)).tags == {"caller": "web"}
    callers.configure([Caller(name="web", key_sha256=(digest(OTHER_KEY),))])
    assert refusal(callers, JSON, BEARER).status == 401
    assert ask(callers, JSON, (b"x-api-key", OTHER_KEY)).tags == {"caller": "web"}


@pytest.mark.parametrize("header", [b"x-api-key", b"x-canary-key", b"authorization"])
def test_nobody_has_the_empty_key(header: bytes) -> None:
    callers = Callers([Caller(name="web", key_sha256=(digest(b""),))])
    given = b"Bearer " if header == b"authorization" else b""
    assert refusal(callers, JSON, (header, given)).status == 401


def test_only_known_keys_are_remembered() -> None:
    callers = Callers([web()])
    for number in range(1000):
        refusal(callers, JSON, (b"x-api-key", b"ck_%d" % number))
    ask(callers, JSON, BEARER)
    assert set(callers._by_key) == {KEY}


def test_an_amazon_sdk_finds_amazons_words() -> None:
    words = {401: "UnrecognizedClientException", 403: "AccessDeniedException", 429: "ThrottlingException"}
    for status, word in words.items():
        kind = "caller_limited" if status == 429 else "caller_unauthorized"
        assert json.loads(error_body("amazon", status, "no", kind)) == {"__type": word, "message": "no"}
    assert json.loads(error_body("amazon", 404, "no", "caller_not_found"))["__type"] == "caller_not_found"


# Entries and models


def test_an_entry_that_is_not_the_callers_is_refused_before_the_body_is_read() -> None:
    body = Body(b"{}")
    found = refusal(Callers([web(providers=("azure",))]), JSON, BEARER, body=body)
    assert (found.status, found.error_type, found.caller) == (403, "caller_unauthorized", "web")
    assert "openai" in found.message
    assert body.parts
    assert ask(Callers([web(providers=("azure",))]), JSON, BEARER, path="/azure/v1/chat/completions")


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("gpt-4o*", ["gpt-4o", "gpt-4o-mini"], ["gpt-5", "GPT-4o", "my-gpt-4o"]),
        ("gpt-4o", ["gpt-4o"], ["gpt-4o-mini", "gpt-4"]),
        ("*-mini", ["gpt-4o-mini", "o4-mini"], ["gpt-4o"]),
        ("gpt-[45]o", ["gpt-4o", "gpt-5o"], ["gpt-6o"]),
    ],
)
def test_models_are_patterns_and_case_counts(pattern: str, allowed: list[str], refused: list[str]) -> None:
    callers = Callers([web(models=(pattern,))])
    for model in allowed:
        assert ask(callers, JSON, BEARER, body={"model": model}).facts.model == model
    for model in refused:
        found = refusal(callers, JSON, BEARER, body={"model": model})
        assert (found.status, found.error_type, found.caller) == (403, "caller_unauthorized", "web")
        assert repr(model) in found.message
        assert pattern in found.message


TWICE = [
    b'{"model": "gpt-5", "model": "gpt-4o"}',
    b'{"model": "gpt-4o", "model": "gpt-5"}',
    b'{"model": "gpt-5", "mod\\u0065l": "gpt-4o"}',
    b'{"model":"gpt-4o","\\u006dodel":"gpt-4o"}',
]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        *((body, [JSON]) for body in TWICE),
        (b'{"messages": []}', [JSON]),
        (b'{"model": null}', [JSON]),
        (b'{"model": 4}', [JSON]),
        (b'["gpt-4o"]', [JSON]),
        (b"no json", [JSON]),
        (b'{"model": "gpt-4o"}', [(b"content-type", b"text/plain")]),
        (b"--x\r\n", [(b"content-type", b"multipart/form-data; boundary=x")]),
        (b"", [JSON]),
    ],
)
def test_a_model_that_cannot_be_read_is_none_of_the_callers(body: bytes, headers: list[Header]) -> None:
    found = refusal(Callers([web(models=("gpt-4o", "gpt-5"))]), BEARER, *headers, body=body)
    assert (found.status, found.error_type) == (403, "caller_unauthorized")
    assert "cannot be read" in found.message
    assert ask(Callers([web()]), BEARER, *headers, body=body).tags == {"caller": "web"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/images/generations"])
def test_compression_is_no_way_around_a_callers_models(path: str) -> None:
    callers = Callers([web(models=("gpt-4o",))])
    named = {model: b'{"model": "%b"}' % model for model in (b"gpt-4o", b"gpt-5")}
    for coding, pack in ((b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"br", brotli.compress)):
        headers = (BEARER, JSON, (b"content-encoding", coding))
        allowed, other = (pack(body) for body in named.values())
        said = ask(callers, *headers, path=path, body=allowed)
        assert (said.body, said.compressed) == (
            named[b"gpt-4o"],
            CompressedBody(allowed, named[b"gpt-4o"]),
        )
        for body in (other, pack(TWICE[1]), pack(b"no json")):
            assert refusal(callers, *headers, path=path, body=body).status == 403
        assert refusal(callers, *headers, path=path, body=allowed + other).status == 400
        assert refusal(callers, *headers, (b"content-encoding", coding), path=path, body=other).status == 400
    unread = (b"content-encoding", b"compress")
    assert refusal(callers, BEARER, JSON, unread, path=path).status == 415


def test_a_model_named_elsewhere_in_the_body_counts_for_nothing() -> None:
    callers = Callers([web(models=("gpt-4o",))])
    inside = {"model": "gpt-4o", "tools": [{"model": "gpt-5"}], "messages": [{"content": '"model": "x"'}]}
    assert ask(callers, JSON, BEARER, body=inside).facts.model == "gpt-4o"
    assert ask(callers, JSON, BEARER, body={"user": "ü", **inside}).facts.model == "gpt-4o"
    assert refusal(callers, JSON, BEARER, body={**inside, "model": "gpt-5"}).status == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "kind"),
    [
        ("GET", "/v1/models", b"", b""),
        ("GET", "/v1/files/f-1/content", b"", b""),
        ("DELETE", "/v1/responses/resp_1", b"", b""),
        ("POST", "/v1/responses/resp_1/cancel", b"", b""),
        ("POST", "/v1/files", b"--x\r\n", b"multipart/form-data; boundary=x"),
        ("POST", "/azure/v1/files", b"--x\r\n", b"multipart/form-data; boundary=x"),
        ("POST", "/upload/v1beta/files", b"bytes", b"image/png"),
        ("POST", "/v1/conversations", b"{}", b"application/json"),
        ("POST", "/v1/vector_stores/vs_1/search", b'{"query": "x"}', b"application/json"),
    ],
)
def test_paths_without_a_model_are_open(method: str, path: str, body: bytes, kind: bytes) -> None:
    gemini = [(b"x-goog-api-key", KEY)] if "v1beta" in path else [BEARER]
    headers = [*gemini, *([(b"content-type", kind)] if kind else [])]
    callers = Callers([web(models=("gpt-4o",))])
    if path.startswith("/upload"):
        path = f"/gemini{path}"
    assert ask(callers, *headers, method=method, path=path, body=body).tags == {"caller": "web"}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/images/generations", b'{"model": "gpt-image-2"}', 200),
        ("/v1/images/generations", b'{"model": "dall-e-3"}', 403),
        ("/v1/images/generations", b'{"prompt": "the default model"}', 403),
        ("/v1/batches", b'{"input_file_id": "f-1"}', 403),
        ("/v1/audio/transcriptions", b"no json", 403),
        ("/v1/messages/batches", b'{"requests": [{"params": {"model": "gpt-image-2"}}]}', 403),
        ("/v1beta/models/gpt-image-2:predict", b"{}", 200),
        ("/v1beta/models/imagen-5:predict", b'{"model": "gpt-image-2"}', 403),
        ("/v1beta/models/gpt-image-2:generateContent", b'{"model": "other"}', 200),
        ("/v1beta/models/gemini-3-pro:generateContent", b"{}", 403),
        ("/v1beta/models/gemini-3-pro:batchGenerateContent", b"{}", 403),
    ],
)
def test_what_only_passes_through_has_a_model_too(path: str, body: bytes, status: int) -> None:
    callers = Callers([web(models=("gpt-image-2",))])
    if status == 403:
        assert refusal(callers, JSON, BEARER, path=path, body=body).status == 403
        return
    call = ask(callers, JSON, BEARER, path=path, body=body)
    assert (call.tags, call.trial) == ({"caller": "web"}, None)
    assert whole(call.body) == body


def whole(body: bytes | AsyncIterator[bytes]) -> bytes:
    async def joined(parts: AsyncIterator[bytes]) -> bytes:
        return b"".join([part async for part in parts])

    return body if isinstance(body, bytes) else asyncio.run(joined(body))


@pytest.mark.parametrize(
    ("query", "model"),
    [
        (b"model=gpt-realtime", "gpt-realtime"),
        (b"x=1&model=gpt%2Drealtime", "gpt-realtime"),
        (b"", ""),
        (b"intent=transcription", ""),
        (b"model=gpt-realtime&model=other", ""),
        (b"model=gpt-realtime&%6Dodel=other", ""),
        (b"model=gpt-realtime&deployment=other", ""),
        (b"deployment=gpt-realtime", ""),
    ],
)
def test_a_realtime_session_has_the_one_model_of_its_query(query: bytes, model: str) -> None:
    request = {"method": "GET", "path": "/v1/realtime", "body": b"", "query": query, "upgrades": True}
    route = ask(Callers(), **request).route  # type: ignore[arg-type]
    assert session_model(route, query) == model
    callers = Callers([web(models=("gpt-realtime", "other"))])
    if model:
        assert ask(callers, BEARER, **request).tags == {"caller": "web"}  # type: ignore[arg-type]
    else:
        assert refusal(callers, BEARER, **request).status == 403


def test_a_websocket_whose_messages_are_not_known_is_for_callers_of_all_models() -> None:
    live = {"method": "GET", "path": "/gemini/ws/live", "body": b"", "upgrades": True}
    assert refusal(Callers([web(models=("*",))]), BEARER, **live).status == 403
    assert ask(Callers([web()]), BEARER, **live).upgrades  # type: ignore[arg-type]


# Responses over a WebSocket


def message(callers: Callers, body: bytes, *headers: Header) -> Call:
    handshake = ask(callers, BEARER, *headers, method="GET", path="/v1/responses", body=b"", upgrades=True)
    call = message_call(handshake, routes(trial(), providers=OWN), LANES, body)
    admit_message(callers, call)
    return call


def test_each_response_over_a_websocket_is_its_callers_and_is_checked() -> None:
    callers = Callers([web(models=("gpt-4o",))])
    assert message(callers, b'{"type": "response.create", "model": "gpt-4o"}').tags == {"caller": "web"}
    for body in (b'{"type": "response.create", "model": "gpt-5"}', b'{"type": "response.create"}', b"\x00"):
        with pytest.raises(Refused) as refused:
            message(callers, body)
        assert refused.value.status == 403


def test_the_messages_are_read_for_a_caller_though_no_canary_may_take_them() -> None:
    request = {"method": "GET", "path": "/azure/v1/responses", "body": b"", "upgrades": True}
    assert ask(Callers(), **request).messages is None  # type: ignore[arg-type]
    assert ask(Callers([web()]), BEARER, **request).messages is not None  # type: ignore[arg-type]


def test_a_key_that_was_taken_away_serves_no_further_message() -> None:
    callers = Callers([web()])
    call = message(callers, b'{"model": "gpt-4o"}')
    callers.configure([Caller(name="web", key_sha256=(digest(OTHER_KEY),))])
    with pytest.raises(Refused) as refused:
        admit_message(callers, call)
    assert refused.value.status == 401
    assert callers.limits_models(call.named, call.query)


# The rate


def test_a_bucket_holds_a_minutes_worth_and_says_when_to_come_again() -> None:
    clock = HandClock()
    callers = Callers([web(requests_per_minute=3)], clock)
    for _ in range(3):
        ask(callers, JSON, BEARER)
    body = Body(b"{}")
    found = refusal(callers, JSON, BEARER, body=body)
    assert (found.status, found.error_type, found.caller) == (429, "caller_limited", "web")
    assert found.retry_after_s == 20
    assert body.parts
    clock.now += 19.5
    assert refusal(callers, JSON, BEARER).retry_after_s == 1
    clock.now += 0.5
    ask(callers, JSON, BEARER)
    assert refusal(callers, JSON, BEARER).status == 429
    clock.now += 3600.0
    for _ in range(3):
        ask(callers, JSON, BEARER)
    assert refusal(callers, JSON, BEARER).status == 429


def test_callers_do_not_share_a_rate() -> None:
    other = Caller(name="batch", key_sha256=(digest(OTHER_KEY),))
    callers = Callers([web(requests_per_minute=1), other], HandClock())
    ask(callers, JSON, BEARER)
    assert refusal(callers, JSON, BEARER).status == 429
    for _ in range(5):
        ask(callers, JSON, (b"x-api-key", OTHER_KEY))


def test_what_is_left_of_the_minute_survives_a_reload() -> None:
    clock = HandClock()
    callers = Callers([web(requests_per_minute=10)], clock)
    for _ in range(8):
        ask(callers, JSON, BEARER)
    callers.configure([web(requests_per_minute=60, models=("gpt-4o",))])
    for _ in range(2):
        ask(callers, JSON, BEARER)
    assert refusal(callers, JSON, BEARER).retry_after_s == 1
    clock.now += 60.0
    callers.configure([web(requests_per_minute=1)])
    ask(callers, JSON, BEARER)
    assert refusal(callers, JSON, BEARER).retry_after_s == 60
    callers.configure([web()])
    ask(callers, JSON, BEARER)


# The form


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/v1/chat/completions", "openai"),
        ("/v1/messages", "anthropic"),
        ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini"),
        ("/model/anthropic.claude/converse", "amazon"),
    ],
)
def test_a_refusal_knows_which_api_was_called(path: str, form: str) -> None:
    assert refusal(Callers([web()]), JSON, path=path).form == form


def test_a_body_that_is_too_large_is_refused_in_the_apis_form_too() -> None:
    found = refusal(
        Callers([web()]), JSON, BEARER, path="/v1/messages", body=Body(*([b"x" * (1 << 20)] * 65))
    )
    assert (found.status, found.form, found.caller) == (413, "anthropic", "web")
