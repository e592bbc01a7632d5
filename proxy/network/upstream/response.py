"""A provider's response, parsed, then read as the request path sees it. No socket.

    Exception
    └── UpstreamError   the attempt has no complete response; `error_type` is the cause

It is the only error of the upstream side. Foreign errors (OSError, ssl, llhttp) are mapped where they arise.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from time import monotonic
from typing import Any, Protocol

import httptools

from proxy.providers.provider import Timeout
from records.outcome import ErrorType

HEAD_LIMIT = 64 * 1024
"""Bytes of one head, including interim responses, or of trailers."""

FIELD_LIMIT = 200

Headers = Sequence[tuple[bytes, bytes]]


def find_fault(status: int, headers: Headers, received: int) -> str:
    """Return why the head cannot be relayed, or "". `received`: bytes read, at least those of the head."""
    if not 200 <= status <= 599:
        return f"not an HTTP status: {status}"
    if len(headers) > FIELD_LIMIT:
        return f"over {FIELD_LIMIT} header fields"
    if received > HEAD_LIMIT and _size(headers) > HEAD_LIMIT:
        return f"over {HEAD_LIMIT} bytes of header fields"
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        return "an unexpected transfer coding"
    return ""


def ends_with_input(headers: Headers) -> bool:
    """True when only the end of input ends the body (RFC 9112 §6.3, last case)."""
    return all(name not in (b"content-length", b"transfer-encoding") for name, _ in headers)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)


IDLE, HEAD, BODY, DONE, SWITCHED = range(5)
SWITCHING = 101


class _OtherProtocol:
    """In the parser's place once the connection has switched."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def feed_data(self, data: bytes | memoryview) -> None:
        if data:
            self._pieces.append(bytes(data))


