"""A provider made of a bare listening socket: each test plays its side of the connection byte by byte."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamResponse
from proxy.providers.provider import Provider, Timeout

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@dataclass
class Request:
    """What the provider read of one request."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes


@dataclass
class Wire:
    """The provider's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the play is over: after `closed`, when the proxy has closed."""

    async def head(self) -> Request:
        """Read a request's head only."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *fields = raw[:-4].split(b"\r\n")
        pairs = (field.split(b": ", 1) for field in fields)
        return Request(line, [(name, value) for name, value in pairs], b"")

    async def request(self) -> Request:
        """Read a whole request."""
        request = await self.head()
        headers = dict(request.headers)
        if b"content-length" in headers:
            request.body = await self.reader.readexactly(int(headers[b"content-length"]))
        elif headers.get(b"transfer-encoding") == b"chunked":
            while size := int(await self.reader.readline(), 16):
                request.body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        return request

    async def send(self, *pieces: bytes) -> None:
        """Write the pieces, each in a turn of the loop of its own."""
        for piece in pieces:
            self.writer.write(piece)
            await asyncio.sleep(0)

    async def closed(self) -> bytes:
        """Wait until the proxy has closed; what it sent before, b"" also after a reset."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""

    def reset(self) -> None:
        """Close with a RST."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Play = Callable[[Wire], Awaitable[None]]


@dataclass
class RawProvider:
    """Listens while it is entered; runs `play` for each connection, and closes the connection after it."""

    play: Play
    tls: ssl.SSLContext | None = None
    wires: list[Wire] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    port: int = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for wire in self.wires:
            wire.writer.transport.abort()
        await self._server.wait_closed()
        if exc is None and self.failures:
            raise self.failures[0]

    def entry(
        self,
        *,
        base_path: str = "",
        host: str = "127.0.0.1",
        ca_file: str | None = None,
        timeout: Timeout | None = None,
    ) -> Provider:
        """The config entry that leads here."""
        scheme = "https" if self.tls else "http"
        return Provider(
            name="raw",
            api="openai",
            base_url=f"{scheme}://{host}:{self.port}{base_path}",
            ca_file=ca_file,
            timeout=timeout or Timeout(),
        )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        self.wires.append(wire)
        try:
            await self.play(wire)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except BaseException as exc:
            self.failures.append(exc)
        finally:
            writer.close()
            wire.ended.set()


def playing(*responses: bytes, then_close: bool = False) -> Play:
    """Answer each request with the next response."""

    async def play(wire: Wire) -> None:
        for response in responses:
            await wire.request()
            await wire.send(response)
        if not then_close:
            await wire.closed()

    return play


@asynccontextmanager
async def pool(**settings: Any) -> AsyncIterator[Upstreams]:
    """The pool under test, closed at the end."""
    upstreams = Upstreams(**settings)
    try:
        yield upstreams
    finally:
        await upstreams.close()


async def post(upstreams: Upstreams, provider: Provider, body: Any = b"{}", **more: Any) -> UpstreamResponse:
    """Send a plain request; `more` overrides its parts."""
    call = {
        "limit_key": "baseline",
        "method": b"POST",
        "target": b"/v1/chat",
        "headers": [],
        "streaming": False,
    }
    return await upstreams.send(provider, body=body, **(call | more))


async def read_all(answer: UpstreamResponse) -> bytes:
    """The body to its end."""
    body = b""
    while piece := await answer.read():
        body += piece
    return body


async def turns(count: int = 300) -> None:
    """Let the loop turn: on loopback, what can move has moved by then."""
    for _ in range(count):
        await asyncio.sleep(0)
