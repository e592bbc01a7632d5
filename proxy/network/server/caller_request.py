"""One request and the response to it, as the handler sees them."""

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import Protocol

from proxy.network.flow import TransportFlow

Headers = Sequence[tuple[bytes, bytes]]
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_TEXT = bytes(byte for byte in range(256) if byte == 9 or (byte >= 32 and byte != 127))


def _status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}".encode()


STATUS_LINE = {status: _status_line(status) for status in range(100, 600)}


def sendable(headers: Headers) -> bool:
    """True when all names are tokens and all values are field text (RFC 9110 §5.5, §5.6.2)."""
    if not headers:
        return True
    names, values = zip(*headers, strict=True)
    return (
        all(names)
        and not b"".join(names).translate(None, _TOKEN)
        and not b"".join(values).translate(None, _TEXT)
    )


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
UNREAD_LIMIT = 64 * 1024
"""Body bytes that may wait for the handler before reading pauses."""

log = logging.getLogger("uvicorn.error")

Handler = Callable[["CallerRequest"], Awaitable[None]]


class RequestConnection(Protocol):
    """The connection, as its requests see it."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: TransportFlow

    def resume_reading(self) -> None: ...
    def responded(self, incoming: "CallerRequest") -> None: ...
    def reject(self, status: int, message: str) -> None: ...
    def cancel(self) -> None: ...
    def has_left(self) -> bool: ...
    def switched(self) -> bytes: ...
    def hang_up(self) -> None: ...


class CallerRequest:
    """One request. The handler is cancelled when the caller leaves before the end of the response.

    `path`: raw, ASCII. `query`: raw. `headers`: names in lower case, in order, without trailers. `more`: body
    bytes may still arrive. `paused`: the caller reads too slowly; call `drain`.
    """

    __slots__ = (
        "_began",
        "_bodiless",
        "_chunked",
        "_connection",
        "_head",
        "_left",
        "_parts",
        "_size",
        "_waiter",
        "complete",
        "continues",
        "gone",
        "headers",
        "keep_alive",
        "method",
        "more",
        "old",
        "path",
        "query",
        "started",
        "switched",
        "upgrades",
    )  # fmt: skip

    def __init__(
        self,
        connection: RequestConnection,
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
        """`old`: HTTP/1.0. `continues`: the caller waits for a 100 before it sends its body. `upgrades`: the
        caller asks for another protocol on this connection."""
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
        self._connection = connection
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
        """The caller's address and port. (asyncio's name of an IPv6 peer has two more parts.)"""
        peer = self._connection.transport.get_extra_info("peername")
        return (peer[0], peer[1]) if peer else None

    def taken(self) -> bytes | None:
        """Take the body if all of it has arrived in one piece, usually with the head; None otherwise."""
        if self.more or len(self._parts) != 1:
            return None
        self._size = 0
        return self._parts.pop()

    async def read(self) -> bytes:
        """Return the next body bytes; b"" at the end.

        Raises CancelledError when the caller left before the end, so that a partial body is never taken for a
        complete one.
        """
        if self.continues and not self.gone:
            self._connection.transport.write(CONTINUE)
            self.continues = False
        while not self._parts:
            if self.gone and not self.switched:
                raise asyncio.CancelledError
            if not self.more:
                return b""
            self._connection.resume_reading()
            self._waiter = self._connection.loop.create_future()
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
        """Set the response's head, which is sent with the next `write` or `end` in one write.

        `headers` must be `sendable` and have no framing fields. The body is framed by `length`, or chunked
        when `length` is None. Without `reason` the status has its standard phrase.
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
        if self.more:  # the rest of its body may never be read
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close")
        lines.append(b"\r\n")
        self._head = b"\r\n".join(lines)

    def write(self, data: bytes) -> None:
        """Send body bytes; b"" sends the head alone, when the body may take long."""
        self._send(data, last=False)

    def end(self, data: bytes = b"") -> None:
        """Send the last body bytes."""
        self._send(data, last=True)
        self.complete = True
        if not self.gone:
            self._connection.responded(self)

    @property
    def paused(self) -> bool:
        """True while the caller reads too slowly."""
        return self._connection.flow.write_paused

    async def drain(self) -> None:
        """Wait until the caller has read most of the written bytes."""
        await self._connection.flow.drain()

    def cut(self) -> None:
        """Close the connection after the written bytes, so that the caller sees a broken response."""
        if self.old:
            self.abort()
        else:
            self.gone = True
            self._connection.transport.close()

    def abort(self) -> None:
        """Close at once, so that the caller sees a broken response. HTTP/1.0 callers need a RST for that."""
        self.gone = True
        self._head = None
        transport = self._connection.transport
        if self.old and not transport.is_closing():
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def has_left(self) -> bool:
        """True when the caller has left without anybody noticing. It can have only if `keep_alive` is False,
        since a caller that shuts down its sending side asks no more."""
        return self._connection.has_left()

    # For the handler: another protocol on this connection

    def switch(self, headers: Headers) -> None:
        """Accept the requested WebSocket: `read` and `write` then take raw bytes until `close` or `abort`.

        A caller that leaves ends what `read` returns and cancels nothing.
        """
        self.started = self.switched = self.more = True
        lines = [STATUS_LINE[101], *map(b": ".join, headers)]
        lines += [b"connection: Upgrade", b"upgrade: websocket", b"\r\n"]
        self._send(b"\r\n".join(lines), last=False)
        if early := self._connection.switched():
            self.feed(early)

    def close(self) -> None:
        """Close a switched connection after the written bytes have been sent."""
        self.complete = True
        self._connection.hang_up()

    # For the protocol

    async def run(self, handle: Handler) -> None:
        """Run the handler. An unfinished response becomes a 500, or a cut connection once bytes are out."""
        self._began = True
        if self.gone:  # left while queued: still an exchange, which ends like any other that is left
            self._connection.cancel()
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
                self._connection.reject(500, "Internal Server Error")

    @property
    def answering(self) -> bool:
        """True once bytes of the response have been sent."""
        return self.started and self._head is None

    def feed(self, body: bytes) -> None:
        """Take request body bytes."""
        self._parts.append(body)
        self._size += len(body)
        if self._size > UNREAD_LIMIT:
            self._connection.flow.pause_reading()
        if self._waiter is not None:
            self._wake(self._waiter)

    def received(self) -> None:
        """Called when the request is complete."""
        self.more = False
        if self._waiter is not None:
            self._wake(self._waiter)

    def leave(self) -> None:
        """Called when the caller has left."""
        self.gone = True
        if self.switched:
            self.received()
        elif self._began:
            self._connection.cancel()

    # Inside

    def _wake(self, waiter: asyncio.Future[None]) -> None:
        if not waiter.done():
            waiter.set_result(None)

    def _send(self, data: bytes, *, last: bool) -> None:
        """Frame body bytes and send them, behind the head unless that is out."""
        if self._bodiless:
            data = b""
        elif self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if last:
                data += b"0\r\n\r\n"
        elif self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                raise RuntimeError("the response body is longer than its Content-Length")
            if last and self._left:
                raise RuntimeError("the response body is shorter than its Content-Length")
        if self.gone:
            return
        if self._head is not None:
            data, self._head = self._head + data, None
        if data:
            self._connection.transport.write(data)
