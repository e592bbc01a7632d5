"""R18, delay: what a provider flushes reaches the caller before the provider goes on, piece by piece, and how
long that takes beside the direct way. (That the bytes are the same is held by tests/e2e/test_fidelity_*.py.)

The provider sends a piece only when the caller has the one before: what is held back or put together would
stop the stream. Two stated exceptions are kept to: a candidate's first event is sent whole, and the caller
asks for the usage itself (else what follows the finishing event goes out by whole events).
"""

import asyncio
import socket
import time
import zlib
from collections.abc import Iterator

import pytest

from tests.e2e.stage import Stage, chat
from tests.reliability.answers import SSE, chunk, event, events, head
from tests.reliability.callers import connected, request
from tests.reliability.fault_provider import Seen
from tests.reliability.rig import percentile, rigged
from tests.reliability.strict_http import Reader

CONFIG = """
providers:
  openai: {api: openai, base_url: "<only>/v1"}
canaries:
  - name: delay
    match: {models: [delay]}
    baseline: {provider: openai, model: delay}
    candidate: {provider: openai, model: delay-candidate}
    share: 50%
    guardrails: []
"""
EVENTS = 300
ARMS = ("baseline", "candidate")
GZIP = b"content-encoding: gzip\r\n"


def slices(data: bytes, size: int) -> list[bytes]:
    """Cut without regard to events and characters."""
    return [data[start : start + size] for start in range(0, len(data), size)]


def zipped(parts: list[bytes]) -> list[bytes]:
    """Each part compressed and flushed."""
    deflate = zlib.compressobj(wbits=31)
    flushed = [deflate.compress(part) + deflate.flush(zlib.Z_SYNC_FLUSH) for part in parts]
    return [*flushed, deflate.flush()]


LONG = [event("m", {"content": f"{number} h\u00e9llo \u2603"}) for number in range(EVENTS)]
SNOW = "data: " + "\u2603\U0001f426" * 40 + "\n\n"
SHAPES: dict[str, tuple[bytes, list[bytes]]] = {
    # name: (fields, what is flushed piece by piece). A first piece is whole, for the candidate's sake.
    "events": (SSE, [*LONG, *events("m")]),
    "characters in two": (SSE, [events("m")[0], *slices(SNOW.encode() * 2, 3), *events("m")]),
    "gzip": (SSE + GZIP, zipped([*LONG[:50], *events("m")])),
}


class Lockstep:
    """A provider that waits for its caller after each piece. `sent_at`: when each was written."""

    def __init__(self) -> None:
        self.sent_at: list[float] = []
        self.taken = asyncio.Event()

    async def play(self, seen: Seen) -> None:
        """One shape, named by the request."""
        name = next(name for name in SHAPES if name.encode() in seen.message.body)
        fields, pieces = SHAPES[name]
        self.sent_at = []
        seen.write(head(200, fields))
        for piece in pieces:
            self.taken.clear()
            self.sent_at.append(time.monotonic())
            seen.write(chunk(piece))
            await self.taken.wait()
        seen.write(chunk(b""))


@pytest.fixture(scope="module")
def lockstep() -> Lockstep:
    return Lockstep()


@pytest.fixture(scope="module")
def stage(lockstep: Lockstep, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with rigged(tmp_path_factory.mktemp("r18"), CONFIG, {"only": lockstep.play}) as up:
        yield up


def take(stage: Stage, lockstep: Lockstep, line: socket.socket, pieces: list[bytes]) -> list[float]:
    """Read a stream piece by piece, telling the provider of each; the seconds that each took."""
    reader, came, expected, delays = Reader(responses=True), b"", b"", []
    for place, piece in enumerate(pieces):
        expected += piece
        while len(came) < len(expected):
            data = line.recv(1 << 16)
            now = time.monotonic()
            assert data, f"closed before piece {place}"
            assert not reader.feed(data), "ended early"
            message = reader.under_way
            came = bytes(message.body) if message is not None else b""
        assert came == expected
        delays.append(now - lockstep.sent_at[place])
        stage.provider.loop.call_soon_threadsafe(lockstep.taken.set)
    while not (done := reader.feed(line.recv(1 << 16))):
        pass
    assert bytes(done[0].body) == expected
    return delays


@pytest.mark.parametrize("shape", SHAPES)
def test_every_flush_arrives_before_the_next(stage: Stage, lockstep: Lockstep, shape: str) -> None:
    pieces = SHAPES[shape][1]
    ways = {"directly": (stage.provider.url("only"), "user-1")}
    ways |= {arm: (stage.server.traffic, next(stage.users(arm, "delay", 0.5))) for arm in ARMS}
    for way, (address, user) in ways.items():
        body = chat("delay", user, stream=True, text=shape) | {"stream_options": {"include_usage": True}}
        with connected(address) as line:
            line.sendall(request(address, body))
            delays = [each * 1e3 for each in take(stage, lockstep, line, pieces)]
        print(
            f"\nR18 {shape}, {way}: {len(delays)} flushes one by one, byte for byte; delay "
            f"p50 {percentile(delays, 0.5):.2f} ms, p99 {percentile(delays, 0.99):.2f} ms"
        )
