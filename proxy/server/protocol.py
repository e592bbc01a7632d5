"""One caller's connection: when it is a request's turn, how long it may take, and when it is over.

    stage     waits for                 too late after                       then
    IDLE      a request                 75 s, in a server that ends 1 s      close
    HEAD      the head's end            10 s in all                          408
    BODY      body bytes                10 s without one                     408
    WAIT      our response              nothing (the provider's deadlines)
    LINGER    the caller to close       2 s                                  abort
    (each)    the caller to read        60 s without progress, when we wait  abort

Half-close or gone? A caller that leaves closes its socket, and a caller that has merely said all it will say
shuts down its sending side: both send the same FIN, and answering the first costs tokens. So a FIN means
gone, as it does for nginx, but for one that was there together with the request's last byte (seen in the next
turn of the loop: `printf … | nc`). That caller is served; where nothing has gone out to it for 50 ms, an
interim 100 (RFC 9110 §15.2) is sent as a probe: a closed socket answers it with a RST.

A server that ends says `connection: close` in the answers it still gives. Whoever could not be told so before
(the head was out, or the connection idle) has a second for one more request: it may be on its way already.

uvicorn's Server accepts, counts and drains the connections (`server_state`); this is the protocol it is told
to use. A WebSocket's bytes are handed through once its request has been agreed to. HTTP/2 is not spoken here.
"""

import asyncio
import socket
from collections import deque
from math import inf
from time import monotonic
from typing import Any, cast

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from proxy.server.flow import Flow
from proxy.server.head import FRAMING, HEAD_LIMIT, find_fault, is_too_large, refusal, split
from proxy.server.incoming import CONTINUE, UNREAD_LIMIT, Handler, Incoming
from proxy.server.turns import Turns
from proxy.ticker import Ticker

IDLE_S = 75.0
LAST_IDLE_S = 1.0
HEAD_S = 10.0
BODY_S = 10.0
READER_S = 60.0
LINGER_S = 2.0
PROBE_S = 0.05
LOOK_S = 0.03

IDLE, HEAD, BODY, WAIT, LINGER = range(5)
PATIENCE_S = (IDLE_S, HEAD_S, BODY_S, inf, LINGER_S)


