"""A separate connection for an upgrade: either the provider's refusal, or raw bytes in both directions.

    stage    waits for                  timeout                 end of input means
    HEAD     the response's head        first_byte              reset or truncated
    REFUSED  the refusal's body         idle, total             the end if nothing frames it, else truncated
    OPEN     any bytes                  (write: no progress)    the end
    CLOSING  written bytes to be sent   2 s                     -

The user of an open tunnel decides how long it may be silent, since silence is no fault of one side alone.
"""

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import cast

from proxy.network.ticker import Ticker
from proxy.network.upstream.connection import WriteFlow
from proxy.network.upstream.response import (
    BODY,
    DONE,
    SWITCHED,
    ConnectionLimit,
    ResponseParser,
    UpstreamError,
    UpstreamResponse,
    ends_with_input,
)
from proxy.providers.headers import Address
from proxy.providers.provider import Timeout
from records.outcome import ErrorType

BACKLOG = 64 * 1024
"""Bytes that may wait for their reader before reading pauses."""

REFUSAL_BOUND = 1 << 20
LINGER_S = 2.0

HEAD, REFUSED, OPEN, CLOSING = range(4)


class Tunnel(asyncio.Protocol):
    """One upgraded connection. `headers` are those of the 101. `gone` is done when the socket is closed.

    The tunnel holds a slot of its connection limit until it is gone, so close or abort it.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        ticker: Ticker,
        timeout: Timeout,
        released: Callable[["Tunnel"], None],
    ) -> None:
        """`released` is called once, when the connection has closed or could not be opened."""
        self.check_at = 0.0
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._ticker = ticker
        self._timeout = timeout
        self._released = released
        self._parser = ResponseParser(may_switch=True)
        self._parser.begin(bodiless=False)
        self._outflow = WriteFlow(loop)
        self._transport: asyncio.Transport | None = None
        self._stage = HEAD
        self._size = 0  # bytes of the waiting chunks, or of the refusal's body
        self._chunks: list[bytes] = []
        self._eof = False
        self._error: UpstreamError | None = None
        self._paused = False
        self._waiter: asyncio.Future[None] | None = None
        self._sent_at = self._read_at = 0.0

    # For the user: a stream of raw bytes

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The response's headers, without trailers."""
        return self._parser.headers

    async def read(self) -> bytes:
        """Return the next bytes; b"" once the provider has closed.

        Raises UpstreamError when the connection broke, after the bytes that arrived before.
        """
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._eof:
                return b""
            await self._wait()
        chunks, self._chunks = self._chunks, []
        self._size = 0
        if self._paused:
            self._paused = False
            if not self._is_closing():
                self._open_transport.resume_reading()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def write(self, data: bytes) -> None:
        """Send bytes; does nothing when the provider has gone."""
        if not self._is_closing():
            self._open_transport.write(data)

    async def drain(self) -> None:
        """Wait until the provider has read most of the written bytes, or has gone."""
        await self._outflow.drain()

    def close(self) -> None:
        """Send the written bytes, then close, after 2 s at the latest."""
        if not self._is_closing():
            self._stage = CLOSING
            self._read_at = monotonic()
            self.check_at = 0.0
            self._open_transport.close()

    def abort(self) -> None:
        """Close at once, without a flush or a TLS close_notify. Idempotent."""
        self._fail("aborted", "the session was aborted")

    # For the opener

    async def upgrade(self, head: bytes) -> UpstreamResponse | None:
        """Send the request and wait for the response: the complete refusal, or None for an open tunnel.

        Raises UpstreamError.
        """
        self._sent_at = monotonic()
        self.write(head)
        parser = self._parser
        while parser.stage != DONE:
            if self._error is not None:
                raise self._error
            if self._stage == OPEN:
                return None
            await self._wait()
        refusal = self._refusal()
        self.abort()
        return refusal

    def let_go(self) -> None:
        """Release the slot. Idempotent.

        Called when the connection is gone, and after a cancelled dial, for which uvloop calls no
        connection_lost.
        """
        self._ticker.forget(self)
        if not self.gone.done():
            self.gone.set_result(None)
            self._released(self)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ticker.watch(self)
        if self._error is not None:  # aborted while dialling
            self._ticker.forget(self)
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._read_at = monotonic()
        if self._stage in (HEAD, REFUSED):
            data = self._parse(data)
        if data and self._stage == OPEN:
            self._keep(data)
            if self._size > BACKLOG and not self._paused:
                self._paused = True
                self._open_transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._eof = True
        parser = self._parser
        if parser.stage == BODY and ends_with_input(parser.headers):
            parser.stage = DONE
        elif self._stage in (HEAD, REFUSED) and parser.stage != DONE:
            silent = parser.head_size == 0
            self._fail(
                "provider_reset" if silent else "provider_truncated",
                "the provider closed the connection before the response was complete",
            )
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        whole = self._eof or self._parser.stage == DONE
        if not whole and self._error is None and self._stage != CLOSING:
            self._error = UpstreamError(
                "provider_reset", f"the connection was lost ({exc or 'no reason given'})"
            )
        self._eof = True
        self.resume_writing()
        self._wake()
        self.let_go()
        self._parser.close()

    def pause_writing(self) -> None:
        self._outflow.pause(self._open_transport.get_write_buffer_size())
        self.check_at = 0.0

    def resume_writing(self) -> None:
        self._outflow.resume()

    # Deadlines

    def check(self, now: float) -> None:
        """Act on the deadlines of the module's table."""
        timeout = self._timeout
        if self._stage == CLOSING:
            if now >= self._read_at + LINGER_S:
                self.abort()
        elif self._stage == OPEN:
            self._check_writing(now)
        elif not self._sent_at:
            self.check_at = now
        elif self._stage == HEAD and now >= self._sent_at + timeout.first_byte_s:
            self._fail("provider_timeout", f"no response to the upgrade within {timeout.first_byte_s} s")
        elif self._stage == REFUSED and now >= min(
            self._read_at + timeout.idle_s, self._sent_at + timeout.total_s
        ):
            self._fail("provider_timeout", "the response did not end in time")

    def _check_writing(self, now: float) -> None:
        if not self._outflow.blocked:
            self.check_at = float("inf")
        elif (
            self._outflow.stuck_s(self._open_transport.get_write_buffer_size(), now) >= self._timeout.write_s
        ):
            self._fail("provider_timeout", f"no byte accepted for {self._timeout.write_s} s")

    # Inside

    @property
    def _open_transport(self) -> asyncio.Transport:
        assert self._transport is not None  # noqa: S101 - set before any other call
        return self._transport

    def _keep(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)

    def _refusal(self) -> UpstreamResponse:
        """The parsed response, complete, which holds no slot."""
        parser = self._parser
        response = UpstreamResponse(
            self._loop, ConnectionLimit(self._loop, 0), self._timeout, streaming=False
        )
        response.status, response.reason, response.headers = parser.status, parser.reason, parser.headers
        response.headed = True
        response.feed(self._chunks)
        response.read_at = self._read_at
        response.end()
        return response

    def _is_closing(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def _parse(self, data: bytes) -> bytes:
        """Feed the parser; return the bytes after a 101."""
        parser = self._parser
        after = parser.feed(data)
        for piece in parser.pieces:
            self._keep(piece)
        parser.pieces.clear()
        if self._size > REFUSAL_BOUND:
            self._fail("provider_malformed", f"a refusal over {REFUSAL_BOUND} bytes")
        elif parser.fault:
            self._fail("provider_malformed", parser.fault)
        elif parser.stage == SWITCHED:
            self._stage = OPEN
            self.check_at = 0.0
            return data[after:]
        elif parser.status:
            self._stage = REFUSED
        return b""

    def _fail(self, error_type: ErrorType, message: str) -> None:
        if self._error is None:
            self._error = UpstreamError(error_type, message)
        if self._transport is None:
            self.let_go()
        else:
            self._transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


def upgrade_head(address: Address, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """Build the request head. `headers`: the caller's, lower-cased, without hop-by-hop fields.

    Raises ValueError when a part contains a line break, which would split the request in two.
    """
    head = address.head(b"GET", target, headers, 0)
    return head[:-2] + b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n"
