"""R11: callers who are slow on purpose (in the head, in the body, idle, in reading) are closed at their
deadlines, hold little memory, and cost the others nothing.

The deadlines are real: 10 s for head and body; in the long form also 60 s without reading and 75 s idle.
"""

import asyncio
import socket
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import repeat, takewhile

import pytest
import uvloop

from tests.e2e.stage import Stage, chat, worker_pids
from tests.reliability.answers import SSE, answer, chunk, head, streams
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen
from tests.reliability.load import Caller, Traffic, closed_loop, resident_kib
from tests.reliability.rig import percentile, rigged
from tests.serving import eventually

CONFIG = """
providers:
  openai: {api: openai, base_url: "<only>/v1", timeout: {idle: 300s, total: 300s}}
"""
HEAD = b"GET /v1/models HTTP/1.1\r\nhost: a\r\nx: "
BODY = b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n{"
MOST_KIB_A_READER = 256
OTHERS = 8
DRIP_S = 0.5
RECEIVE_BUFFER = 4096
SEND_BUFFER = 32_768
FULL_SIZE = 200


async def play(seen: Seen) -> None:
    """To a stream, as many bytes as are taken; else a document."""
    if not streams(seen):
        await answer(seen)
        return
    if b"little at a time" in seen.message.body:
        sock = seen.line.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    seen.write(head(200, SSE))
    line = chunk(b"data: " + b"x" * 65_000 + b"\n\n")
    while not seen.left.is_set():
        await seen.line.writable.wait()
        seen.write(line)
        await asyncio.sleep(0)


async def slow_reader(address: str, text: str) -> Caller:
    """Asks for an endless stream and does not read it."""
    host, port = address.removeprefix("http://").split(":")
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    line.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(line, (host, int(port)))
    _, caller = await loop.create_connection(Caller, sock=line)
    caller.transport.pause_reading()
    caller.transport.write(request(address, chat("gpt-4o", "user-1", stream=True, text=text)))
    return caller


async def connect(address: str, first: bytes) -> Caller:
    caller = await Caller.connect(address)
    caller.transport.write(first)
    return caller


async def drip(callers: list[Caller]) -> None:
    """A byte of a head now and then, which must not buy time."""
    while True:
        await asyncio.sleep(DRIP_S)
        for caller in callers:
            if not caller.ended.is_set():
                caller.transport.write(b"a")


async def dammed(stage: Stage, readers: int) -> None:
    """Wait until every stream stands still: the proxy takes no more of it."""

    def still() -> bool:
        floods = [seen for seen in stage.provider.log if streams(seen)]
        return len(floods) == readers and not any(seen.line.writable.is_set() for seen in floods)

    await asyncio.to_thread(eventually, still, 60.0)


@dataclass
class Siege:
    """What `each` callers of every kind came to, and the others beside them."""

    each: int
    alone: Traffic = field(default_factory=Traffic)
    beside: Traffic = field(default_factory=Traffic)
    built: int = 0  # answers that the others had before the last slow caller was there
    reader_kib: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    late_s: float = 0.0
    left_open: int = 0


async def besiege(stage: Stage, each: int, *, to_the_end: bool) -> Siege:
    """Readers first, whose memory is taken; then the others. `to_the_end`: until all are closed."""
    siege, running = Siege(each), True
    address, (worker,) = stage.server.traffic, worker_pids(stage.server)
    plain = request(address, chat("gpt-4o", "user-1"))
    await closed_loop(address, repeat(plain, 1000), siege.alone, connections=OTHERS)
    others = asyncio.create_task(
        closed_loop(address, takewhile(lambda _: running, repeat(plain)), siege.beside, connections=OTHERS)
    )
    before_kib = resident_kib(worker)
    # A thousand full-size buffers bring the kernel under memory pressure: sockets then stop by themselves.
    text = "little at a time" if each > FULL_SIZE else "as much as there is"
    readers = [await slow_reader(address, text) for _ in range(each)]
    await dammed(stage, each)
    siege.reader_kib = (resident_kib(worker) - before_kib) / each
    began = time.monotonic()
    idle = [await connect(address, b"") for _ in range(each)]
    heads = [await connect(address, HEAD) for _ in range(each)]
    bodies = [await connect(address, BODY) for _ in range(each)]
    dripping = asyncio.create_task(drip(heads))
    siege.built = len(siege.beside.took_s)
    siege.statuses = Counter([(await caller.answer()).status for caller in [*heads, *bodies]])
    siege.late_s = time.monotonic() - began
    siege.left_open = sum(not caller.ended.is_set() for caller in [*idle, *readers])
    dripping.cancel()
    if to_the_end:
        await until_closed(stage, idle, began)
    running = False
    await others
    for caller in [*readers, *idle]:
        caller.leave()
    return siege


async def until_closed(stage: Stage, idle: list[Caller], began: float) -> None:
    """Wait for the deadlines of readers (seen at the provider, whose stream is given up) and of the idle."""
    floods = [seen for seen in stage.provider.log if streams(seen)]
    await asyncio.to_thread(eventually, lambda: all(seen.left_at for seen in floods), 100.0)
    assert not any(caller.ended.is_set() for caller in idle)
    lasted = [seen.left_at - seen.at for seen in floods if seen.left_at is not None]
    await asyncio.gather(*(caller.ended.wait() for caller in idle))
    print(
        f"\nR11: {len(floods)} readers dropped after {min(lasted):.1f} to {max(lasted):.1f} s (60 s each), "
        f"{len(idle)} idle closed after {time.monotonic() - began:.1f} s (75 s each)"
    )


@pytest.fixture(scope="module", params=[FULL_SIZE, pytest.param(1000, marks=pytest.mark.slow)])
def siege(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Siege:
    each: int = request.param
    with (
        rigged(tmp_path_factory.mktemp("r11"), CONFIG, {"only": play}) as stage,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(besiege(stage, each, to_the_end=each > FULL_SIZE))


@pytest.mark.timeout(240)
def test_slow_heads_and_bodies_are_told_408_while_the_others_may_stay(siege: Siege) -> None:
    assert siege.statuses == {408: 2 * siege.each}
    assert siege.left_open == 2 * siege.each
    print(
        f"\nR11: {siege.each} heads and {siege.each} bodies told 408, "
        f"the last after {siege.late_s:.1f} s (10 s each)"
    )


def test_others_notice_nothing(siege: Siege) -> None:
    assert {*siege.alone.statuses, *siege.beside.statuses} == {200}
    assert siege.alone.broken == siege.beside.broken == 0
    p99 = [percentile(took, 0.99) * 1e3 for took in (siege.alone.took_s, siege.beside.took_s[siege.built :])]
    print(
        f"\nR11: {siege.beside.statuses.total()} requests beside {4 * siege.each} slow callers, 0 failures; "
        f"p99 {p99[0]:.1f} ms alone, {p99[1]:.1f} ms beside"
    )


def test_a_slow_reader_holds_little_memory(siege: Siege) -> None:
    print(
        f"\nR11: {siege.reader_kib:.0f} KiB resident for each of {siege.each} slow readers "
        f"(target {MOST_KIB_A_READER})"
    )
    assert siege.reader_kib <= MOST_KIB_A_READER
