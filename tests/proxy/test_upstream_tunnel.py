"""A provider that is asked to upgrade: what opens, what refuses, and how each side leaves."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from proxy.network.upstream.response import UpstreamError, UpstreamResponse
from proxy.network.upstream.tunnel import REFUSAL_BOUND, Tunnel
from proxy.providers.provider import Timeout
from tests.proxy.raw_provider import Play, RawProvider, Wire, pool, read_all, turns

Run = Callable[[Coroutine[Any, Any, Any]], Any]
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
SENT = [
    (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="),
    (b"sec-websocket-extensions", b"permessage-deflate"),
]


async def ask(upstreams: Any, provider: Any, **more: Any) -> Tunnel | UpstreamResponse:
    call = {"limit_key": "candidate", "target": b"/realtime?model=m", "headers": SENT}
    return await upstreams.upgrade(provider, **(call | more))  # type: ignore[no-any-return]


def switching(*pieces: bytes, head: bytes = SWITCH) -> Play:
    async def play(wire: Wire) -> None:
        await wire.head()
        await wire.send(head, *pieces)
        await wire.closed()

    return play


def test_the_request_carries_the_handshake_untouched_and_its_own_hop_by_hop_fields(run: Run) -> None:
    async def scenario() -> None:
        heads = []

        async def play(wire: Wire) -> None:
            heads.append(await wire.head())
            await wire.send(SWITCH)

        async with RawProvider(play) as raw, pool() as upstreams:
            tunnel = await ask(upstreams, raw.entry(base_path="/v1"))
            assert isinstance(tunnel, Tunnel)
            assert tunnel.headers == [(b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
            (head,) = heads
            assert head.line == b"GET /v1/realtime?model=m HTTP/1.1"
            host = f"127.0.0.1:{raw.port}".encode()
            assert head.headers == [
                (b"host", host), *SENT, (b"connection", b"Upgrade"), (b"upgrade", b"websocket")
            ]  # fmt: skip

    run(scenario())


@pytest.mark.parametrize("cut", range(0, len(SWITCH) + 3, 7))
def test_bytes_behind_the_head_are_the_first_of_the_stream_however_they_come(run: Run, cut: int) -> None:
    async def scenario() -> None:
        whole = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + SWITCH + b"\x81\x02hi"
        async with (
            RawProvider(switching(whole[:cut], whole[cut:], b"more", head=b"")) as raw,
            pool() as upstreams,
        ):
            tunnel = await ask(upstreams, raw.entry())
            assert isinstance(tunnel, Tunnel)
            assert (b"link", b"x") not in tunnel.headers
            read = b""
            while len(read) < 8:
                read += await tunnel.read()
            assert read == b"\x81\x02himore"

    run(scenario())


@pytest.mark.parametrize(
    ("response", "status", "body"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 4\r\n\r\nno k", 401, b"no k"),
        (
            b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\nt: x\r\n\r\n",
            404,
            b"no",
        ),
        (b"HTTP/1.1 503 Busy\r\n\r\nuntil the end", 503, b"until the end"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200, b""),
        (
            b"HTTP/1.1 426 No\r\nupgrade: x\r\nconnection: upgrade\r\ncontent-length: 1\r\n\r\n!",
            426,
            b"!",
        ),
    ],
)
def test_a_refusal_is_an_answer_like_any_other(run: Run, response: bytes, status: int, body: bytes) -> None:
    async def scenario() -> None:
        async def play(wire: Wire) -> None:
            await wire.head()
            await wire.send(*(response[at : at + 9] for at in range(0, len(response), 9)))

        async with RawProvider(play) as raw, pool() as upstreams:
            answer = await ask(upstreams, raw.entry())
            assert isinstance(answer, UpstreamResponse)
            assert answer.status == status and answer.whole
            assert answer.reason == response.split(b"\r\n")[0][13:]
            assert not any(name == b"t" for name, _ in answer.headers)
            assert await read_all(answer) == body
            assert answer.complete and answer.read_at > 0
            await asyncio.wait_for(raw.wires[0].ended.wait(), 5)
        assert upstreams.free_slots("candidate") == 2048

    run(scenario())


@pytest.mark.parametrize(
    ("response", "error_type"),
    [
        (b"", "provider_reset"),
        (b"HTTP/1.1 101 Swi", "provider_truncated"),
        (b"HTTP/1.1 401 No\r\ncontent-length: 9\r\n\r\nno", "provider_truncated"),
        (b"rubbish\r\n\r\n", "provider_malformed"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "provider_malformed"),
        (b"HTTP/1.1 101 Switching\r\n\r\n\x81\x00", "provider_malformed"),
        (b"HTTP/1.1 401 No\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", "provider_malformed"),
        (SWITCH[:-2] + b"x: " + b"y" * 70_000 + b"\r\n\r\n", "provider_malformed"),
        (SWITCH[:-2] + b"x: y\r\n" * 201 + b"\r\n", "provider_malformed"),
        (b"HTTP/1.1 500 No\r\n\r\n" + b"x" * (REFUSAL_BOUND + 1), "provider_malformed"),
    ],
    ids=[
        "silence",
        "half-a-head",
        "half-a-body",
        "rubbish",
        "no-upgrade",
        "no-upgrade-and-more",
        "large",
        "large-101",
        "fields",
        "body",
    ],
)
def test_what_is_neither_is_an_error(run: Run, response: bytes, error_type: str) -> None:
    async def scenario() -> None:
        async def play(wire: Wire) -> None:
            await wire.head()
            await wire.send(response)

        async with RawProvider(play) as raw, pool() as upstreams:
            with pytest.raises(UpstreamError) as caught:
                await ask(upstreams, raw.entry())
            assert caught.value.error_type == error_type
            await asyncio.wait_for(raw.wires[0].ended.wait(), 5)
            assert upstreams.free_slots("candidate") == 2048

    run(scenario())


def test_a_provider_that_is_not_there_or_says_nothing_is_too_late(run: Run) -> None:
    async def scenario() -> None:
        async with RawProvider(switching(head=b"")) as raw, pool() as upstreams:
            entry = raw.entry(timeout=Timeout(first_byte_s=0.2))
            with pytest.raises(UpstreamError) as caught:
                await ask(upstreams, entry)
            assert caught.value.error_type == "provider_timeout"
            assert upstreams.free_slots("candidate") == 2048
        async with pool() as upstreams:
            with pytest.raises(UpstreamError) as caught:
                await ask(upstreams, entry)
            assert caught.value.error_type == "provider_connect"
            assert upstreams.free_slots("candidate") == 2048

    run(scenario())


def test_both_directions_hold_back_when_the_other_end_does_not_read(run: Run) -> None:
    async def scenario() -> None:
        size = 32 << 20
        read_on = asyncio.Event()
        taken = asyncio.Event()

        async def play(wire: Wire) -> None:
            await wire.head()
            wire.writer.write(SWITCH + b"x" * size)
            await read_on.wait()
            await wire.reader.readexactly(size)
            taken.set()
            await wire.closed()

        async with RawProvider(play) as raw, pool() as upstreams:
            tunnel = await ask(upstreams, raw.entry())
            assert isinstance(tunnel, Tunnel)
            wire = raw.wires[0]

            def stuck() -> bool:
                return (
                    tunnel._response._paused_at is not None
                    and wire.writer.transport.get_write_buffer_size() > size // 2
                )

            await until(stuck)
            assert sum(map(len, tunnel._response._chunks)) < 1 << 20

            tunnel.write(b"y" * size)
            drained = asyncio.ensure_future(tunnel.drain())
            await until(lambda: tunnel._connection._flow.write_paused)
            assert not drained.done()
            read_on.set()
            await drained
            await taken.wait()

            got = 0
            while got < size:
                got += len(await tunnel.read())
            assert got == size

    run(scenario())


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until it holds."""
    async with asyncio.timeout(10):
        while not condition():
            await turns(1)


