"""What one upstream connection does with the bytes a provider sends, and with the ones it does not."""

import asyncio
import socket
from collections.abc import AsyncIterator
from time import monotonic

import pytest

from proxy.network.ticker import Ticker
from proxy.network.upstream.connection import READ, Connection
from proxy.network.upstream.response import UpstreamError
from proxy.providers.provider import Provider, Timeout
from tests.proxy.raw_provider import OK, playing, pool, post, read_all, turns


async def failing(raw, play, **more) -> UpstreamError:
    """The error of one exchange, whether it comes with the head or in the body."""
    async with raw(play) as provider, pool() as upstreams:
        with pytest.raises(UpstreamError) as caught:
            await read_all(await post(upstreams, provider.entry(), **more))
        return caught.value


async def connections_for_two(raw, response: bytes, *, method: bytes = b"POST") -> int:
    """How many connections two exchanges with this response take: 1 is reuse."""
    bodies = []
    async with raw(playing(response, response)) as provider, pool() as upstreams:
        for _ in range(2):
            answer = await post(upstreams, provider.entry(), method=method)
            bodies.append(await read_all(answer))
        assert bodies[0] == bodies[1]
        return len(provider.wires)


def test_an_answer_brings_status_reason_headers_and_body(run, raw):
    async def scene():
        response = (
            b"HTTP/1.1 418 I'm a teapot\r\nX-One: a\r\nx-two: b\r\nX-One: c\r\ncontent-length: 2\r\n\r\nhi"
        )
        async with raw(playing(response)) as provider, pool() as upstreams:
            before = monotonic()
            answer = await post(upstreams, provider.entry())
            assert (answer.status, answer.reason) == (418, b"I'm a teapot")
            assert answer.headers == [
                (b"x-one", b"a"), (b"x-two", b"b"), (b"x-one", b"c"), (b"content-length", b"2"),
            ]  # fmt: skip
            assert not answer.complete
            assert await answer.read() == b"hi"
            assert answer.complete
            assert await answer.read() == b""
            assert before < answer.read_at <= monotonic()

    run(scene())


def test_the_last_bytes_come_with_the_news_that_they_are_the_last(run, raw):
    async def scene():
        gate = asyncio.Event()

        async def play(wire):
            await wire.request()
            await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n")
            await gate.wait()
            await wire.send(b"3\r\ntwo\r\n0\r\n\r\n")
            await wire.closed()

        async with raw(play) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(), streaming=True)
            assert (await answer.read(), answer.complete) == (b"one", False)
            gate.set()
            assert (await answer.read(), answer.complete) == (b"two", True)

    run(scene())


def test_events_that_came_apart_are_read_apart(run, raw):
    async def scene():
        gate = asyncio.Event()

        async def play(wire):
            await wire.request()
            await wire.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            for number in range(5):
                await wire.send(b"2\r\ne%d\r\n" % number)
                await gate.wait()
                gate.clear()
            await wire.send(b"0\r\n\r\n")

        async with raw(play) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(), streaming=True)
            for number in range(5):
                assert await answer.read() == b"e%d" % number
                gate.set()
            assert await answer.read() == b""

    run(scene())


def test_a_head_response_ends_at_its_head_and_its_connection_is_closed(run, raw):
    async def scene():
        response = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
        async with raw(playing(response)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(), method=b"HEAD", body=b"")
            assert answer.complete
            assert await answer.read() == b""
            await provider.wires[0].ended.wait()

    run(scene())


@pytest.mark.parametrize("status", [204, 304])
def test_a_bodiless_status_has_no_body_whatever_its_content_length_says(run, raw, status):
    response = b"HTTP/1.1 %d X\r\ncontent-length: 5\r\n\r\n" % status
    assert run(connections_for_two(raw, response)) == 1


def test_interim_responses_are_swallowed(run, raw):
    async def scene():
        interim = (
            b"HTTP/1.1 100 Continue\r\nx-interim: 1\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
        )
        async with raw(playing(interim + OK, interim + OK)) as provider, pool() as upstreams:
            for _ in range(2):
                answer = await post(upstreams, provider.entry())
                assert (answer.status, answer.reason) == (200, b"OK")
                assert answer.headers == [(b"content-length", b"2")]
                assert await read_all(answer) == b"ok"
            assert len(provider.wires) == 1

    run(scene())


def test_switching_protocols_unasked_is_malformed(run, raw):
    response = b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
    assert run(failing(raw, playing(response))).error_type == "provider_malformed"


def test_an_offer_to_upgrade_beside_a_final_response_is_no_upgrade(run, raw):
    response = (
        b"HTTP/1.1 200 OK\r\nupgrade: h2\r\nconnection: upgrade, keep-alive\r\ncontent-length: 2\r\n\r\nok"
    )
    assert run(connections_for_two(raw, response)) == 1


