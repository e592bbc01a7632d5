"""One caller's connection to the demo provider: reads requests, writes raw bytes, sees the caller leave.

It can break a connection in every way a provider can; a web framework would not allow that.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

import httptools

Headers = tuple[tuple[str, str], ...]
MAX_BODY = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A received request. `target` is raw, `path` decoded, header names lower case, `mono` in seconds."""

    method: str
    target: str
    headers: Headers
    body: bytes
    keep_alive: bool
    mono: float

    @property
    def path(self) -> str:
        """The decoded path without the query."""
        return unquote(urlsplit(self.target).path)

    def query(self, name: str) -> str | None:
        """The first value of a query parameter."""
        return next(iter(parse_qs(urlsplit(self.target).query).get(name, ())), None)

    def header(self, name: str) -> str | None:
        """The first header with this lower-case name."""
        return next((value for key, value in self.headers if key == name), None)


class CallerLeft(Exception):
    """The caller closed the connection while an answer was due."""


class LocalConnection(asyncio.Protocol):
    """Passes requests one by one to `serve`; pipelined requests wait."""

    def __init__(self, serve: Callable[[Request, "LocalConnection"], Awaitable[None]]) -> None:
        self._serve = serve
        self._parser = httptools.HttpRequestParser(self)
        self._requests: asyncio.Queue[Request | None] = asyncio.Queue()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._transport: asyncio.Transport
        self._target, self._headers, self._body = b"", list[tuple[str, str]](), bytearray()
        self.left_mono: float | None = None
        self.sent_bytes = 0

    async def run(self) -> None:
        """Serve requests until the connection ends."""
        while (request := await self._requests.get()) is not None:
            with suppress(CallerLeft):
                await self._serve(request, self)
            if not request.keep_alive:
                self.close()

    # For answers

    def write(self, data: bytes) -> None:
        """Send bytes. Raises CallerLeft."""
        if self._gone.is_set():
            raise CallerLeft
        self.sent_bytes += len(data)
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the write buffer has room. Raises CallerLeft."""
        await self._writable.wait()
        if self._gone.is_set():
            raise CallerLeft

    async def idle(self, seconds: float | None) -> None:
        """Wait for some seconds (None: forever). Raises CallerLeft as soon as the caller leaves."""
        if seconds == 0.0 and not self._gone.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._gone.wait()
        if self._gone.is_set():
            raise CallerLeft

    def close(self) -> None:
        """Flush, then close with a FIN."""
        self._transport.close()

    def reset(self) -> None:
        """Close with a RST."""
        peer = self._transport.get_extra_info("socket")  # None once it is closed
        with suppress(OSError, AttributeError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by behaviour only
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.write(head(400, (("content-length", "0"), ("connection", "close"))))
            self._transport.close()

    def eof_received(self) -> None:
        self._leave()

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._requests.put_nowait(None)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _leave(self) -> None:
        if self.left_mono is None:
            self.left_mono = time.monotonic()
        self._gone.set()
        self._writable.set()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self._target, self._headers, self._body = b"", [], bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        if ("expect", "100-continue") in self._headers:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY:
            self.reset()

    def on_message_complete(self) -> None:
        self._requests.put_nowait(
            Request(
                method=self._parser.get_method().decode(),
                target=self._target.decode("latin-1"),
                headers=tuple(self._headers),
                body=bytes(self._body),
                keep_alive=self._parser.should_keep_alive(),
                mono=time.monotonic(),
            )
        )


def head(status: int, headers: Headers) -> bytes:
    """An answer's status line and headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"HTTP/1.1 {status} {_reason(status)}\r\n{lines}\r\n".encode("latin-1")


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112 §7.1); the empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _reason(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus.__members__.values() else "Overloaded"