def test_a_provider_that_takes_nothing_is_too_late(run: Run) -> None:
    async def scenario() -> None:
        async def play(wire: Wire) -> None:
            await wire.head()
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send(SWITCH)
            await asyncio.Event().wait()

        async with RawProvider(play) as raw, pool() as upstreams:
            tunnel = await ask(upstreams, raw.entry(timeout=Timeout(write_s=0.3)))
            assert isinstance(tunnel, Tunnel)
            tunnel.write(b"y" * (32 << 20))
            await tunnel.drain()
            with pytest.raises(UpstreamError) as caught:
                await tunnel.read()
            assert caught.value.error_type == "provider_timeout"

    run(scenario())


def test_the_provider_s_end_comes_after_its_last_bytes_and_a_reset_is_no_end(run: Run) -> None:
    async def scenario() -> None:
        async def ends(wire: Wire) -> None:
            await wire.head()
            await wire.send(SWITCH + b"last")

        async def resets(wire: Wire) -> None:
            await wire.head()
            await wire.send(SWITCH)
            await wire.reader.readexactly(4)
            wire.reset()

        async with RawProvider(ends) as raw, pool() as upstreams:
            tunnel = await ask(upstreams, raw.entry())
            assert isinstance(tunnel, Tunnel)
            assert [await tunnel.read(), await tunnel.read(), await tunnel.read()] == [b"last", b"", b""]
            tunnel.write(b"too late")
            await tunnel.drain()
            tunnel.close()
            await tunnel.gone
            assert upstreams.free_slots("candidate") == 2048
        async with RawProvider(resets) as raw, pool() as upstreams:
            tunnel = await ask(upstreams, raw.entry())
            assert isinstance(tunnel, Tunnel)
            tunnel.write(b"fall")
            with pytest.raises(UpstreamError) as caught:
                await tunnel.read()
            assert caught.value.error_type == "provider_reset"

    run(scenario())


