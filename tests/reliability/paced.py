"""Many streams at an even pace through the server, and how late their events reach the callers."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.e2e.stage import Stage, chat
from tests.reliability.answers import SSE, chunk, event, head
from tests.reliability.callers import request
from tests.reliability.fault_provider import Seen

EVERY_S = 0.1
_STAMP = re.compile(rb"@(\d+\.\d+)@")


async def paced(seen: Seen) -> None:
    """The play: an event ten times a second that says when it was sent, until the proxy leaves."""
    seen.write(head(200, SSE))
    while not seen.left.is_set():
        seen.write(chunk(event("m", {"content": f"@{time.monotonic():.6f}@"})))
        await asyncio.sleep(EVERY_S)


class Listener(asyncio.Protocol):
    """One caller of a stream. `heard` is told when each event was sent and when it came."""

    def __init__(self, heard: Callable[[float, float], None]) -> None:
        self._heard = heard

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        for stamp in _STAMP.findall(data):
            self._heard(float(stamp), now)


class PacedStreams:
    """Streams under way. `events` counts what came."""

    def __init__(self) -> None:
        self.events = 0
        self._since = 0.0
        self._worst_s = 0.0

    def begin(self) -> None:
        """From here on it counts how late an event is."""
        self._since, self._worst_s = time.monotonic(), 0.0

    @property
    def worst_s(self) -> float:
        """The longest that an event took which was sent since `begin`."""
        return self._worst_s

    def heard(self, sent_at: float, now: float) -> None:
        """An event has come."""
        self.events += 1
        if sent_at >= self._since:
            self._worst_s = max(self._worst_s, now - sent_at)


@contextmanager
def paced_streams(stage: Stage, model: Callable[[int], str], count: int) -> Iterator[PacedStreams]:
    """So many streams, begun one after the other within a pace, so that some event is always under way.

    Callers and provider share one thread: an event's two times are of one clock and of one queue.
    """
    streams, loop = PacedStreams(), stage.provider.loop  # type: ignore[attr-defined]
    host, port = stage.server.traffic.removeprefix("http://").split(":")
    transports: list[asyncio.BaseTransport] = []

    async def open_all() -> None:
        for number in range(count):
            transport, _ = await loop.create_connection(lambda: Listener(streams.heard), host, int(port))
            body = chat(model(number), f"user-{number}", stream=True)
            transport.write(request(stage.server.traffic, body))
            transports.append(transport)
            await asyncio.sleep(EVERY_S / count)

    asyncio.run_coroutine_threadsafe(open_all(), loop).result(30.0)
    try:
        yield streams
    finally:
        for transport in transports:
            loop.call_soon_threadsafe(transport.abort)
