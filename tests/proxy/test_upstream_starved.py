"""A worker that is too busy to look at its sockets blames no provider, and no caller, for what had come."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from time import monotonic

import pytest
import trustme

from proxy.providers.provider import Timeout
from tests.proxy.raw_provider import OK, playing, pool, post, read_all, turns


async def starve(seconds: float, times: int = 1, first: Callable[[], object] = lambda: None) -> None:
    """Keep the loop from its sockets for so long, in each of so many turns in a row.

    It is one socket's turn that takes all the time: timers that were due meanwhile go off before the loop
    asks again which sockets have something to read. `first` is done at the beginning.
    """
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    left = asyncio.Semaphore(0)

    def block() -> None:
        first()
        end = monotonic() + seconds
        while monotonic() < end:
            pass
        left.release()

    loop.add_reader(ours, block)
    theirs.send(b"x")
    for _ in range(times):
        await left.acquire()
    loop.remove_reader(ours)
    ours.close()
    theirs.close()


@pytest.mark.parametrize(("seconds", "times"), [(1.2, 1), (0.4, 6)])
@pytest.mark.parametrize("tls", [False, True])
def test_a_dialling_is_not_late_because_our_loop_is(run, raw, tmp_path, tls, seconds, times):
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))

    async def scene():
        async with raw(playing(OK), tls=context if tls else None) as provider, pool() as upstreams:
            ca_file = str(tmp_path / "ca.pem") if tls else None
            entry = provider.entry(ca_file=ca_file, timeout=Timeout(connect_s=1.0))
            exchange = asyncio.ensure_future(post(upstreams, entry))
            await turns(1)
            await starve(seconds, times)
            assert await read_all(await exchange) == b"ok"

    run(scene())


@pytest.mark.parametrize("streaming", [True, False])
def test_a_response_that_had_come_is_read_before_it_is_late(run, raw, streaming):
    async def scene():
        async def play(wire):
            await wire.request()
            fd = wire.writer.get_extra_info("socket").fileno()
            await starve(0.5, first=lambda: os.write(fd, OK))
            await wire.closed()

        limit = Timeout(first_byte_s=0.3, total_s=0.3)
        async with raw(play) as provider, pool() as upstreams:
            answer = await post(upstreams, provider.entry(timeout=limit), streaming=streaming)
            assert await read_all(answer) == b"ok"

    run(scene())
