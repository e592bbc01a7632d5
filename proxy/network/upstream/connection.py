"""One connection to a provider: socket and deadlines, one exchange at a time.

The pool assigns exchanges; `response` parses the bytes.

    stage     a byte of input means            end of input means
    IDLE      desync: abort                    leave the pool
    HEAD      the response's head              stale, reset or truncated
    BODY      the rest of the response         the body's end if nothing frames the body, else truncated
    SWITCHED  another protocol's byte          the end
    DONE      desync: abort                    nothing: the response is complete

tests/proxy/test_upstream_connection.py verifies the assumptions about uvloop 0.23.
"""

import asyncio
from collections.abc import AsyncIterator
from math import inf
from time import monotonic
from typing import Protocol, cast

from proxy.network.flow import TransportFlow
from proxy.network.ticker import Ticker
from proxy.network.upstream.response import (
    BODY,
    DONE,
    HEAD,
    IDLE,
    SWITCHED,
    ResponseParser,
    UpstreamError,
    UpstreamResponse,
    ends_with_input,
)
from records.outcome import ErrorType

BACKLOG = 64 * 1024
"""Body bytes that may wait for their reader before reading pauses."""

JOINED = 64 * 1024
"""A body up to this size is sent in one write with its head; copying a larger one would cost more."""

READ = 64 * 1024
"""Bytes of one read. uvloop's default of 256 KiB would hold more of a provider's early bytes in memory."""

RESTED_S = 1.0
KEEP_IDLE_S = 15.0
KEEP_AGE_S = 300.0
LINGER_S = 2.0


class ConnectionOwner(Protocol):
    """The pool, as a connection sees it."""

    def put_back(self, connection: "Connection") -> None: ...
    def drop(self, connection: "Connection") -> None: ...


