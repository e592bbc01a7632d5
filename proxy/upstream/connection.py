"""One connection to a provider: socket and parser, one exchange at a time. The pool decides whose.

    stage   a byte of input means            end of input means
    IDLE    desync: abort                    leave the pool
    HEAD    status line, fields, or 1xx      stale, reset or truncated
    BODY    body, framing or trailers        the end where nothing frames the body, else truncated
    DONE    desync: abort                    nothing: the exchange has its whole message

llhttp answers what a byte means; what it does not know (the request's method, the end of input, any bound)
is kept here. Facts about httptools 0.9 and uvloop 0.23 are held by tests/proxy/test_upstream_connection.py.
"""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Protocol, cast

import httptools

from proxy.ticker import Ticker
from proxy.upstream.answer import Answer
from proxy.upstream.errors import UpstreamError
from proxy.upstream.framing import HEAD_LIMIT, ends_with_input, find_fault
from records.outcome import ErrorType

BACKLOG = 64 * 1024
"""Body bytes that may wait for their reader before the socket is left alone."""

JOINED = 64 * 1024
"""A body up to this size leaves in one write with its head; above, copying costs more than it saves."""

READ = 64 * 1024
"""Bytes of one read. uvloop's own are 256 KiB: what a provider has sent ahead would all be held at once."""

RESTED_S = 1.0
KEEP_IDLE_S = 15.0
KEEP_AGE_S = 300.0

IDLE, HEAD, BODY, DONE = range(4)


class Keeper(Protocol):
    """The pool as a connection sees it."""

    def keep(self, connection: "Connection") -> None:
        """The connection is idle and may be used again."""

    def drop(self, connection: "Connection") -> None:
        """The connection is gone."""


