"""One caller's connection: the order of its requests, their deadlines, and its end.

    stage     waits for                 timeout                              then
    IDLE      a request                 75 s, 1 s during shutdown            close
    HEAD      the end of the head       10 s in total                        408
    BODY      body bytes                10 s without a byte, or a body       408
                                        slower than 500 B/s after 10 s
    WAIT      our response              none (the provider's deadlines)
    LINGER    the caller to close       2 s                                  abort
    (any)     the caller to read        60 s without progress, if we wait    abort

During shutdown, responses carry `connection: close`. A caller whose response head was already sent, or whose
connection is idle, has one second for one more request, which may already be on its way.

uvicorn's Server accepts, counts and drains the connections (`server_state`) and uses this protocol. WebSocket
bytes pass through once the upgrade is accepted. HTTP/2 is not supported.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, cast

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from proxy.network.flow import TransportFlow
from proxy.network.server.caller_request import CONTINUE, UNREAD_LIMIT, CallerRequest, Handler
from proxy.network.server.request_head import (
    FIELD_LIMIT,
    FRAMING,
    HEAD_LIMIT,
    find_fault,
    is_other_protocol,
    is_too_large,
    refusal,
    split,
)
from proxy.network.ticker import Ticker

LOOK_S = 0.03


class LoopTurns:
    """Counts turns after a `mark`: `since(mark()) <= 1` holds in this turn and the next."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._turn = 0
        self._marked = -2

    def mark(self) -> int:
        """Return the current turn and count from here."""
        if self._marked < self._turn - 1:
            self._loop.call_soon(self._next)
        self._marked = self._turn
        return self._turn

    def since(self, mark: int) -> int:
        """Return the turns since `mark`; not exact above 2."""
        return self._turn - mark

    def _next(self) -> None:
        self._turn += 1
        if self._marked >= self._turn - 1:
            self._loop.call_soon(self._next)


IDLE_S = 75.0
LAST_IDLE_S = 1.0
HEAD_S = 10.0
BODY_S = 10.0
BODY_BYTES_A_S = 500.0
"""As Apache's `RequestReadTimeout body=…,MinRate=500`."""
READER_S = 60.0
LINGER_S = 2.0

IDLE, HEAD, BODY, WAIT, LINGER = range(5)
PATIENCE_S = (IDLE_S, HEAD_S, BODY_S, inf, LINGER_S)


class SharedByConnections:
    """State shared by the connections of one server."""

    def __init__(self, loop: asyncio.AbstractEventLoop, came: Callable[[int], bool] = lambda _: True) -> None:
        """`came` gets each connection's descriptor; on False the connection ends after its next answer."""
        self.came = came
        self.ticker = Ticker(loop)
        self.turns = LoopTurns(loop)


