"""One upstream attempt's reply, from its head to its end, and what was wrong with it."""

import time
from collections.abc import Mapping
from typing import Protocol

from msgspec.structs import replace

from proxy.answer_recorder import AnswerRecorder
from proxy.call import Call
from proxy.reading import Blind, Reader, reader_for
from proxy.realtime.session import Session
from proxy.request import UpstreamRequest
from proxy.routes import ArmTarget
from proxy.server import sendable
from proxy.upstream import UpstreamError, UpstreamResponse
from proxy.upstream.response_parser import SWITCHING
from records.outcome import ErrorType, Usage

STREAM_HELD = 64 << 10
JSON_HELD = 1 << 20

_REFUSALS = frozenset({400, 401, 403, 404, 422})
_CALLER_ERRORS: Mapping[int, ErrorType] = {
    401: "caller_unauthorized",
    403: "caller_unauthorized",
    404: "caller_not_found",
    413: "caller_too_large",
}


def status_failure(status: int, *, candidate: bool) -> ErrorType | None:
    """What a status says of its sender; a covered candidate's refusal is its own until the baseline refuses
    too."""
    if status < 400:
        return None
    if status >= 500:
        return "provider_5xx"
    if status == 429:
        return "provider_429"
    if candidate:
        return "candidate_rejects" if status in _REFUSALS else None
    return _CALLER_ERRORS.get(status, "caller_rejected")


class Outlet(Protocol):
    """Where an answer's bytes go. `write` of b"" lets the head go out alone."""

    @property
    def paused(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...


class Attempt:
    """What one attempt brought. `failure` is None as long as nothing is wrong; `ended` at the clean end.

    `heard`: its text, where it is to be captured. `session`: what a WebSocket has in place of an answer.
    `length` is the body's, None where the provider does not tell it or some of the body will be left out.
    """

    __slots__ = (
        "answer",
        "ended",
        "failure",
        "first_byte_at",
        "heard",
        "held",
        "lane",
        "length",
        "reader",
        "session",
        "started",
    )

    def __init__(self, lane: ArmTarget) -> None:
        self.lane = lane
        self.started = time.monotonic()
        self.answer: UpstreamResponse | None = None
        self.reader: Reader = Blind()
        self.failure: ErrorType | None = None
        self.first_byte_at: float | None = None
        self.held = b""
        self.heard: AnswerRecorder | None = None
        self.length: int | None = None
        self.ended = False
        self.session: Session | None = None

    def opened(
        self, answer: UpstreamResponse, call: Call, request: UpstreamRequest, *, covered: bool
    ) -> None:
        """The head has come: choose how the body is read. One that cannot be passed on is no answer."""
        if answer.status > 599 or not sendable([*answer.headers, (b"reason", answer.reason)]):
            self.failure = "provider_malformed"
            answer.abort()
            return
        self.answer = answer
        named = dict(answer.headers)
        length = named.get(b"content-length")
        stripped = request.injected and answer.status < 300  # an error has no extra chunk to leave out
        self.length = None if length is None or stripped else int(length)
        self.failure = status_failure(answer.status, candidate=covered)
        self.heard = AnswerRecorder() if call.sample is not None else None
        self.reader = reader_for(
            call.route.operation,
            status=answer.status,
            content_type=named.get(b"content-type", b"").lower(),
            encoding=named.get(b"content-encoding", b"").lower(),
            strip=request.injected,
            around=self.heard.around if self.heard is not None else None,
        )

    async def hold(self, *, stream: bool) -> None:
        """Keep back a candidate's first SSE event, or its whole JSON (both bounded), to see if it failed."""
        bound = STREAM_HELD if stream else JSON_HELD
        while not self.ended and not self.reader.has_event and len(self.held) < bound:
            self.held += await self._read()
        if self.reader.failed:
            self.failure = "provider_stream_error"

    async def relay(self, out: Outlet) -> bytes:
        """Hand the answer over as it comes, but for its last bytes: they are returned, and complete it.

        Raises UpstreamError where it broke off. Where only the connection's end frames it, that is also where
        its closing event is missing: nothing else tells its end from a break.
        """
        held, self.held = self.held, b""
        if self.ended:
            return held
        if not self._answered.whole:
            out.write(held)
            held = b""

        def take(data: bytes) -> bool:
            if data := self._fed(data):
                out.write(data)
            return not out.paused

        while (last := await self._answered.pass_on(take)) is None:
            await out.drain()
        last = held + self._finished(last)
        if self.failure == "provider_truncated" and not self._answered.framed:
            out.write(last)
            raise UpstreamError(self.failure, "the provider's connection ended before its answer did")
        return last

    async def _read(self) -> bytes:
        data = await self._answered.read()
        return self._finished(data) if self._answered.complete else self._fed(data)

    def _fed(self, data: bytes) -> bytes:
        """Show the reader what has come; what may go out now."""
        if not data:
            return data
        read_at = self._answered.read_at
        if self.first_byte_at is None:
            self.first_byte_at = read_at
        return self.reader.feed(data, read_at)

    def _finished(self, data: bytes) -> bytes:
        """The same with the last bytes."""
        data = self._fed(data)
        rest, wrong = self.reader.finish()
        self.failure = self.failure or wrong
        self.ended = True
        return data + rest if rest else data

    @property
    def _answered(self) -> UpstreamResponse:
        assert self.answer is not None  # noqa: S101 - only replies that opened are read
        return self.answer

    @property
    def status(self) -> int | None:
        """The provider's status; None when no head came."""
        if self.session is not None:
            return SWITCHING
        return self.answer.status if self.answer is not None else None

    @property
    def last_read_at(self) -> float:
        """CLOCK_MONOTONIC seconds of the provider's last body byte read, or of now when none came."""
        return (self.answer.read_at if self.answer is not None else 0.0) or time.monotonic()

    def latency_s(self, since: float) -> float | None:
        """From `since` to the provider's last byte. None for a session: its length is up to its caller."""
        return None if self.session is not None else self.last_read_at - since

    def ttft_s(self, since: float) -> float | None:
        """From `since` to the first token; a session has a beginning of its own for it."""
        if self.session is not None:
            return self.session.events.ttft_s
        at = self.reader.first_token_at
        return at - since if at is not None else None

    @property
    def usage(self) -> Usage | None:
        """What was counted; an answer that broke off was counted short."""
        if self.session is not None:
            return self.session.usage
        usage = self.reader.usage
        return usage if usage is None or self.reader.done else replace(usage, estimated=True)

    @property
    def all_text(self) -> bool:
        """True when no token of it was of another kind, with a price of its own."""
        return self.session is None or not self.session.events.spoke

    @property
    def wrong(self) -> ErrorType | None:
        """What was wrong with it in the end: `failure`, or a status that only the caller's record minds (a
        candidate's 413 is no reason to ask the baseline)."""
        if self.failure is not None or self.answer is None:
            return self.failure
        return status_failure(self.answer.status, candidate=False)

    def abort(self) -> None:
        """Give the connection up unless the answer was complete."""
        if self.session is not None:
            self.session.abort()
        if self.answer is not None:
            self.answer.abort()