class ResponseParser:
    """Parses a connection's responses, one after another. No clock.

        stage     a byte means                       left by
        IDLE      an unexpected byte                 `begin`
        HEAD      status line, fields, or 1xx        the final head, or an expected 101
        BODY      body, framing or trailers          the end of the message
        DONE      an unexpected byte                 `begin`
        SWITCHED  another protocol

    llhttp parses the bytes; this class adds the bounds and the request's method. The assumptions about
    httptools 0.9 are tested by tests/proxy/test_upstream_connection.py.

    `status`, `reason` and `headers` (lower-cased, without trailers) are the final head's.

    `pieces`: body bytes fed so far; the reader removes them. `fault`: why the response cannot be relayed, ""
    if it can. `reusable`: once DONE, whether the message allows reuse of the connection. `head_size`: bytes
    fed in HEAD.
    """

    __deletable__ = ("_parser",)  # mypyc allows `del` only for these

    def __init__(self, *, may_switch: bool = False) -> None:
        """`may_switch`: a 101 is expected."""
        self.stage = IDLE
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append  # the cheapest callback for each piece
        self._may_switch = may_switch
        self._parser: Any = httptools.HttpResponseParser(self)
        self.begin(bodiless=False)
        self.stage = IDLE

    def begin(self, *, bodiless: bool) -> None:
        """Start a response. `bodiless`: it answers HEAD and has no body, whatever its fields say."""
        self.stage = HEAD
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.fault = ""
        self.reusable = False
        self.head_size = 0
        self._bodiless = bodiless
        self._body_pieces = 0
        self._barren = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Parse bytes. Those of another protocol are pieces, as they came."""
        stage, size = self.stage, len(data)
        if stage == HEAD:
            self.head_size += size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.stage == SWITCHED:
                self._parser = _OtherProtocol(self.pieces)
                self._parser.feed_data(data[int(upgrade.args[0]) :])
            else:
                self._break(upgrade)
        except httptools.HttpParserError as error:
            self._break(error)
        else:
            if self.stage == SWITCHED and stage == HEAD:
                self.fault = self.fault or "a 101 response that names no protocol"
        if self.pieces:
            self._barren = 0
            if self.stage == DONE:  # later pieces do not belong to this message
                del self.pieces[self._body_pieces :]
        elif self.stage == stage:
            self._fed_nothing(size)

    def close(self) -> None:
        """Release the parser after the last bytes."""
        del self._parser  # breaks the reference cycle through the callbacks

    # llhttp's callbacks. In DONE they do not belong to the message.

    def on_message_begin(self) -> None:
        if self.stage == DONE:
            self.reusable = False

    def on_status(self, reason: bytes) -> None:
        if self.stage == HEAD:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.stage == HEAD:  # in BODY it is a trailer
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.stage != HEAD:
            return
        if status == SWITCHING and self._may_switch:
            self.stage, self.status = SWITCHED, status
            self.fault = find_fault(200, self.headers, self.head_size)  # 200: a 101 counts as success here
        elif not 100 <= status <= 199:
            self.status = status
            self.fault = find_fault(status, self.headers, self.head_size)
            self.stage = DONE if self._bodiless else BODY

    def on_message_complete(self) -> None:
        if self.stage == BODY:
            self.stage = DONE
            self._body_pieces = len(self.pieces)
            self.reusable = self._parser.should_keep_alive()  # valid only in this callback
        elif self.stage == HEAD:  # an interim response has ended; the final one follows
            self.headers = []
            self.reason = b""

    # Inside

    def _break(self, why: Exception) -> None:
        """Record a parse error of llhttp."""
        if self.stage == DONE:
            self.reusable = False
        else:
            self.fault = self.fault or f"malformed response: {why}"

    def _fed_nothing(self, size: int) -> None:
        """Bound the head, chunk extensions and trailers, which llhttp does not."""
        if self.stage == BODY:
            self._barren += size
        if max(self._barren, self.head_size if self.stage == HEAD else 0) > HEAD_LIMIT:
            self.fault = self.fault or f"over {HEAD_LIMIT} response bytes without body"


class UpstreamError(Exception):
    """A failed upstream attempt, raised by `send` before the head and by `read` in the body.

    `error_type` is one of provider_connect, provider_timeout, provider_reset, provider_truncated,
    provider_malformed, provider_stale, shed (connection limit reached), proxy_no_descriptors or aborted (by
    our side).
    """

    def __init__(self, error_type: ErrorType, message: str) -> None:
        super().__init__(message)
        self.error_type: ErrorType = error_type
        self.message = message


class ConnectionLimit:
    """A number of slots, of which `free` are left, with a FIFO queue of waiters. Release each slot once."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self.free = limit
        self._waiters: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiters)

    def take(self) -> bool:
        """Take a free slot, or return False. A slot is free only when nobody waits."""
        if self.free == 0:
            return False
        self.free -= 1
        return True

    async def wait(self) -> None:
        """Wait in the queue for a slot. Cancellation leaks no slot."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                with suppress(ValueError):  # `release` may have removed it already
                    self._waiters.remove(turn)
            else:  # the slot was assigned before the cancellation
                self.release()
            raise

    def release(self) -> None:
        """Pass the slot to the first waiter, or free it."""
        while self._waiters:
            turn = self._waiters.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1


Take = Callable[[bytes], bool]
"""Takes body bytes; True when it can take more now."""


class BodySource(Protocol):
    """The connection that an unfinished response is read from."""

    def resume(self) -> None: ...
    def give_up(self) -> None: ...


class UpstreamResponse:
    """A response. It holds a connection and a slot until it is read to its end or aborted.

    `status`, `reason` and `headers` (lower-cased, in order, without trailers) are the final head's. `read_at`
    is the monotonic second of the last socket read that brought body bytes or the end. `longest_gap_s`: the
    longest time between two of them, without those in which the caller was behind; one begins at
    `silent_from`. `whole`: the last byte has arrived, whether it has been read or not. `source`: the
    connection that an unfinished response is read from, set by the connection.
    """

    __slots__ = (
        "_chunks",
        "_error",
        "_limit",
        "_loop",
        "_paused_at",
        "_take",
        "_waiter",
        "buffered",
        "headed",
        "headers",
        "longest_gap_s",
        "read_at",
        "reason",
        "sent_at",
        "silent_from",
        "source",
        "status",
        "streaming",
        "timeout",
        "whole",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limit: ConnectionLimit, timeout: Timeout, *, streaming: bool
    ) -> None:
        """`limit`: a limit of which a slot is taken; the slot is released once, in every ending."""
        self._loop = loop
        self._limit = limit
        self.timeout = timeout
        self.streaming = streaming
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.read_at = self.longest_gap_s = 0.0
        self.buffered = 0
        self.headed = False
        self.sent_at: float | None = None
        self._chunks: list[bytes] = []
        self.whole = False
        self._error: UpstreamError | None = None
        self.source: BodySource | None = None
        self._take: Take | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._paused_at: float | None = None
        self.silent_from = inf

    # For the user

    @property
    def framed(self) -> bool:
        """True when the body's end does not depend on the end of the connection."""
        return not ends_with_input(self.headers)

    @property
    def complete(self) -> bool:
        """True when the last byte has arrived and the whole body has been read."""
        return self.whole and not self._chunks

    async def read(self) -> bytes:
        """Return the next body bytes, at once if some have arrived; b"" at a clean end.

        Raises UpstreamError when the body broke, after the bytes that arrived before.
        """
        chunks = self._chunks
        while not chunks:
            if self._error is not None:
                raise self._error
            if self.whole:
                return b""
            await self._wait()
        return self._taken()

    async def pass_on(self, take: Take) -> bytes | None:
        """Pass the body to `take` as it is read from the socket, in the same turn of the loop.

        Returns the last bytes, which `take` does not get, when the message is complete, or None when `take`
        cannot take more for now. Raises UpstreamError when the body broke, and whatever `take` raises.
        """
        while not self.whole:
            if self._chunks and not take(self._taken()):
                return None
            if self._error is not None:
                raise self._error
            self._take = take
            if self._paused_at is not None:
                self._resume()
            try:
                await self._wait()
                if self._take is None:
                    return None
            finally:
                self._take = None
        return self._taken()

    def silence_s(self, now: float) -> float:
        """The longest gap, or how long the provider has been silent now, if that is longer."""
        if self.whole or self._paused_at is not None:
            return self.longest_gap_s
        return max(self.longest_gap_s, now - self.silent_from)

    def abort(self) -> None:
        """Close the connection at once. Idempotent; does nothing once the response is complete."""
        source = self.source
        self.end(UpstreamError("aborted", "the exchange was aborted"))
        if source is not None:
            source.give_up()

    # For the connection

    async def head(self) -> None:
        """Wait for the head. Raises UpstreamError."""
        while not self.headed:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def heard(self, now: float) -> None:
        """Note a socket read that brought body bytes or the end."""
        gap_s = now - self.silent_from
        if gap_s > self.longest_gap_s:
            self.longest_gap_s = gap_s
        self.read_at = self.silent_from = now

    def feed(self, pieces: Sequence[bytes]) -> None:
        """Append body bytes; `wake` notifies the reader."""
        self._chunks += pieces
        self.buffered += sum(map(len, pieces))

    def passed_on(self) -> bool:
        """Pass the fed bytes to the current `take`; False without one."""
        if self._take is None:
            return False
        try:
            more = self._take(self._taken())
        except Exception as problem:  # raised in `pass_on`, not in the connection
            self._take = None
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_exception(problem)
        else:
            if not more:
                self._take = None
                self.wake()
        return True

    @property
    def wanted(self) -> bool:
        """True while `pass_on` takes fed bytes at once."""
        return self._take is not None

    def wake(self) -> None:
        """Wake a waiting `head`, `read` or `pass_on`."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def end(self, error: UpstreamError | None = None) -> None:
        """Complete the response, or fail it: its connection no longer belongs to it. The first end counts."""
        if self.whole or self._error is not None:
            return
        self._error = error
        self.whole = error is None
        if error is not None and error.error_type == "aborted":
            self._chunks.clear()
        self.source = self._paused_at = None
        self._limit.release()
        self.wake()

    def pause(self, now: float) -> None:
        """Note that the reader is behind; the pause does not count against the provider."""
        self._paused_at = now

    def deadline(self) -> tuple[float, str]:
        """Return the next deadline in monotonic seconds and its message. Infinite while paused."""
        if self.sent_at is None or self._paused_at is not None:
            return float("inf"), ""
        timeout = self.timeout
        total = (self.sent_at + timeout.total_s, f"no complete response within {timeout.total_s} s")
        if self.read_at:
            return min(total, (self.silent_from + timeout.idle_s, f"no body byte for {timeout.idle_s} s"))
        if self.streaming:
            return min(
                total, (self.sent_at + timeout.first_byte_s, f"no body byte within {timeout.first_byte_s} s")
            )
        return total

    # Inside

    def _taken(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self.buffered = 0
        if self._paused_at is not None:
            self._resume()
        return data

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _resume(self) -> None:
        if self._paused_at is None or self.source is None:
            return
        self.silent_from = monotonic()
        if self.sent_at is not None:
            self.sent_at += self.silent_from - self._paused_at
        self._paused_at = None
        self.source.resume()
