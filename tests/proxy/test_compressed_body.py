"""Compressed request bodies: read like plain ones, sent on as they came unless an arm changes them."""

import asyncio
import gzip
import json
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, cast

import brotli
import pytest

from proxy.attempts.dispatch import upstream_request
from proxy.calls.callers import Callers
from proxy.calls.compressed_body import ON_LOOP, BodyUnpacker
from proxy.calls.reader import BODY_BOUND, HeldBodies, read
from proxy.calls.refusal import Refused
from proxy.network.server.caller_request import CallerRequest
from proxy.providers.credentials import Credentials
from tests.proxy.calls import LANES, Body, Header, Request, call, routes, trial

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"X-Gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
    b"gzip, zstd": lambda plain: zstd.compress(gzip.compress(plain)),
    b"identity,br": brotli.compress,
}
SINGLE = [b"gzip", b"deflate", b"br", b"zstd"]
CHATS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "user": "u1"},
    "/v1/responses": {"input": "hi", "stream": True, "store": False, "user": "u1"},
    "/v1/messages": {"max_tokens": 9, "messages": [], "metadata": {"user_id": "u1"}},
}
BOUND = 8 << 20
PLAIN = b'{"model":"gpt-4o"}'


def encoding(coding: bytes) -> Header:
    return (b"content-encoding", coding)


def refusal(body: bytes, *headers: Header) -> Refused:
    with pytest.raises(Refused) as caught:
        call(body, *headers)
    return caught.value


def values(headers: list[Header], name: bytes) -> list[bytes]:
    return [value for other, value in headers if other == name]


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize("path", CHATS)
def test_a_compressed_request_is_assigned_by_its_unit_and_its_model_is_renamed(
    path: str, coding: bytes
) -> None:
    table = routes(trial(models=["gpt-4o"], baseline=("anthropic", "a"), candidate=("claude", "b")))
    if path != "/v1/messages":
        table = routes(trial(candidate=("openai", "b")))
    plain = json.dumps({"model": "gpt-4o"} | CHATS[path]).encode()
    said = call(PACK[coding](plain), encoding(coding), path=path, table=table)
    assert said.trial is not None
    assert (said.unit, said.facts.model, said.body) == ("u1", "gpt-4o", plain)
    sent = upstream_request(said, said.trial.candidate, Credentials(), ask_usage=False)
    assert sent.body == plain.replace(b'"gpt-4o"', b'"b"')
    assert values(sent.headers, b"content-encoding") == []


@pytest.mark.parametrize("coding", PACK)
def test_a_body_that_no_arm_changes_is_sent_on_as_it_came(coding: bytes) -> None:
    packed = PACK[coding](PLAIN)
    table = routes(trial(candidate=("openai", "gpt-4o")))
    said = call(packed, encoding(coding), table=table)
    assert said.trial is not None
    sent = upstream_request(said, said.trial.candidate, Credentials())
    assert sent.body == packed
    assert values(sent.headers, b"content-encoding") == [coding]


def test_codings_in_two_headers_are_applied_in_order() -> None:
    packed = zstd.compress(gzip.compress(PLAIN))
    assert call(packed, encoding(b"gzip"), encoding(b"zstd")).body == PLAIN
    assert refusal(packed, encoding(b"zstd"), encoding(b"gzip")).status == 400


def test_an_empty_body_and_a_plain_one_that_says_so_are_what_they_are() -> None:
    assert call(b"", encoding(b"gzip")).body == b""
    assert call(PLAIN, encoding(b"identity")).body == PLAIN


@pytest.mark.parametrize("coding", SINGLE)
@pytest.mark.parametrize("wrong", ["cut off", "no such", "goes on", "twice", "nothing"])
def test_broken_data_is_a_clear_400(coding: bytes, wrong: str) -> None:
    packed = PACK[coding](PLAIN * 100)
    body = {
        "cut off": packed[:-1],
        "no such": PLAIN,
        "goes on": packed + b"x",
        "twice": packed + PACK[coding](PLAIN),
        "nothing": packed[:1],
    }[wrong]
    found = refusal(body, encoding(coding))
    assert (found.status, found.error_type, found.form) == (400, "caller_rejected", "openai")
    assert coding.decode() in found.message


@pytest.mark.parametrize("coding", [b"compress", b"gzip, sdch", b"gzip, br, zstd", b"\xff", b"gzip;q=1"])
def test_an_unknown_coding_is_a_clear_415(coding: bytes) -> None:
    found = refusal(PLAIN, encoding(coding))
    assert (found.status, found.error_type) == (415, "caller_rejected")
    assert "gzip, deflate, br or zstd" in found.message


def test_a_zstd_window_over_eight_mebibytes_is_refused() -> None:
    wide = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    assert refusal(wide.compress(PLAIN) + wide.flush(), encoding(b"zstd")).status == 400


@pytest.mark.parametrize("coding", [*SINGLE, b"gzip, zstd"])
def test_a_bomb_is_a_413_and_holds_no_more_than_a_body_may_have(coding: bytes) -> None:
    unpacker, held = BodyUnpacker(BOUND), list[int]()
    bomb = PACK[coding](b"\0" * (40 * BOUND))
    tracemalloc.start()
    try:
        with pytest.raises(Refused) as caught:
            asyncio.run(unpacker.unpacked(bomb, [encoding(coding)], held.append))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (caught.value.status, caught.value.error_type) == (413, "caller_too_large")
    assert sum(held) <= BOUND
    assert peak < 2 * BOUND


def test_what_unpacks_to_over_a_mebibyte_is_unpacked_in_a_thread() -> None:
    unpacker = BodyUnpacker(BODY_BOUND)

    async def others_run(plain: bytes) -> int:
        turns, done = 0, False

        async def count() -> None:
            nonlocal turns
            while not done:
                turns += 1
                await asyncio.sleep(0)

        other = asyncio.ensure_future(count())
        got = await unpacker.unpacked(zstd.compress(plain), [encoding(b"zstd")], lambda size: None)
        done = True
        await other
        assert got == plain
        return turns

    assert asyncio.run(others_run(b"a" * (ON_LOOP // 2))) == 0
    assert asyncio.run(others_run(b"a" * (8 * ON_LOOP))) > 8


def test_unpacked_bytes_count_in_what_the_worker_holds() -> None:
    bodies = HeldBodies(most=1 << 20)
    packed = gzip.compress(json.dumps({"model": "gpt-4o", "messages": "x" * (2 << 20)}).encode())
    request = cast(
        CallerRequest,
        Request("POST", "/v1/chat/completions", b"", [encoding(b"gzip")], Body(packed)),
    )
    with pytest.raises(Refused) as caught:
        asyncio.run(read(request, routes(trial()), LANES, Callers(), bodies))
    assert caught.value.status == 503
    bodies.release(request)
    assert bodies.size == 0
