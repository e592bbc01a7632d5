"""One request and its response, as ASGI sees them: uvicorn's cycle, leaner, and able to end broken."""

import asyncio
import socket
import struct
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from proxy.server.head import Headers, breaks_after

if TYPE_CHECKING:
    from proxy.server.protocol import TrafficProtocol

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_OURS = frozenset([b"content-length", b"transfer-encoding", b"connection"])
"""Response fields that frame the message: written here, whatever the app said."""

Message = MutableMapping[str, Any]


class Cycle(RequestResponseCycle):
    """One exchange. The head waits for the first body bytes, so that both leave in one write."""

    task: asyncio.Task[None] | None = None
    disconnected = False
    response_started = False
    response_complete = False
    more_body = True
    told_end = False
    size = 0
    head: bytes | None = None
    chunked = False
    left: int | None = None
    waiter: asyncio.Future[None] | None = None
    on_disconnect: Callable[[], None] | None = None

    def __init__(
        self, protocol: "TrafficProtocol", scope: Message, *, keep_alive: bool, continues: bool
    ) -> None:
        # Not uvicorn's own: it would build an Event and hold what the protocol has already.
        self.protocol = protocol
        self.scope: Message = scope  # type: ignore[assignment]
        self.transport = protocol.transport
        self.flow = protocol.flow
        self.keep_alive = keep_alive
        self.waiting_for_100_continue = continues
        self.parts: list[bytes] = []
        self.bodiless = scope["method"] == "HEAD"
        self.old = scope["http_version"] == "1.0"
        scope["extensions"] = {"canary.disconnect": self.when_gone, "canary.abort": self.abort}

    # The scope's extensions

    def when_gone(self, callback: Callable[[], None]) -> None:
        """`canary.disconnect`: `callback` is called once if the caller goes before the response's end."""
        if self.disconnected:
            callback()
        else:
            self.on_disconnect = callback

    def abort(self) -> None:
        """`canary.abort`: end broken, visibly. Without a length only a RST says so to an HTTP/1.0 caller."""
        self.disconnected = True
        self.on_disconnect = None
        self.head = None
        if self.old and not self.transport.is_closing():
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    # What the protocol tells

    def feed(self, body: bytes) -> None:
        """Request body bytes."""
        self.parts.append(body)
        self.size += len(body)
        if self.size > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        self.wake()

    def wake(self) -> None:
        """Let a waiting `receive` look again."""
        if self.waiter is not None and not self.waiter.done():
            self.waiter.set_result(None)

    def vanish(self) -> None:
        """The caller has gone."""
        self.disconnected = True
        self.wake()
        callback, self.on_disconnect = self.on_disconnect, None
        if callback is not None:
            callback()

    # ASGI

    async def run_asgi(self, app: ASGI3Application) -> None:
        """Run the app; an unfinished response is a 500 while nothing has left, else a broken connection."""
        try:
            await app(self.scope, self.receive, self.send)  # type: ignore[arg-type]
        except BaseException as exc:
            self.protocol.logger.error("Exception in ASGI application\n", exc_info=exc)
        if not self.response_complete and not self.disconnected:
            self.protocol.logger.error("ASGI application left its response unfinished\n")
            if self.response_started and self.head is None:
                self.abort()
            else:
                self.head = None
                self.on_disconnect = None
                self.protocol.reject(500, "Internal Server Error")
        self.protocol.tasks.discard(cast(asyncio.Task[None], self.task))
        self.task = None
        self.scope = {}  # it holds our methods: without it no cycle is left to collect

    async def receive(self) -> Message:  # type: ignore[override]
        """ASGI receive."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(CONTINUE)
            self.waiting_for_100_continue = False
        while not self.disconnected and not self.response_complete:
            if self.parts or (not self.more_body and not self.told_end):
                self.told_end = not self.more_body
                body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
                self.parts = []
                self.size = 0
                return {"type": "http.request", "body": body, "more_body": self.more_body}
            self.protocol.resume_reading()
            self.waiter = self.protocol.loop.create_future()
            try:
                await self.waiter
            finally:
                self.waiter = None
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:  # type: ignore[override]
        """ASGI send."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.response_started and not self.response_complete:
            self._write(message.get("body", b""), message.get("more_body", False))
        elif kind == "http.response.start" and not self.response_started:
            self.head = self._head(message["status"], message.get("headers", ()))
            self.response_started = True
            self.waiting_for_100_continue = False
            if self.left is None:  # a stream's first bytes may be long in coming
                self.protocol.loop.call_soon(self._flush_head)
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r}")

    def _head(self, status: int, headers: Headers) -> bytes:
        fields = [*self.protocol.server_state.default_headers, *headers]
        lines = [STATUS_LINE[status][:-2]]
        for field in fields:
            if field[0] in _OURS:
                self._take(field)
            else:
                lines.append(b": ".join(field))
        if status in (204, 304):
            self.bodiless = True
        if self.left is not None:
            lines.append(b"content-length: %d" % self.left)
        elif not self.old and not self.bodiless:
            self.chunked = True
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append(b"connection: close")
        lines.append(b"\r\n")
        head = b"\r\n".join(lines)
        if not breaks_after(head, len(lines)):
            raise RuntimeError("a response header holds a line break")
        return head

    def _take(self, field: tuple[bytes, bytes]) -> None:
        name, value = field
        if name == b"content-length":
            self.left = int(value)
        elif name == b"connection" and b"close" in value.lower():
            self.keep_alive = False

    def _flush_head(self) -> None:
        if self.head is not None and not self.disconnected:
            head, self.head = self.head, None
            self.transport.write(head)

    def _write(self, body: bytes, more: bool) -> None:
        if self.bodiless:
            body = b""
        elif self.chunked:
            body = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            if not more:
                body += b"0\r\n\r\n"
        elif self.left is not None:
            self.left -= len(body)
            if self.left < 0 or (self.left and not more):
                raise RuntimeError("the response body is not as long as its Content-Length says")
        if self.head is not None:
            body, self.head = self.head + body, None
        if body:
            self.transport.write(body)
        if not more:
            self.response_complete = True
            self.on_disconnect = None
            self.wake()
            self.protocol.responded(self)