class RequestParser:
    """Parses one connection's requests, and checks their heads.

    Once the connection has refused a request, further bytes are ignored.
    """

    __deletable__ = ("_connection", "_parser", "on_message_begin")  # mypyc allows `del` only for these

    def __init__(self, connection: "CallerConnection") -> None:
        self._connection = connection
        self.on_message_begin = connection.began
        self._parser = httptools.HttpRequestParser(self)
        self._fed = 0  # bytes since the last request's end or body byte
        self._data = b""  # these bytes, while a head is under way in them
        self._heads = 0  # that ended in these bytes
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []

    @property
    def overfed(self) -> bool:
        """True when too many bytes outside a body have arrived."""
        return self._fed > HEAD_LIMIT

    def feed(self, data: bytes) -> bytes | None:
        """Parse bytes. Returns the bytes after a request to upgrade; None without one."""
        self._data = self._data + data
        self._heads = 0
        self._fed += len(data)
        beyond: bytes | None = None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            beyond = data[upgrade.args[0] :]
        except httptools.HttpParserError:
            self._connection.refuse(400, "Invalid HTTP request received.")
        if not self._fed:
            self._data = b""
        return beyond

    def close(self) -> None:
        """Release the parser after the last bytes."""
        del self._parser, self._connection, self.on_message_begin  # breaks the reference cycles

    # llhttp's callbacks

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        connection, parser = self._connection, self._parser
        if connection.refused:
            return
        version, method = parser.get_http_version(), parser.get_method()
        # Later calls of `on_header` are trailers, which must not be taken for fields of the head.
        url, headers, self._headers = self._url, self._headers, []
        framing = [field for field in headers if field[0] in FRAMING or b"_" in field[0]]
        upgrade = parser.should_upgrade()
        fault = find_fault(method, version, framing, upgrade=upgrade)
        self._heads += 1
        end = self._data.find(b"\r\n")
        plain = self._heads == 1 and end > 8 and self._data[end - 9 : end - 3] == b" HTTP/"
        if not plain and is_other_protocol(self._data):
            fault = (400, "Only HTTP is spoken here.")
        if (self._fed > HEAD_LIMIT or len(headers) > FIELD_LIMIT) and is_too_large(url, headers):
            fault = (431, "The request head is too large.")
        if fault is not None:
            connection.refuse(*fault)
            return
        path, query = split(url)
        self._fed = 0
        connection.headed(
            CallerRequest(
                connection,
                method.decode("ascii"),
                path.decode("ascii"),
                query,
                headers,
                old=version == "1.0",
                keep_alive=version == "1.1" and not upgrade and parser.should_keep_alive(),
                continues=dict(framing).get(b"expect", b"").lower() == b"100-continue",
                upgrades=upgrade,
            )
        )

    def on_body(self, body: bytes) -> None:
        self._fed = 0
        self._connection.body(body)

    def on_message_complete(self) -> None:
        self._fed = 0
        self._url = b""
        self._headers = []
        self._connection.whole()