class Connection:
    """The protocol object of one upstream transport, an asyncio.BufferedProtocol by its methods."""

    __deletable__ = ("_parser",)  # mypyc's word for what `del` may take

    def __init__(
        self, loop: asyncio.AbstractEventLoop, ticker: Ticker, keeper: Keeper, room: memoryview
    ) -> None:
        """`room`: where what is read stands while it is parsed; all connections may share it."""
        self.check_at = 0.0
        self._room = room
        self.gone: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._ticker = ticker
        self._keeper = keeper
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # llhttp's callback for each piece: nothing is cheaper
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._stage = IDLE
        self._eof = False
        self._used = False
        self._idle_since = 0.0
        self._rested_s = 0.0
        self._writable: asyncio.Future[None] | None = None
        self._backlog = 0
        self._progress_at = 0.0

    # What the pool does with it.

    def start(self, answer: Answer, head: bytes, body: bytes | None, *, bodiless: bool) -> None:
        """Send a request. `body` None: `pump` sends it. `bodiless`: a response to HEAD has none either."""
        self._rested_s = monotonic() - self._idle_since
        self._answer = answer
        self._stage = HEAD
        self._bodiless = bodiless
        self._fault = ""
        self._reusable = False
        self._head_size = 0
        self._body_pieces = 0
        self._barren = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._reason = b""
        self._pumped = body is not None
        answer.begin(self)
        if not body:
            self._transport.write(head)
        elif len(body) <= JOINED:
            self._transport.write(head + body)
        else:
            self._transport.writelines([head, body])
        if body is not None:
            answer.sent_at = monotonic()
        self.check_at = 0.0

    async def pump(self, answer: Answer, body: AsyncIterator[bytes], length: int | None) -> None:
        """Send a streamed body; stop when the final response is in already. `length` None: in chunks.

        Raises what the iterator raises, and ValueError when it does not keep to `length`.
        """
        left = length
        async for piece in body:
            if self._stage != HEAD or self._answer is not answer:
                return
            if left is None:
                if piece:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            else:
                left -= len(piece)
                if left < 0:
                    raise ValueError("the request body is longer than its Content-Length")
                self._transport.write(piece)
            if self._writable is not None:
                await asyncio.shield(self._writable)
        if self._answer is not answer:
            return
        if left:
            raise ValueError("the request body is shorter than its Content-Length")
        if left is None:
            self._transport.write(b"0\r\n\r\n")
        self._pumped = True
        answer.sent_at = monotonic()
        self.check_at = 0.0

    def is_usable(self) -> bool:
        """False once the provider or we have closed it."""
        return not self._eof and not self._transport.is_closing()

    def shut(self) -> None:
        """Abort it, whatever it is doing."""
        self._fail("aborted", "the proxy is stopping")

    # What the answer asks of it.

    def resume(self) -> None:
        """Read on: the backlog has been taken."""
        self._transport.resume_reading()

    def give_up(self) -> None:
        """Abort the transport: no flush, no TLS farewell. What still arrives is nobody's."""
        self._answer = None
        self._stage = DONE
        self._transport.abort()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._made_at = self._idle_since = monotonic()
        self._ticker.watch(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go. This bounds a read, and with it what a slow reader holds."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        answer = self._answer
        if answer is None:
            self.give_up()
            return
        stage = self._stage
        if stage == HEAD:
            self._head_size += nbytes
        try:
            self._parser.feed_data(self._room[:nbytes])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            if self._stage != DONE:
                self._feed(answer)
                self._fail("provider_malformed", f"malformed response: {exc}")
                return
            self._reusable = False
        has_body = self._feed(answer)
        if self._fault:
            self._fail("provider_malformed", self._fault)
        elif self._stage == DONE:
            answer.read_at = monotonic()
            self._finish(answer)
        elif has_body:
            self._fed(answer)
        elif self._stage != stage:
            answer.wake()
        else:
            self._fed_nothing(nbytes)

    def eof_received(self) -> None:
        self._eof = True
        answer = self._answer
        if answer is None:
            return
        if self._stage == BODY and ends_with_input(self._headers):
            self._stage = DONE
            answer.read_at = monotonic()
            self._finish(answer)
        else:
            self._break("the provider closed the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self._ticker.forget(self)
        self._eof = True
        if self._answer is not None:
            self._break(f"the connection was lost ({exc or 'no farewell'})", reset=exc is not None)
        self._keeper.drop(self)
        self.resume_writing()
        self.gone.set_result(None)
        del self._parser  # it holds our callbacks: without it no cycle is left to collect

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()
        self._backlog = self._transport.get_write_buffer_size()
        self._progress_at = monotonic()
        self.check_at = 0.0

    def resume_writing(self) -> None:
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None
            if self._pumped and self._answer is not None:
                self._answer.sent_at = monotonic()

    # llhttp's callbacks. In HEAD and BODY there is an answer; in DONE they belong to nobody's message.

    def on_message_begin(self) -> None:
        if self._stage == DONE:
            self._reusable = False

    def on_status(self, reason: bytes) -> None:
        if self._stage == HEAD:
            self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._stage == HEAD:  # in BODY it is a trailer
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self._stage != HEAD or 100 <= status <= 199:
            return
        answer = cast(Answer, self._answer)
        answer.status = status
        answer.reason = self._reason
        answer.headers = self._headers
        self._fault = find_fault(status, self._headers, self._head_size)
        answer.headed = not self._fault
        self._stage = DONE if self._bodiless else BODY

    def on_message_complete(self) -> None:
        if self._stage == BODY:
            self._stage = DONE
            self._body_pieces = len(self._pieces)
            self._reusable = self._parser.should_keep_alive()  # told only here, in the callback
        elif self._stage == HEAD:  # an interim response is over; the final one follows
            self._headers = []
            self._reason = b""

    # Deadlines

    def check(self, now: float) -> None:
        """Fail what the provider is too late for, and retire what was idle or alive for too long."""
        answer = self._answer
        if answer is None:
            self.check_at = min(self._idle_since + KEEP_IDLE_S, self._made_at + KEEP_AGE_S)
            if self.check_at <= now:
                self._keeper.drop(self)
                self._transport.abort()
        elif self._stage == HEAD and self._writable is not None:
            self._check_writing(answer, now)
        else:
            deadline, why = answer.deadline()
            if deadline <= now:
                self._fail("provider_timeout", why)
            elif why:
                self.check_at = deadline if answer.read_at else min(deadline, now + answer.timeout.idle_s)

    def _check_writing(self, answer: Answer, now: float) -> None:
        backlog = self._transport.get_write_buffer_size()
        if backlog != self._backlog:
            self._backlog = backlog
            self._progress_at = now
        elif now - self._progress_at >= answer.timeout.write_s:
            self._fail("provider_timeout", f"no request byte taken for {answer.timeout.write_s} s")

    # Endings

    def _feed(self, answer: Answer) -> bool:
        """Give what was read of the body to its answer; False when that is nothing."""
        pieces = self._pieces
        if not pieces:
            return False
        if self._stage == DONE:  # what follows the message's last piece is somebody else's
            del pieces[self._body_pieces :]
        answer.feed(pieces)
        pieces.clear()
        return True

    def _fed(self, answer: Answer) -> None:
        answer.read_at = now = monotonic()
        self._barren = 0
        if answer.passed_on():
            if not answer.wanted:
                self._pause(answer, now)
            return
        if answer.buffered > BACKLOG:
            self._pause(answer, now)
        answer.wake()

    def _pause(self, answer: Answer, now: float) -> None:
        """Leave the socket alone until the answer's reader wants more."""
        self._transport.pause_reading()
        answer.pause(now)
        self.check_at = 0.0

    def _fed_nothing(self, size: int) -> None:
        """More of the head, or chunk extensions and trailers: llhttp bounds none of them."""
        if self._stage == BODY:
            self._barren += size
        if max(self._barren, self._head_size if self._stage == HEAD else 0) > HEAD_LIMIT:
            self._fail("provider_malformed", f"over {HEAD_LIMIT} bytes of the response and no body")

    def _finish(self, answer: Answer) -> None:
        """The message is complete: back to the pool if nothing speaks against it."""
        self._answer = None
        reusable = (
            self._reusable
            and self._pumped
            and not self._eof
            and answer.read_at - self._made_at < KEEP_AGE_S
            and self._transport.get_write_buffer_size() == 0
        )
        if reusable:
            self._stage = IDLE
            self._used = True
            self._idle_since = answer.read_at
            self.check_at = 0.0
            self._keeper.keep(self)
        else:
            self._transport.abort()
        answer.finish()

    def _fail(self, error_type: ErrorType, message: str) -> None:
        answer = self._answer
        self.give_up()
        if answer is not None:
            answer.fail(UpstreamError(error_type, message))

    def _break(self, why: str, *, reset: bool = False) -> None:
        """The provider ended the exchange before its time.

        Stale is what a keep-alive limit on the other side explains: a connection that had rested. One that
        was in use a moment ago was broken on purpose, and that is its provider's failure.
        """
        silent = self._head_size == 0
        if silent and self._used and self._rested_s >= RESTED_S:
            self._fail("provider_stale", f"{why} that had been kept, before a byte of its response")
        elif silent or reset:
            self._fail("provider_reset", f"{why} before the end of its response")
        else:
            self._fail("provider_truncated", f"{why} in the middle of its response")