def test_without_a_length_the_end_of_input_is_a_clean_end(run, raw):
    async def scene():
        response = b"HTTP/1.1 200 OK\r\n\r\nall of it"
        async with raw(playing(response, then_close=True)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry())
            assert await read_all(answer) == b"all of it"
            assert answer.complete

    run(scene())


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n",
    ],
)
def test_a_body_that_stops_early_is_truncated_after_the_bytes_that_came(run, raw, response):
    async def scene():
        async with raw(playing(response, then_close=True)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry())
            assert await answer.read() == b"short"
            assert not answer.complete
            with pytest.raises(UpstreamError) as caught:
                await answer.read()
            assert caught.value.error_type == "provider_truncated"

    run(scene())


def test_a_head_that_stops_early_is_truncated(run, raw):
    error = run(failing(raw, playing(b"HTTP/1.1 200 OK\r\ncontent-", then_close=True)))
    assert error.error_type == "provider_truncated"


def test_a_new_connection_that_closes_without_a_byte_is_a_reset(run, raw):
    assert run(failing(raw, playing(b"", then_close=True))).error_type == "provider_reset"


def test_a_reset_in_the_middle_is_a_reset(run, raw):
    async def play(wire):
        await wire.request()
        await wire.send(b"HTTP/1.1 200 OK\r\n\r\nno length, and then")
        wire.reset()

    assert run(failing(raw, play)).error_type == "provider_reset"


def test_trailers_are_dropped(run, raw):
    async def scene():
        response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-late: 1\r\n\r\n"
        async with raw(playing(response)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry())
            assert await read_all(answer) == b"ok"
            assert answer.headers == [(b"transfer-encoding", b"chunked")]

    run(scene())


@pytest.mark.parametrize("extra", [OK, b"garbage", b"H"])
def test_bytes_after_the_response_are_not_the_next_one(run, raw, extra):
    assert run(connections_for_two(raw, OK + extra)) == 2


def test_a_byte_on_an_idle_connection_closes_it(run, raw):
    async def scene():
        async def play(wire):
            await wire.request()
            await wire.send(OK)
            await wire.send(b"H")
            await wire.closed()
            gone.set()

        gone = asyncio.Event()
        async with raw(play) as provider, pool() as upstreams:
            await read_all(await post(upstreams, provider.entry()))
            await gone.wait()

    run(scene())


@pytest.mark.parametrize(
    ("response", "connections"),
    [
        (OK, 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", 2),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", 2),
    ],
)
def test_a_connection_is_reused_where_the_provider_keeps_it(run, raw, response, connections):
    assert run(connections_for_two(raw, response)) == connections


def test_an_early_final_response_stops_the_upload_and_closes(run, raw):
    async def scene():
        sent = []
        more = asyncio.Event()

        async def upload() -> AsyncIterator[bytes]:
            sent.append(1)
            yield b"first"
            await more.wait()
            sent.append(2)
            yield b"second"

        async def play(wire):
            await wire.head()
            await wire.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
            assert b"second" not in await wire.closed()

        async with raw(play) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(), body=upload())
            assert (answer.status, await read_all(answer)) == (413, b"no")
            await provider.wires[0].ended.wait()
            assert sent == [1]

    run(scene())


def test_a_response_to_half_a_large_request_is_relayed_and_the_connection_closed(run, raw):
    async def scene():
        async def play(wire):
            await wire.head()
            await wire.send(OK)
            wire.writer.transport.pause_reading()
            await finished.wait()

        finished = asyncio.Event()
        async with raw(play) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(), body=b"x" * 20_000_000)
            assert await read_all(answer) == b"ok"
            finished.set()
            again = asyncio.ensure_future(post(upstreams, provider.entry()))
            await (await again).read()
            assert len(provider.wires) == 2

    run(scene())


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"a" * 70_000 + b"\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: %b\r\n" % (n, b"a" * 700) for n in range(100)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: 1\r\n" * 201 + b"content-length: 2\r\n\r\nok",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 5000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: " + b"a" * 200_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: xchunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 600 Odd\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 099 Odd\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nbad name: 1\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx: a\x01b\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nx: folded\r\n  value\r\ncontent-length: 2\r\n\r\nok",
        b"<html>not HTTP at all</html>",
    ],
    ids=[
        "one field of 70 kB", "70 kB of fields", "201 fields", "endless interim", "endless trailer",
        "CL and TE", "two CL", "gzip as transfer coding", "unknown coding", "status 600", "status 99",
        "space in a name", "control character", "folded", "not HTTP",
    ],
)  # fmt: skip
def test_what_cannot_be_relayed_safely_is_malformed(run, raw, response):
    assert run(failing(raw, playing(response))).error_type == "provider_malformed"


def test_a_malformed_chunk_breaks_the_body_after_what_came(run, raw):
    async def scene():
        response = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"
        async with raw(playing(response)) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry())
            assert await answer.read() == b"ok"
            await provider.wires[0].send(b"zz\r\n")
            with pytest.raises(UpstreamError) as caught:
                await answer.read()
            assert caught.value.error_type == "provider_malformed"

    run(scene())


def test_a_kept_connection_in_use_a_moment_ago_that_closes_is_its_providers_failure(run, raw):
    async def scene():
        async def play(wire):
            await wire.request()
            await wire.send(OK)
            await wire.request()

        async with raw(play) as provider, pool() as upstreams:
            await read_all(await post(upstreams, provider.entry()))
            with pytest.raises(UpstreamError) as caught:
                await post(upstreams, provider.entry())
            assert caught.value.error_type == "provider_reset"

    run(scene())


