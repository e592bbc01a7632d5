"""One request of a caller and our response to it, as its handler sees them."""

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Protocol

from proxy.server.flow import Flow
from proxy.server.head import STATUS_LINE, Headers

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
UNREAD_LIMIT = 64 * 1024
"""Body bytes that may wait for the handler before the socket is left alone."""

log = logging.getLogger("uvicorn.error")

Handler = Callable[["Incoming"], Awaitable[None]]


class RequestConnection(Protocol):
    """The connection as its requests see it."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: Flow

    def resume_reading(self) -> None:
        """Read on; the time we did not read is not the caller's."""

    def responded(self, incoming: "Incoming") -> None:
        """A response is complete."""

    def reject(self, status: int, message: str) -> None:
        """Answer in place of the request that is running, and close."""

    def cancel(self) -> None:
        """Cancel the handler."""

    def switched(self) -> bytes:
        """The request is another protocol's now; what came of that already."""
        ...

    def hang_up(self) -> None:
        """The other protocol has ended."""


class Incoming:
    """What a handler reads from and answers to. When the caller leaves before the response's end, the
    handler is cancelled.

    `path` is raw and ASCII, `query` raw, `headers` lower-cased names in order, without trailers; `more` says
    that body bytes may still come. `paused` is True while the caller is behind in reading: `drain` then.
    """

    __slots__ = (
        "_began", "_bodiless", "_chunked", "_head", "_left", "_line", "_parts", "_size", "_waiter",
        "complete", "continues", "gone", "headers", "keep_alive", "method", "more", "old", "path", "query",
        "started", "switched", "upgrades",
    )  # fmt: skip

    def __init__(
        self,
        line: RequestConnection,
        method: str,
        path: str,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        *,
        old: bool,
        keep_alive: bool,
        continues: bool,
        upgrades: bool,
    ) -> None:
        """`old`: HTTP/1.0. `continues`: the caller waits for a 100 before it sends its body. `upgrades`: it
        asks for another protocol on this connection."""
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.old = old
        self.keep_alive = keep_alive
        self.continues = continues
        self.upgrades = upgrades
        self.more = True
        self.gone = self.started = self.switched = self.complete = False
        self._line = line
        self._began = False
        self._parts: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._head: bytes | None = None
        self._bodiless = method == "HEAD"
        self._chunked = False
        self._left: int | None = None

    # For the handler: the request's body

    @property
    def client(self) -> tuple[str, int] | None:
        """The caller's address and port. An IPv6 name has two parts more."""
        peer = self._line.transport.get_extra_info("peername")
        return (peer[0], peer[1]) if peer else None

    def taken(self) -> bytes | None:
        """The body, if all of it is here and none was read before; most often it came with the head."""
        if self.more or len(self._parts) != 1:
            return None
        self._size = 0
        return self._parts.pop()

    async def read(self) -> bytes:
        """The next body bytes; b"" at the end. CancelledError when the caller has left before it: what has
        come must not pass for a whole request."""
        if self.continues and not self.gone:
            self._line.transport.write(CONTINUE)
            self.continues = False
        while not self._parts:
            if self.gone and not self.switched:
                raise asyncio.CancelledError
            if not self.more:
                return b""
            self._line.resume_reading()
            self._waiter = self._line.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        parts, self._parts = self._parts, []
        self._size = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # For the handler: the response

    def start(
        self, status: int, headers: Headers, *, length: int | None, reason: bytes | None = None
    ) -> None:
        """The response's head, which waits for the next `write` or `end`, so that both leave in one write.

        `headers` are `sendable` and do not frame the message: that is done here, by a `length` that is known
        or in chunks. Without a `reason` the standard's phrase stands beside the status.
        """
        if self.started:
            raise RuntimeError("the response has started already")
        self.started = True
        self.continues = False
        first = STATUS_LINE[status] if reason is None else b"HTTP/1.1 %d %b" % (status, reason)
        lines = [first, *map(b": ".join, headers)]
        if status in (204, 304):
            self._bodiless = True
        if length is not None:
            self._left = length
            lines.append(b"content-length: %d" % length)
        elif not self.old and not self._bodiless:
            self._chunked = True
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append(b"connection: close")
        lines.append(b"\r\n")
        self._head = b"\r\n".join(lines)

    def write(self, data: bytes) -> None:
        """Body bytes; b"" sends the head alone, for bytes that may be long in coming."""
        if self._chunked:
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
        else:
            data = self._measured(data)
        self._send(data)

    def end(self, data: bytes = b"") -> None:
        """The last body bytes."""
        if self._chunked:
            data = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data) if data else b"0\r\n\r\n"
        else:
            data = self._measured(data)
            if self._left and not self._bodiless:
                raise RuntimeError("the response body is shorter than its Content-Length")
        self._send(data)
        self.complete = True
        if not self.gone:
            self._line.responded(self)

    @property
    def paused(self) -> bool:
        """The caller is behind in reading what was written."""
        return self._line.flow.write_paused

    async def drain(self) -> None:
        """Wait until the caller has caught up."""
        await self._line.flow.drain()

    def cut(self) -> None:
        """End broken, visibly, once what was written has gone out."""
        if self.old:
            self.abort()
        else:
            self.gone = True
            self._line.transport.close()

    def abort(self) -> None:
        """End broken, visibly, and at once. Without a length only a RST says so to an HTTP/1.0 caller."""
        self.gone = True
        self._head = None
        transport = self._line.transport
        if self.old and not transport.is_closing():
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    # For the handler: another protocol on this connection

    def switch(self, headers: Headers) -> None:
        """Agree to the WebSocket that was asked for: `read` and `write` are raw bytes from here on, until
        `close` or `abort`. A caller that leaves is the end of what there is to read, and cancels nothing."""
        self.started = self.switched = self.more = True
        lines = [STATUS_LINE[101], *map(b": ".join, headers)]
        lines += [b"connection: Upgrade", b"upgrade: websocket", b"\r\n"]
        self._send(b"\r\n".join(lines))
        if early := self._line.switched():
            self.feed(early)

    def close(self) -> None:
        """Close a switched connection when all that was written has gone out."""
        self.complete = True
        self._line.hang_up()

    # For the protocol

    async def run(self, handle: Handler) -> None:
        """Handle it; an unfinished response is a 500 while nothing has left, else a broken connection."""
        self._began = True
        if self.gone:  # before its turn came: still an exchange, and it ends as others do that are left
            self._line.cancel()
        try:
            await handle(self)
        except BaseException as problem:
            if not self.gone:
                log.error("the handler of a request crashed", exc_info=problem)
        if not self.complete and not self.gone:
            if self.started and self._head is None:
                self.abort()
            else:
                self._head = None
                self._line.reject(500, "Internal Server Error")

    @property
    def answering(self) -> bool:
        """Some of the response has left."""
        return self.started and self._head is None

    def feed(self, body: bytes) -> None:
        """Request body bytes."""
        self._parts.append(body)
        self._size += len(body)
        if self._size > UNREAD_LIMIT:
            self._line.flow.pause_reading()
        self._wake()

    def received(self) -> None:
        """The request has come whole."""
        self.more = False
        self._wake()

    def leave(self) -> None:
        """The caller has gone."""
        self.gone = True
        if self.switched:
            self.received()
        elif self._began:
            self._line.cancel()

    # Inside

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _measured(self, data: bytes) -> bytes:
        if self._bodiless:
            return b""
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise RuntimeError("the response body is longer than its Content-Length")
        return data

    def _send(self, data: bytes) -> None:
        if self.gone:
            return
        if self._head is not None:
            data, self._head = self._head + data, None
        if data:
            self._line.transport.write(data)