class Shared:
    """What the connections of one server have in common."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ticker = Ticker(loop)
        self.turns = Turns(loop)


class TrafficProtocol:
    """One caller's connection, an asyncio.Protocol by its methods. uvicorn's "app" is our handler."""

    __deletable__ = ("parser",)  # mypyc's word for what `del` may take

    check_at = 0.0
    stage: int
    since = 0.0
    fed = 0  # bytes read since the last request's end or body byte
    ended_in = -2  # the turn in which the last request ended
    refused = False  # nothing more is read
    ending = False  # the server is: no request after the next one
    beyond: bytes | None = None  # came behind a request to upgrade; b"" too: what follows is not HTTP
    eof_at: float | None = None
    probed = False
    backlog = 0
    progress_at = 0.0
    running: Incoming | None = None  # the request that is being answered
    latest: Incoming | None = None  # the request that is being received
    url = b""
    headers: list[tuple[bytes, bytes]]
    task: asyncio.Task[None] | None = None  # answers the requests, one after another
    turn: asyncio.Future[None] | None = None  # what the task waits for between them
    transport: asyncio.Transport
    flow: Flow

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.loop = _loop or asyncio.get_running_loop()
        self.handler = cast(Handler, config.app)  # as it was given: no middleware is between
        self.server_state = server_state
        if "shared" not in app_state:
            app_state["shared"] = Shared(self.loop)
        self.shared: Shared = app_state["shared"]
        self.waiting: deque[Incoming] = deque()
        self.stage = IDLE
        self.parser = httptools.HttpRequestParser(self)
        self.headers = []

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.flow = Flow(self.loop, self.transport)
        self.server_state.connections.add(self)  # type: ignore[arg-type]
        self.since = monotonic()
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
        del self.parser  # it holds our callbacks: without it no cycle is left to collect

    def eof_received(self) -> bool:
        """True keeps our side open for the answer to a half-closed caller; see the module's docstring."""
        if self.running is None:
            return False
        if self.running.switched:
            self.eof_at = monotonic()
            self.running.leave()
            return True
        if self.stage == WAIT and self.shared.turns.since(self.ended_in) <= 1:
            self.eof_at = monotonic()
            self.check_at = 0.0
            self.running.keep_alive = False
            return True
        self.transport.abort()
        return False

    def data_received(self, data: bytes) -> None:
        if self.refused:
            return
        if self.beyond is not None:
            self._go_beyond(data)
            return
        self.fed += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_beyond(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.refuse(400, "Invalid HTTP request received.")
        if self.stage in (HEAD, BODY):
            if self.stage == BODY:
                self.since = monotonic()
            if self.fed > HEAD_LIMIT:
                self.refuse(431, "Too many bytes that are no body.")
        self.check_at = 0.0

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self.check_at = 0.0

    def resume_writing(self) -> None:
        self.flow.resume_writing()

    # llhttp's callbacks

    def on_message_begin(self) -> None:
        if not self.refused:
            self.stage = HEAD
            self.since = monotonic()
            self.url = b""
            self.headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.refused:
            return
        version = self.parser.get_http_version()
        # What `on_header` still gets are trailers: they must not pass for fields of the head.
        headers, self.headers = self.headers, []
        framing = [field for field in headers if field[0] in FRAMING]
        upgrade = self.parser.should_upgrade()
        fault = find_fault(version, framing, upgrade=upgrade)
        if is_too_large(self.url, headers, self.fed):
            fault = (431, "The request's head is too large.")
        if fault is not None:
            self.refuse(*fault)
            return
        path, query = split(self.url)
        incoming = Incoming(
            self,
            self.parser.get_method().decode("ascii"),
            path.decode("ascii"),
            query,
            headers,
            old=version == "1.0",
            keep_alive=version == "1.1"
            and not upgrade
            and not self.ending
            and self.parser.should_keep_alive(),
            continues=[value.lower() for name, value in framing if name == b"expect"] == [b"100-continue"],
            upgrades=upgrade,
        )
        self.latest = incoming
        self.stage = BODY
        self.fed = 0
        if self.running is None:
            self._start(incoming)
        else:
            self.flow.pause_reading()
            self.waiting.append(incoming)

    def on_body(self, body: bytes) -> None:
        self.fed = 0
        if not self.refused and self.latest is not None and not self.latest.complete:
            self.latest.feed(body)

    def on_message_complete(self) -> None:
        if self.stage == BODY and not self.refused and self.latest is not None:
            self.stage = WAIT
            self.fed = 0
            self.ended_in = self.shared.turns.mark()
            self.latest.received()

    # What uvicorn's Server asks for

    def shutdown(self) -> None:
        """Serve what is being answered and what is on its way, and no more."""
        self.ending = True
        if self.stage == IDLE:
            self.since = monotonic()
            self.check_at = 0.0
        elif self.running is not None and not self.running.started:
            self.running.keep_alive = False

    # What the requests ask for

    def responded(self, incoming: Incoming) -> None:
        """A response is complete: the next request, or the connection's end."""
        self.running = None
        self.server_state.total_requests += 1
        self.check_at = 0.0
        if incoming.keep_alive and not incoming.more:
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
        """The running request is another protocol's now; what came of that already."""
        early, self.beyond = self.beyond, b""
        self.resume_reading()
        return early or b""

    def hang_up(self) -> None:
        """The other protocol has ended."""
        self.running = None
        self.server_state.total_requests += 1
        self._linger()

    def resume_reading(self) -> None:
        """Read on; the time we did not read is not the caller's."""
        if self.flow.read_paused:
            self.since = monotonic()
            self.check_at = 0.0
            self.flow.resume_reading()

    def cancel(self) -> None:
        """Cancel the handler, or the wait for the next request."""
        if self.task is not None:
            self.task.cancel()

    def refuse(self, status: int, message: str) -> None:
        """What is being received is not to be served; an earlier request still gets its response."""
        if self.refused:  # llhttp finds fault with what follows, too
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
        """Answer ourselves, in place of the running cycle if there is one, and close."""
        running, self.running = self.running, None
        if running is not None:
            running.leave()
        if not self.transport.is_closing():
            self.transport.write(refusal(status, message))
            self._linger()

    # Deadlines

    def check(self, now: float) -> None:
        """Act on the deadlines of the module's table."""
        half_closed = self.eof_at is not None and self.running is not None
        if half_closed:
            self._probe(now)
        backlog = self.flow.backlog()
        if backlog < self.backlog or not self.backlog:
            self.progress_at = now
        self.backlog = backlog
        due = self._due(now)
        if backlog and now - self.progress_at >= READER_S:
            self.transport.abort()
        elif due > now:
            self.check_at = now if backlog or half_closed else due
        elif self.stage == IDLE:
            self.transport.close()
        elif self.stage == LINGER:
            self.transport.abort()
        else:
            self.refuse(408, "The request took too long to come.")

    def _due(self, now: float) -> float:
        if self.transport.is_closing() or (self.stage == BODY and self.flow.read_paused):
            return inf
        if self.stage == LINGER and self.backlog:
            self.since = now
        ending = self.ending and self.stage == IDLE
        return self.since + (LAST_IDLE_S if ending else PATIENCE_S[self.stage])

    def _probe(self, now: float) -> None:
        """Find out whether a half-closed caller is still there."""
        running = self.running
        if running is None or self.eof_at is None or running.old or running.started or self.probed:
            self._look()
        elif now - self.eof_at >= PROBE_S:
            self.probed = True
            self.transport.write(CONTINUE)
            self.loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        """Nothing is read after a FIN, so that a RST shows in the socket's error alone."""
        sock = self.transport.get_extra_info("socket")
        if not self.transport.is_closing() and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.transport.abort()

    # Inside

    def _start(self, incoming: Incoming) -> None:
        self.running = incoming
        if self.task is None:
            self.task = self.loop.create_task(self._answer())
            self.server_state.tasks.add(self.task)
        elif self.turn is not None and not self.turn.done():
            self.turn.set_result(None)
            self.server_state.tasks.add(self.task)

    def _go_beyond(self, data: bytes) -> None:
        """Bytes of the protocol that was asked for; they wait until it has been agreed to."""
        if self.running is not None and self.running.switched:
            self.running.feed(data)
            return
        self.beyond = (self.beyond or b"") + data
        if len(self.beyond) > UNREAD_LIMIT:
            self.flow.pause_reading()

    async def _answer(self) -> None:
        """Answer the requests in their order. uvicorn waits at the end for tasks that are about one."""
        task = self.task
        try:
            while (incoming := self.running) is not None:
                await incoming.run(self.handler)
                if self.running is incoming:  # it broke, and the connection with it
                    break
                if self.running is None and not self.transport.is_closing():
                    self.server_state.tasks.discard(task)
                    self.turn = self.loop.create_future()
                    await self.turn
                    self.turn = None
        finally:
            self.server_state.tasks.discard(task)
            self.task = self.turn = None  # a cycle less to collect

    def _linger(self) -> None:
        """Close without a RST, which would take our last bytes from a caller that is still sending."""
        self.refused = True
        if self.eof_at is not None:
            self.transport.close()
            return
        self.stage = LINGER
        self.since = monotonic()
        self.check_at = 0.0
        self.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()
