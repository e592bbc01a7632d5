"""The doubles of calls.py behave as what they stand in for: each scene is played by both."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from proxy.network.server.caller_connection import TrafficProtocol
from proxy.network.server.caller_request import CallerRequest
from proxy.network.upstream.response import UpstreamError, UpstreamResponse
from records.outcome import ErrorType
from tests.proxy.calls import Body, Outlet, Request, Script
from tests.proxy.raw_provider import RawProvider, Wire, pool, post, turns

LONG = 1 << 20
both = pytest.mark.parametrize("real", [False, True], ids=["double", "real"])


# An upstream's answer: Script, and UpstreamResponse from a provider on a socket


@asynccontextmanager
async def answering(
    real: bool, *parts: bytes, error: ErrorType | None = None, more: bool = False, status: int = 200
) -> AsyncIterator[UpstreamResponse | Script]:
    """An answer of these parts that then ends, breaks off by a reset (`error`), or says nothing (`more`)."""
    if not real:
        yield Script(*parts, error=error, more=more, status=status)
        return
    length = sum(map(len, parts)) + (1 if error or more else 0)
    head = b"HTTP/1.1 %d As It Was Said\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"

    async def play(wire: Wire) -> None:
        await wire.request()
        await wire.send(head % (status, length) + b"".join(parts[:1]))
        for part in parts[1:]:
            await turns(20)
            await wire.send(part)
        if error:
            await turns(20)
            wire.reset()
        await wire.closed()

    async with RawProvider(play) as provider, pool() as upstreams:
        yield await post(upstreams, provider.entry())


async def to_the_end(answer: UpstreamResponse | Script) -> bytes:
    body = b""
    while not answer.complete:
        body += await answer.read()
    return body


async def broken_by(reading: Awaitable[Any]) -> str:
    with pytest.raises(UpstreamError) as caught:
        await reading
    return caught.value.error_type


@both
def test_an_answers_head_is_there_before_its_body(run, real):
    async def scene():
        async with answering(real, b"one", b"two", status=429) as answer:
            assert (answer.status, answer.reason, answer.framed) == (429, b"As It Was Said", True)
            assert (b"content-type", b"application/json") in answer.headers
            assert (answer.whole, answer.complete) == (False, False)

    run(scene())


@both
def test_an_answer_is_read_to_its_end_and_stays_ended(run, real):
    async def scene():
        async with answering(real, b"one", b"two", b"three") as answer:
            assert answer.read_at == 0.0 or real  # the first part may have come with the head
            assert await to_the_end(answer) == b"onetwothree"
            assert answer.read_at > 0.0
            assert [await answer.read(), await answer.read()] == [b"", b""]
            assert (answer.whole, answer.complete) == (True, True)

    run(scene())


@both
@pytest.mark.parametrize("parts", [(), (b"all of it",)])
def test_an_answer_that_came_at_once_is_whole_before_it_is_read(run, real, parts):
    async def scene():
        async with answering(real, *parts) as answer:
            assert (answer.whole, answer.complete) == (True, not parts)
            assert await answer.read() == b"".join(parts)
            assert answer.complete

    run(scene())


@both
@pytest.mark.parametrize("passed_on", [False, True])
def test_an_answer_that_breaks_raises_after_the_bytes_that_came(run, real, passed_on):
    async def scene():
        async with answering(real, b"one", b"two", error="provider_reset") as answer:
            came: list[bytes] = []

            async def read() -> None:
                while True:
                    came.append(await answer.read())

            everything = answer.pass_on(lambda data: not came.append(data)) if passed_on else read()
            assert await broken_by(everything) == "provider_reset"
            assert b"".join(came) == b"onetwo"
            assert await broken_by(answer.read()) == "provider_reset"
            assert (answer.whole, answer.complete) == (False, False)

    run(scene())


@both
def test_whoever_reads_on_waits_until_the_answer_is_given_up(run, real):
    async def scene():
        async with answering(real, b"one", more=True) as answer:
            assert await answer.read() == b"one"
            reading = asyncio.ensure_future(answer.read())
            await turns()
            assert not reading.done()
            answer.abort()
            assert await broken_by(reading) == "aborted"

    run(scene())


@both
def test_what_was_given_up_is_read_no_more_and_what_was_whole_still_is(run, real):
    async def scene():
        async with answering(real, b"one", b"two", more=True) as answer:
            answer.abort()
            assert await broken_by(answer.read()) == "aborted"
        async with answering(real, b"whole") as answer:
            answer.abort()
            assert await answer.read() == b"whole"

    run(scene())


@both
def test_all_but_the_last_bytes_are_passed_on(run, real):
    async def scene():
        async with answering(real, b"one", b"two", b"three") as answer:
            taken: list[bytes] = []
            last = await answer.pass_on(lambda data: not taken.append(data))
            assert (b"".join(taken), last) == (b"onetwo", b"three")
            assert answer.complete

    run(scene())


@both
def test_whoever_can_take_no_more_is_given_the_rest_later(run, real):
    async def scene():
        async with answering(real, b"one", b"two", b"three") as answer:
            taken: list[bytes] = []
            rounds = 0
            while (last := await answer.pass_on(lambda data: bool(taken.append(data)))) is None:
                rounds += 1
            assert (b"".join(taken), last, rounds) == (b"onetwo", b"three", len(taken))

    run(scene())


# A request: Request, and CallerRequest from a caller on a socket


Scene = Callable[[Request | CallerRequest], Awaitable[Any]]


async def asked(
    real: bool, scene: Scene, *parts: bytes, left: bool = False, upgrades: bool = False
) -> tuple[Any, bytes]:
    """What the scene saw of a POST in these parts, whose caller may leave; and what the caller was told."""
    headers = [(b"host", b"a"), (b"content-length", b"%d" % (sum(map(len, parts)) + left))]
    if upgrades:
        headers = [(b"host", b"a"), (b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    method = "GET" if upgrades else "POST"
    if not real:
        body = Body(*parts, left=left)
        return await scene(Request(method, "/v1/a%20b", b"x=1", headers, body, upgrades=upgrades)), b""
    found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def handle(incoming: CallerRequest) -> None:
        try:
            found.set_result(await scene(incoming))
        except Exception as problem:
            found.set_exception(problem)
        if not incoming.started:
            incoming.start(200, [], length=0)
            incoming.end()

    head = f"{method} /v1/a%20b?x=1 HTTP/1.1\r\n".encode() + b"".join(
        b"%b: %b\r\n" % each for each in headers
    )
    async with listening(handle) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head + b"\r\n" + b"".join(parts[:1]))
        for part in parts[1:]:
            await turns(20)
            writer.write(part)
        if left:
            writer.close()
        seen = await found
        told = b"" if left else await reader.readuntil(b"\r\n\r\n")
        told += await reader.read(LONG) if b"content-length: 0" not in told and not left else b""
        writer.close()
        return seen, told


@asynccontextmanager
async def listening(handle: Callable[[CallerRequest], Awaitable[None]]) -> AsyncIterator[int]:
    loop, state = asyncio.get_running_loop(), ServerState()
    config = uvicorn.Config(handle, http=TrafficProtocol, ws="none", lifespan="off", log_config=None)  # type: ignore[arg-type]
    server = await loop.create_server(lambda: TrafficProtocol(config, state, {}, _loop=loop), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@both
def test_a_request_has_its_head_as_it_came(run, real):
    async def scene(request):
        return request.method, request.path, request.query, list(request.headers), request.upgrades

    head = ("POST", "/v1/a%20b", b"x=1", [(b"host", b"a"), (b"content-length", b"4")], False)
    assert run(asked(real, scene, b"body"))[0] == head
    assert run(asked(real, scene, upgrades=True))[0][-1] is True


@both
def test_a_body_that_came_with_the_head_is_taken_once(run, real):
    async def scene(request):
        return request.taken(), request.taken(), await request.read(), await request.read()

    assert run(asked(real, scene, b"body"))[0] == (b"body", None, b"", b"")


@both
@pytest.mark.parametrize(("parts", "body"), [((), b""), ((b"",), b""), ((b"one", b"two"), b"onetwo")])
def test_a_body_in_parts_or_none_is_read_and_not_taken(run, real, parts, body):
    async def scene(request):
        taken, came = request.taken(), b""
        while part := await request.read():
            came += part
        return taken, came, await request.read()

    assert run(asked(real, scene, *parts))[0] == (None, body, b"")


@both
def test_the_reading_of_a_caller_who_leaves_is_cancelled_after_what_came(run, real):
    async def scene(request):
        taken, came = request.taken(), b""
        try:
            while part := await request.read():
                came += part
        except asyncio.CancelledError:
            return taken, came, "left"
        return taken, came, "whole"

    assert run(asked(real, scene, b"one", b"two", left=True))[0] == (None, b"onetwo", "left")


# Where an answer goes: Outlet, and CallerRequest


@both
def test_a_caller_who_reads_gets_what_is_written_and_makes_nobody_wait(run, real):
    outlet = Outlet()

    async def scene(request):
        out = request if real else outlet
        if real:
            request.start(200, [], length=6)
        for piece in (b"", b"one", b"two"):
            out.write(piece)
            assert not out.paused
            await out.drain()
        if real:
            request.end()

    told = run(asked(real, scene, b"body"))[1]
    body = told.partition(b"\r\n\r\n")[2] if real else b"".join(outlet.written)
    assert body == b"onetwo"
