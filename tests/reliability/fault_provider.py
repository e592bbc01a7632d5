"""A provider of bare sockets that fails on purpose, and keeps the log that the tests take for the truth.

It has a *door* for each play: an address of its own, so that one play's broken connections are never
another's kept ones. A play answers one request, byte by byte.
"""

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import msgspec
import uvloop

from tests.reliability.strict_http import Ambiguous, Message, Reader
from tests.serving import WAIT_S


class _Asked(msgspec.Struct):
    model: str = ""


@dataclass(slots=True)
class Seen:
    """One request that arrived. Times are CLOCK_MONOTONIC seconds; `left_at` is when the proxy closed the
    connection before the play was over (`left` is set then)."""

    door: str
    message: Message
    line: "Line"
    at: float
    left: asyncio.Event = field(default_factory=asyncio.Event)
    left_at: float | None = None
    over: bool = False

    @property
    def model(self) -> str:
        """The model in its body; "" where there is none."""
        try:
            return msgspec.json.decode(self.message.body, type=_Asked).model
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return ""

    def write(self, *pieces: bytes) -> None:
        """Send bytes; nothing once the proxy has gone."""
        for piece in pieces:
            if not self.line.transport.is_closing():
                self.line.transport.write(piece)

    async def flushed(self) -> None:
        """Let the loop write what was written, so that a reset behind it destroys nothing."""
        for _ in range(3):
            await asyncio.sleep(0)
        assert self.line.transport.get_write_buffer_size() == 0

    def reset(self) -> None:
        """Close with a RST."""
        self.over = True
        sock = self.line.transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.line.transport.abort()

    def finish(self) -> None:
        """Close with a FIN, after what was written."""
        self.over = True
        self.line.transport.close()


Play = Callable[[Seen], Awaitable[None]]


class Line(asyncio.Protocol):
    """One connection from the proxy."""

    def __init__(self, provider: "FaultProvider", door: str) -> None:
        self._provider = provider
        self._door = door
        self._reader = Reader()
        self._running: Seen | None = None
        self.transport: asyncio.Transport
        self.raw = bytearray()
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is one by behaviour only
        self._provider.open_lines.add(self)

    def data_received(self, data: bytes) -> None:
        if self._provider.keeps_raw:
            self.raw += data
        try:
            for message in self._reader.feed(data):
                self._begin(message)
        except Ambiguous as why:
            self._provider.violations.append(f"{why} in {bytes(self.raw or data)!r}")
            self.transport.abort()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._provider.open_lines.discard(self)
        self.writable.set()
        self._leave()

    def _begin(self, message: Message) -> None:
        seen = Seen(self._door, message, self, time.monotonic())
        self._provider.log.append(seen)
        if self._running is not None:
            self._provider.violations.append(f"{message.start!r} before the answer to the one before")
            self.transport.abort()
            return
        self._running = seen
        self._provider.play(seen, self._ended)

    def _ended(self) -> None:
        self._running = None

    def _leave(self) -> None:
        seen = self._running
        if seen is not None and seen.left_at is None and not seen.over:
            seen.left_at = time.monotonic()
            seen.left.set()


class FaultProvider:
    """Listens on a thread of its own while entered. `log` is every request in order of arrival, `violations`
    what was not strictly HTTP/1.1, `failures` what a play raised."""

    def __init__(self, plays: Mapping[str, Play], *, keeps_raw: bool = False) -> None:
        self.keeps_raw = keeps_raw
        self.log: list[Seen] = []
        self.open_lines: set[Line] = set()
        self.violations: list[str] = []
        self.failures: list[BaseException] = []
        self.loop = uvloop.new_event_loop()
        self._plays = dict(plays)
        self._ports: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fault-provider")

    def url(self, door: str) -> str:
        """The door's address, without a trailing slash."""
        return f"http://127.0.0.1:{self._ports[door]}"

    def of(self, door: str) -> list[Seen]:
        """What came through one door."""
        return [seen for seen in self.log if seen.door == door]

    def replay(self, door: str, play: Play) -> None:
        """Another play behind a door, from the next request on."""
        self._plays[door] = play

    def play(self, seen: Seen, ended: Callable[[], None]) -> None:
        """Answer one request; `ended` is called when the play is over."""
        task = self.loop.create_task(self._play(seen, ended))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _play(self, seen: Seen, ended: Callable[[], None]) -> None:
        try:
            await self._plays[seen.door](seen)
        except Exception as exc:
            self.failures.append(exc)
        finally:
            seen.over = True
            ended()

    def __enter__(self) -> "FaultProvider":
        self._thread.start()
        assert self._ready.wait(WAIT_S), "the fault provider did not start"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_S)
        self.loop.close()
        if exc is None:
            assert self.failures == []

    def _run(self) -> None:
        self.loop.run_until_complete(self._serve())

    async def _serve(self) -> None:
        servers = []
        for door in self._plays:
            server = await self.loop.create_server(
                lambda door=door: Line(self, door), "127.0.0.1", 0, backlog=8192
            )
            self._ports[door] = server.sockets[0].getsockname()[1]
            servers.append(server)
        self._ready.set()
        await self._stop.wait()
        for server in servers:
            server.close()
        for line in list(self.open_lines):
            line.transport.abort()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