class Connection:
    """The protocol object of one upstream transport, an asyncio.BufferedProtocol by its methods."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ticker: Ticker,
        owner: ConnectionOwner,
        room: memoryview,
        *,
        may_switch: bool = False,
    ) -> None:
        """`room`: the read buffer, used only while bytes are parsed; connections may share it. `may_switch`:
        for one request, which asks for another protocol."""
        self.check_at = 0.0
        self._room = room
        self.gone: asyncio.Future[None] = loop.create_future()
        self._ticker = ticker
        self._owner = owner
        self._may_switch = may_switch
        self._parser = ResponseParser(may_switch=may_switch)
        self._loop = loop
        self._response: UpstreamResponse | None = None
        self._eof = False
        self._used = False
        self._idle_since = 0.0
        self._rested_s = 0.0

    # Called by the pool

    def start(self, response: UpstreamResponse, head: bytes, body: bytes | None, *, bodiless: bool) -> None:
        """Send a request. `body` None: `pump` sends the body. `bodiless`: the response has no body (HEAD)."""
        self._rested_s = monotonic() - self._idle_since
        self._response = response
        self._parser.begin(bodiless=bodiless)
        self._pumped = body is not None
        response.source = self
        if not body:
            self._transport.write(head)
        elif len(body) <= JOINED:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])
        if body is not None:
            response.sent_at = monotonic()
        self.check_at = 0.0

    async def pump(self, response: UpstreamResponse, body: AsyncIterator[bytes], length: int | None) -> None:
        """Send a streamed body, chunked if `length` is None; stop once the final response's head has arrived.

        Raises what the iterator raises, and ValueError when its bytes do not match `length`.
        """
        left = length
        async for piece in body:
            if self._parser.stage != HEAD or self._response is not response:
                return
            if left is None:
                if piece:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                left -= len(piece)
                if left < 0:
                    raise ValueError("the request body is longer than its Content-Length")
                self._transport.write(piece)
            await self._flow.drain()
        if self._response is not response:
            return
        if left:
            raise ValueError("the request body is shorter than its Content-Length")
        if left is None:
            self._transport.write(b"0\r\n\r\n")
        self._pumped = True
        response.sent_at = monotonic()
        self.check_at = 0.0

    def is_usable(self) -> bool:
        """False once either side has closed the connection."""
        return not self._eof and not self._transport.is_closing()

    def shut(self) -> None:
        """Abort the connection in any stage."""
        self._fail("aborted", "the proxy is stopping")

    # Called by the tunnel

    def write(self, data: bytes) -> None:
        """Send bytes of another protocol; does nothing when the provider has gone."""
        if not self._transport.is_closing():
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the provider has read most of the written bytes, or has gone."""
        await self._flow.drain()

    def hang_up(self) -> None:
        """Send the written bytes, then close, after 2 s at the latest."""
        if not self._transport.is_closing():
            self._transport.close()
            self._loop.call_later(LINGER_S, self._transport.abort)

    # Called by the response

    def resume(self) -> None:
        """Resume reading after the backlog was taken."""
        self._transport.resume_reading()

    def give_up(self) -> None:
        """Abort the transport without a flush or a TLS close_notify. Bytes that still arrive are ignored."""
        self._response = None
        self._parser.stage = DONE
        self._transport.abort()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._flow = TransportFlow(self._loop, self._transport)
        self._made_at = self._idle_since = monotonic()
        self._ticker.watch(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return the read buffer. Its size bounds a read, and so the memory of a slow reader."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        response = self._response
        if response is None:
            self.give_up()
            return
        parser = self._parser
        stage = parser.stage
        parser.feed(self._room[:nbytes])
        if stage == HEAD and parser.stage != HEAD:
            response.status, response.reason, response.headers = parser.status, parser.reason, parser.headers
            response.headed = not parser.fault
        pieces = parser.pieces
        has_body = bool(pieces)
        if has_body:
            response.feed(pieces)
            pieces.clear()
        if parser.fault:
            self._fail("provider_malformed", parser.fault)
        elif parser.stage == DONE:
            if response.streaming:
                response.heard(monotonic())
            else:
                response.read_at = monotonic()
            self._finish(response)
        elif has_body:
            self._fed(response)
        elif parser.stage != stage:
            response.wake()

    def eof_received(self) -> None:
        self._eof = True
        response = self._response
        if response is None:
            return
        parser = self._parser
        if parser.stage == SWITCHED or (parser.stage == BODY and ends_with_input(parser.headers)):
            parser.stage = DONE
            response.heard(monotonic())
            self._finish(response)
        else:
            self._break("the provider closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._ticker.forget(self)
        self._eof = True
        if self._response is not None:
            self._break(f"the connection was lost ({exc or 'no reason given'})", reset=exc is not None)
        self._owner.drop(self)
        self.resume_writing()
        self.gone.set_result(None)
        self._parser.close()

    def pause_writing(self) -> None:
        self._flow.pause_writing()
        self.check_at = 0.0

    def resume_writing(self) -> None:
        was_paused = self._flow.write_paused
        self._flow.resume_writing()
        if was_paused and self._pumped and self._response is not None:
            self._response.sent_at = monotonic()

    # Deadlines

    def check(self, now: float) -> None:
        """Fail an exchange past its deadline; retire a connection that was idle or open for too long."""
        response = self._response
        if response is None:
            self.check_at = min(self._idle_since + KEEP_IDLE_S, self._made_at + KEEP_AGE_S)
            if self.check_at <= now:
                self._owner.drop(self)
                self._transport.abort()
        elif self._flow.write_paused and self._parser.stage in (HEAD, SWITCHED):
            if self._flow.stuck_s(now) >= response.timeout.write_s:
                self._fail("provider_timeout", f"no request byte accepted for {response.timeout.write_s} s")
        elif self._parser.stage == SWITCHED:  # its user decides how long it may be silent
            self.check_at = inf
        else:
            deadline, why = response.deadline()
            if deadline <= now:
                self._fail("provider_timeout", why)
            elif why:
                self.check_at = deadline if response.read_at else min(deadline, now + response.timeout.idle_s)

    # Endings

    def _fed(self, response: UpstreamResponse) -> None:
        now = monotonic()
        if now - response.silent_from > response.longest_gap_s:  # `heard`, without a call for each chunk
            response.longest_gap_s = now - response.silent_from
        response.read_at = response.silent_from = now
        if response.passed_on():
            if not response.wanted:
                self._pause(response, now)
            return
        if response.buffered > BACKLOG:
            self._pause(response, now)
        response.wake()

    def _pause(self, response: UpstreamResponse, now: float) -> None:
        """Pause reading until the response's reader wants more."""
        self._transport.pause_reading()
        response.pause(now)
        self.check_at = 0.0

    def _finish(self, response: UpstreamResponse) -> None:
        """Complete the response and return the connection to the pool if it is reusable."""
        self._response = None
        reusable = (
            self._parser.reusable
            and self._pumped
            and not self._eof
            and response.read_at - self._made_at < KEEP_AGE_S
            and self._transport.get_write_buffer_size() == 0
            and not self._may_switch
        )
        if reusable:
            self._parser.stage = IDLE
            self._used = True
            self._idle_since = response.read_at
            self.check_at = 0.0
            self._owner.put_back(self)
        else:
            self._transport.abort()
        response.end()

    def _fail(self, error_type: ErrorType, message: str) -> None:
        response = self._response
        self.give_up()
        if response is not None:
            response.end(UpstreamError(error_type, message))

    def _break(self, why: str, *, reset: bool = False) -> None:
        """Fail the exchange after the provider ended it early.

        A reused connection that had been idle counts as stale, since the provider's keep-alive limit explains
        its end. On a connection in use a moment before, the end is the provider's failure.
        """
        silent = self._parser.head_size == 0
        if silent and self._used and self._rested_s >= RESTED_S:
            self._fail("provider_stale", f"{why}, which had been idle, before the first response byte")
        elif silent or reset:
            self._fail("provider_reset", f"{why} before the response was complete")
        else:
            self._fail("provider_truncated", f"{why} in the middle of the response")