def test_a_kept_connection_that_had_rested_and_closes_after_the_request_is_stale(run, raw, monkeypatch):
    monkeypatch.setattr("proxy.network.upstream.connection.RESTED_S", 0.0)

    async def scene():
        async def play(wire):
            await wire.request()
            await wire.send(OK)
            await wire.request()

        async with raw(play) as provider, pool() as upstreams:
            await read_all(await post(upstreams, provider.entry()))
            with pytest.raises(UpstreamError) as caught:
                await post(upstreams, provider.entry())
            assert caught.value.error_type == "provider_stale"
            assert len(provider.wires) == 1

    run(scene())


def test_an_idle_connection_that_the_provider_closes_is_not_used(run, raw):
    async def scene():
        gone = asyncio.Event()

        async def play(wire):
            await wire.request()
            await wire.send(OK)
            wire.writer.close()
            await wire.closed()
            gone.set()

        async with raw(play) as provider, pool() as upstreams:
            for _ in range(3):
                gone.clear()
                assert await read_all(await post(upstreams, provider.entry())) == b"ok"
                await gone.wait()
            assert len(provider.wires) == 3

    run(scene())


@pytest.mark.parametrize(("later_s", "connections"), [(14.0, 1), (15.1, 2)])
def test_a_connection_idle_for_15_s_is_retired(run, raw, later_s, connections):
    async def scene():
        ticker = Ticker(asyncio.get_running_loop())
        async with raw(playing(OK, OK)) as provider, pool(ticker=ticker) as upstreams:
            await read_all(await post(upstreams, provider.entry()))
            ticker.tick(monotonic() + later_s)
            await read_all(await post(upstreams, provider.entry()))
            assert len(provider.wires) == connections

    run(scene())


def test_a_connection_that_has_just_opened_is_not_retired_before_its_first_request(run, raw):
    class Nobody:
        def put_back(self, connection): ...
        def drop(self, connection): ...

    async def scene():
        loop = asyncio.get_running_loop()
        ticker = Ticker(loop)
        async with raw(playing(OK)) as provider:
            host, port = provider.entry().base_url.removeprefix("http://").split(":")
            _, connection = await loop.create_connection(
                lambda: Connection(loop, ticker, Nobody(), memoryview(bytearray(READ))), host, int(port)
            )
            ticker.tick(monotonic())
            assert connection.is_usable()
            connection.shut()
            await connection.gone

    run(scene())


def test_a_slow_reader_stops_the_provider_and_is_never_its_timeout(run, raw):
    async def scene():
        whole = bytes(range(256)) * 40_000

        async def play(wire):
            await wire.request()
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(whole), whole)
            await wire.closed()

        ticker = Ticker(asyncio.get_running_loop())
        timeout = Timeout(idle_s=5.0, first_byte_s=5.0, total_s=20.0)
        async with raw(play) as provider, pool(ticker=ticker) as upstreams:
            answer = await post(upstreams, provider.entry(timeout=timeout), streaming=True)
            await turns()
            assert 64 * 1024 < answer.buffered <= (64 + 256) * 1024
            ticker.tick(monotonic() + 1000)
            assert await read_all(answer) == whole

    run(scene())


def test_a_provider_slow_to_read_stops_the_upload(run, raw):
    async def scene():
        pulled = 0

        async def upload() -> AsyncIterator[bytes]:
            nonlocal pulled
            for _ in range(400):
                pulled += 1
                yield b"x" * 65536

        async def play(wire):
            head = await wire.head()
            assert (b"transfer-encoding", b"chunked") in head.headers
            wire.writer.transport.pause_reading()
            stopped.set()
            await reading.wait()
            wire.writer.transport.resume_reading()
            size = 0
            while n := int(await wire.reader.readline(), 16):
                size += len((await wire.reader.readexactly(n + 2))[:-2])
            await wire.send(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n%d" % size)

        stopped, reading = asyncio.Event(), asyncio.Event()
        async with raw(play) as provider, pool() as upstreams:
            exchange = asyncio.ensure_future(post(upstreams, provider.entry(), body=upload()))
            await stopped.wait()
            await turns()
            assert pulled < 400
            reading.set()
            assert await read_all(await exchange) == b"%d" % (400 * 65536)

    run(scene())


def test_head_and_small_body_leave_in_one_write(run):
    async def scene():
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        provider = Provider(name="p", api="openai", base_url=f"http://127.0.0.1:{listener.getsockname()[1]}")
        async with pool() as upstreams:
            exchange = asyncio.ensure_future(post(upstreams, provider, body=b"b" * 1000))
            peer, _ = await loop.sock_accept(listener)
            assert (await loop.sock_recv(peer, 65536)).endswith(b"\r\n\r\n" + b"b" * 1000)
            await loop.sock_sendall(peer, OK)
            await read_all(await exchange)
        peer.close()
        listener.close()

    run(scene())
