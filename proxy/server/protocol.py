"""One caller's connection: when it is a request's turn, how long it may take, and when it is over.

    stage     waits for                 too late after                       then
    IDLE      a request                 75 s, in a server that ends 1 s      close
    HEAD      the head's end            10 s in all                          408
    BODY      body bytes                10 s without one                     408
    WAIT      our response              nothing (the provider's deadlines)
    LINGER    the caller to close       2 s                                  abort
    (each)    the caller to read        60 s without progress, when we wait  abort

A server that ends says `connection: close` in the answers it still gives. Whoever could not be told so before
(the head was out, or the connection idle) has a second for one more request: it may be on its way already.

uvicorn's Server accepts, counts and drains the connections (`server_state`); this is the protocol it is told
to use. A WebSocket's bytes are handed through once its request has been agreed to. HTTP/2 is not spoken here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import inf
from time import monotonic
from typing import Any, cast

from uvicorn import Config
from uvicorn.server import ServerState

from proxy.server.flow import Flow
from proxy.server.half_closed import HalfClosed
from proxy.server.head import refusal
from proxy.server.incoming import UNREAD_LIMIT, Handler, Incoming
from proxy.server.requests import Requests
from proxy.server.turns import Turns
from proxy.ticker import Ticker

IDLE_S = 75.0
LAST_IDLE_S = 1.0
HEAD_S = 10.0
BODY_S = 10.0
READER_S = 60.0
LINGER_S = 2.0

IDLE, HEAD, BODY, WAIT, LINGER = range(5)
PATIENCE_S = (IDLE_S, HEAD_S, BODY_S, inf, LINGER_S)


class Shared:
    """What the connections of one server have in common."""

    def __init__(self, loop: asyncio.AbstractEventLoop, came: Callable[[int], bool] = lambda _: True) -> None:
        """`came` is told each connection's descriptor; False: it is to end with its next answer."""
        self.came = came
        self.ticker = Ticker(loop)
        self.turns = Turns(loop)


class TrafficProtocol:
    """One caller's connection, an asyncio.Protocol by its methods. uvicorn's "app" is our handler."""

    check_at = 0.0
    stage: int
    since = 0.0
    ended_in = -2  # the turn in which the last request ended
    refused = False  # nothing more is read
    ending = False  # the server is, or needs its descriptor: no request after the next one
    beyond: bytes | None = None  # came behind a request to upgrade; b"" too: what follows is not HTTP
    half_closed: HalfClosed | None = None
    running: Incoming | None = None  # the request that is being answered
    latest: Incoming | None = None  # the request that is being received
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
        self.requests = Requests(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.flow = Flow(self.loop, self.transport)
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
        """True keeps our side open for the answer to a half-closed caller (half_closed.py)."""
        if self.running is None:
            return False
        if self.running.switched:
            self.half_closed = HalfClosed(self.loop, self.transport)
            self.running.leave()
            return True
        if self.stage == WAIT and self.shared.turns.since(self.ended_in) <= 1:
            self.half_closed = HalfClosed(self.loop, self.transport)
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
        beyond = self.requests.feed(data)
        if beyond is not None:
            self._go_beyond(beyond)
        if self.stage in (HEAD, BODY):
            if self.stage == BODY:
                self.since = monotonic()
            if self.requests.overfed:
                self.refuse(431, "Too many bytes that are no body.")
        self.check_at = 0.0

    def pause_writing(self) -> None:
        self.flow.pause_writing()
        self.check_at = 0.0

    def resume_writing(self) -> None:
        self.flow.resume_writing()

    # What its requests' parser tells

    def began(self) -> None:
        """A request's first byte has come."""
        if not self.refused:
            self.stage = HEAD
            self.since = monotonic()

    def headed(self, incoming: Incoming) -> None:
        """A request is there, up to its body."""
        if self.ending:
            incoming.keep_alive = False
        self.latest = incoming
        self.stage = BODY
        if self.running is None:
            self._start(incoming)
        else:
            self.flow.pause_reading()
            self.waiting.append(incoming)

    def body(self, body: bytes) -> None:
        """Body bytes of the latest request."""
        if not self.refused and self.latest is not None and not self.latest.complete:
            self.latest.feed(body)

    def whole(self) -> None:
        """The latest request has come to its last byte."""
        if self.stage == BODY and not self.refused and self.latest is not None:
            self.stage = WAIT
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
        half_closed, running = self.half_closed, self.running
        if half_closed is not None and running is not None:
            half_closed.probe(running, now)
        stuck_s = self.flow.stuck_s(now)
        due = self._due(now)
        if stuck_s >= READER_S:
            self.transport.abort()
        elif due > now:
            again = self.flow.left or (half_closed is not None and running is not None)
            self.check_at = now if again else due
        elif self.stage == IDLE:
            self.transport.close()
        elif self.stage == LINGER:
            self.transport.abort()
        else:
            self.refuse(408, "The request took too long to come.")

    def _due(self, now: float) -> float:
        if self.transport.is_closing() or (self.stage == BODY and self.flow.read_paused):
            return inf
        if self.stage == LINGER and self.flow.left:
            self.since = now
        ending = self.ending and self.stage == IDLE
        return self.since + (LAST_IDLE_S if ending else PATIENCE_S[self.stage])

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
        if self.half_closed is not None:
            self.transport.close()
            return
        self.stage = LINGER
        self.since = monotonic()
        self.check_at = 0.0
        self.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()