class CallerConnection:
    """One caller's connection, an asyncio.Protocol by its methods. The handler is uvicorn's "app"."""

    check_at = 0.0
    stage: int
    since = 0.0
    body_since = 0.0  # 0 until body bytes arrive behind the head's; begins anew after a pause
    body_bytes = 0  # since then
    ended_in = -2  # the turn in which the last request ended
    refused = False  # nothing more is read
    ending = False  # the server shuts down or needs the descriptor: no request after the next one
    beyond: bytes | None = None  # came behind a request to upgrade; b"" too: what follows is not HTTP
    half_closed = False  # the caller has shut down its sending side
    running: CallerRequest | None = None  # the request being answered
    latest: CallerRequest | None = None  # the request being received
    task: asyncio.Task[None] | None = None  # answers the requests in order
    turn: asyncio.Future[None] | None = None  # the task waits for it between requests
    transport: asyncio.Transport
    flow: TransportFlow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.handler = cast(Handler, config.app)  # unwrapped: there is no middleware
        self.server_state = server_state
        if "shared" not in app_state:
            app_state["shared"] = SharedByConnections(self.loop)
        self.shared: SharedByConnections = app_state["shared"]
        self.waiting: deque[CallerRequest] = deque()
        self.stage = IDLE
        self.requests = RequestParser(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.flow = TransportFlow(self.loop, self.transport)
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        self.since = monotonic()
        if not self.shared.came(transport.get_extra_info("socket").fileno()):
            self.ending = True
        self.shared.ticker.watch(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server_state.connections.discard(self)
        self.shared.ticker.forget(self)
        self.flow.resume_writing()
        self.waiting.clear()
        running, self.running = self.running, None
        if running is not None:
            running.leave()
        elif self.turn is not None:
            self.cancel()
        self.latest = None
        self.requests.close()

    def eof_received(self) -> bool:
        """Return True to keep our side open for the answer to a half-closed caller."""
        running = self.running
        if running is None:
            return False
        if running.switched:
            self._half_close(running)
            running.leave()
            return True
        if self.stage == WAIT and self.shared.turns.since(self.ended_in) <= 1:
            running.keep_alive = False
            self._half_close(running)
            self.check_at = 0.0
            return True
        self.transport.abort()
        return False

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        if self.beyond is not None:
            self._go_beyond(data)
            return
        beyond = self.requests.feed(data)
        if beyond is not None:
            self._go_beyond(beyond)
        if self.stage in (HEAD, BODY):
            if self.stage == BODY:
                self.since = monotonic()
                self.body_bytes += len(data)
                if not self.body_since:
                    self.body_since, self.body_bytes = self.since, len(data)
            if self.requests.overfed:
                self.refuse(431, "Too many bytes outside the request body.")
        self.check_at = 0.0

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self.check_at = 0.0

    def resume_writing(self) -> None:
        self.flow.resume_writing()

    # Called by the request parser

    def began(self) -> None:
        """Called at the first byte of a request."""
        if not self.refused:
            self.stage = HEAD
            self.since = monotonic()

    def headed(self, incoming: CallerRequest) -> None:
        """Called when the head of a request is complete."""
        if self.ending:
            incoming.keep_alive = False
        self.latest = incoming
        self.stage = BODY
        self.body_since = 0.0
        if self.running is None:
            self._start(incoming)
        else:
            self.flow.pause_reading()
            self.waiting.append(incoming)

    def body(self, body: bytes) -> None:
        if not self.refused and self.latest is not None and not self.latest.complete:
            self.latest.feed(body)

    def whole(self) -> None:
        """Called at the last byte of the latest request."""
        if self.stage == BODY and not self.refused and self.latest is not None:
            self.stage = WAIT
            self.ended_in = self.shared.turns.mark()
            self.latest.received()

    # Called by the listener's server

    @property
    def waits_since(self) -> float | None:
        """Since when the caller owes a request; None while one is served, or the connection ends."""
        owes = self.running is None and self.stage in (IDLE, HEAD) and not self.transport.is_closing()
        return self.since if owes else None

    def shed(self) -> None:
        """Close at once: the descriptor is needed."""
        self.transport.abort()

    def shutdown(self) -> None:
        """Serve the running request and one that is on its way, then close."""
        self.ending = True
        if self.stage == IDLE:
            self.since = monotonic()
            self.check_at = 0.0
        elif self.running is not None and not self.running.started:
            self.running.keep_alive = False

    # Called by the requests

    def responded(self, incoming: CallerRequest) -> None:
        """Start the next request after a complete response, or close."""
        self.running = None
        self.server_state.total_requests += 1
        self.check_at = 0.0
        if incoming.keep_alive and not incoming.more:
            if self.flow.read_paused:
                self.resume_reading()
            if self.waiting:
                self._start(self.waiting.popleft())
            elif self.stage == WAIT:
                self.stage = IDLE
                self.since = monotonic()
        elif incoming.more:
            self._linger()
        else:
            self.transport.close()

    def switched(self) -> bytes:
        """Switch to another protocol; return its bytes that have already arrived."""
        early, self.beyond = self.beyond, b""
        self.resume_reading()
        return early or b""

    def has_left(self) -> bool:
        """True if the caller had shut down its sending side and is gone. Then the connection is closed.

        The socket's error is the only sign of a RST, since nothing is read after a FIN.
        """
        if not self.half_closed or self.transport.is_closing():
            return self.half_closed
        sock: socket.socket = self.transport.get_extra_info("socket")
        left = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        if left:
            self.transport.abort()
        return left

    def hang_up(self) -> None:
        """Close after the other protocol has ended."""
        self.running = None
        self.server_state.total_requests += 1
        self._linger()

    def resume_reading(self) -> None:
        """Resume reading; the time of the pause does not count against the caller."""
        if self.flow.read_paused:
            self.since = monotonic()
            self.body_since = 0.0
            self.check_at = 0.0
            self.flow.resume_reading()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()

    def refuse(self, status: int, message: str) -> None:
        """Refuse the request being received; an earlier request still gets its response."""
        if self.refused:  # llhttp reports errors in later bytes too
            return
        self.refused = True
        running = self.running
        if running is None:
            self.reject(status, message)
        elif self.stage != BODY or running is not self.latest:
            self.waiting.clear()
            running.keep_alive = False
            self.stage = WAIT
        elif running.answering:
            self.transport.abort()
        else:
            self.reject(status, message)

    def reject(self, status: int, message: str) -> None:
        """Send a refusal instead of the running request's response, if any, and close."""
        running, self.running = self.running, None
        if running is not None:
            running.leave()
        if not self.transport.is_closing():
            self.transport.write(refusal(status, message))
            self._linger()

    # Deadlines

    def check(self, now: float) -> None:
        """Act on the deadlines of the module's table."""
        half_closed = self.half_closed and self.running is not None
        if half_closed:
            self.has_left()
        stuck_s = self.flow.stuck_s(now)
        due = self._due(now)
        if stuck_s >= READER_S:
            self.transport.abort()
        elif due > now:
            again = self.flow.left or half_closed
            self.check_at = now if again else due
        elif self.stage == IDLE:
            self.transport.close()
        elif self.stage == LINGER:
            self.transport.abort()
        else:
            self.refuse(408, "The request took too long to arrive.")

    def _due(self, now: float) -> float:
        if self.transport.is_closing() or (self.stage == BODY and self.flow.read_paused):
            return inf
        if self.stage == BODY and self.body_since:
            slow_at = self.body_since + BODY_S + self.body_bytes / BODY_BYTES_A_S
            return min(self.since + BODY_S, slow_at)
        if self.stage == LINGER and self.flow.left:
            self.since = now
        ending = self.ending and self.stage == IDLE
        return self.since + (LAST_IDLE_S if ending else PATIENCE_S[self.stage])

    # Inside

    def _start(self, incoming: CallerRequest) -> None:
        self.running = incoming
        if self.task is None:
            self.task = self.loop.create_task(self._answer())
            self.server_state.tasks.add(self.task)
        elif self.turn is not None and not self.turn.done():
            self.turn.set_result(None)
            self.server_state.tasks.add(self.task)

    def _half_close(self, running: CallerRequest) -> None:
        """Note that the caller has shut down its sending side, and probe whether it still waits."""
        self.half_closed = True
        if not (running.old or running.started):
            self.transport.write(CONTINUE)
            self.loop.call_later(LOOK_S, self.has_left)

    def _go_beyond(self, data: bytes) -> None:
        """Take bytes of the requested protocol, which wait until the upgrade is accepted."""
        if self.running is not None and self.running.switched:
            self.running.feed(data)
            return
        self.beyond = (self.beyond or b"") + data
        if len(self.beyond) > UNREAD_LIMIT:
            self.flow.pause_reading()

    async def _answer(self) -> None:
        """Answer the requests in order. uvicorn's shutdown waits only for tasks that serve a request."""
        task = self.task
        try:
            while (incoming := self.running) is not None:
                await incoming.run(self.handler)
                if self.running is incoming:  # the response broke, and the connection with it
                    break
                if self.running is None and not self.transport.is_closing():
                    self.server_state.tasks.discard(task)
                    self.turn = self.loop.create_future()
                    await self.turn
                    self.turn = None
        finally:
            self.server_state.tasks.discard(task)
            self.task = self.turn = None  # breaks a reference cycle

    def _linger(self) -> None:
        """Close without a RST, which would discard our last bytes if the caller is still sending."""
        self.refused = True
        if self.half_closed:
            self.transport.close()
            return
        self.stage = LINGER
        self.since = monotonic()
        self.check_at = 0.0
        self.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()


TrafficProtocol = cast(type[asyncio.Protocol], CallerConnection)
"""An asyncio.Protocol by its methods: a class compiled by mypyc cannot inherit from an uncompiled one."""