def test_closing_sends_what_was_written_and_aborting_does_not_wait(run: Run) -> None:
    async def scenario() -> None:
        got: list[bytes] = []

        async def play(wire: Wire) -> None:
            await wire.head()
            await wire.send(SWITCH)
            got.append(await wire.closed())

        async with RawProvider(play) as raw, pool() as upstreams:
            tunnel = await ask(upstreams, raw.entry())
            assert isinstance(tunnel, Tunnel)
            assert upstreams.free_slots("candidate") == 2047
            tunnel.write(b"y" * 1_000_000)
            tunnel.close()
            await tunnel.gone
            await asyncio.wait_for(raw.wires[0].ended.wait(), 5)
            other = await ask(upstreams, raw.entry())
            assert isinstance(other, Tunnel)
            other.abort()
            other.abort()
            await other.gone
            assert upstreams.free_slots("candidate") == 2048
            await asyncio.wait_for(raw.wires[1].ended.wait(), 5)
        assert got == [b"y" * 1_000_000, b""]

    run(scenario())


def test_closing_does_not_wait_for_ever_for_a_provider_that_reads_nothing(run: Run) -> None:
    async def scenario() -> None:
        async def play(wire: Wire) -> None:
            await wire.head()
            wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await wire.send(SWITCH)
            await asyncio.Event().wait()

        async with RawProvider(play) as raw, pool() as upstreams:
            tunnel = await ask(upstreams, raw.entry())
            assert isinstance(tunnel, Tunnel)
            tunnel.write(b"y" * (32 << 20))
            tunnel.close()
            await asyncio.wait_for(tunnel.gone, 10)

    run(scenario())


@pytest.mark.parametrize("answered", [False, True])
def test_a_caller_that_leaves_while_it_waits_leaves_nothing_open(run: Run, answered: bool) -> None:
    async def scenario() -> None:
        async with (
            RawProvider(switching(head=b"HTTP/1.1 40" if answered else b"")) as raw,
            pool() as upstreams,
        ):
            waiting = asyncio.ensure_future(ask(upstreams, raw.entry()))
            await until(lambda: bool(raw.wires))
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.wait_for(raw.wires[0].ended.wait(), 5)
            assert upstreams.free_slots("candidate") == 2048

    run(scenario())


def test_a_pool_that_closes_takes_its_tunnels_along(run: Run) -> None:
    async def scenario() -> None:
        async with RawProvider(switching()) as raw:
            async with pool() as upstreams:
                tunnel = await ask(upstreams, raw.entry())
                assert isinstance(tunnel, Tunnel)
            with pytest.raises(UpstreamError):
                await tunnel.read()
            await asyncio.wait_for(raw.wires[0].ended.wait(), 5)

    run(scenario())


def test_a_full_lane_refuses_and_a_line_break_is_not_sent(run: Run) -> None:
    async def scenario() -> None:
        async with RawProvider(switching()) as raw, pool(limit=1) as upstreams:
            entry = raw.entry(timeout=Timeout(connect_s=0.1))
            with pytest.raises(ValueError, match="line break"):
                await ask(upstreams, entry, headers=[(b"x", b"a\r\nb: c")])
            first = await ask(upstreams, entry)
            with pytest.raises(UpstreamError) as caught:
                await ask(upstreams, entry)
            assert caught.value.error_type == "shed"
            assert isinstance(first, Tunnel)
            first.abort()
            await first.gone
            assert isinstance(await ask(upstreams, entry), Tunnel)

    run(scenario())
