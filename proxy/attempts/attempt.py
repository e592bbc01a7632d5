"""One upstream attempt: its response or its session from head to end, and its failure if it had one."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Protocol

from msgspec.structs import replace

from common.clock import retry_after_s
from proxy.answers.provider_error import lacks_model
from proxy.answers.quota import is_throttled
from proxy.answers.reader import BlindReader, Reader, reader_for
from proxy.answers.recorder import AnswerRecorder
from proxy.answers.sse import ERROR_BOUND
from proxy.attempts.realtime_session import RealtimeSession
from proxy.calls.call import Call, UpstreamRequest
from proxy.calls.routes import ArmTarget
from proxy.dialects.operation import CollectedOutput
from proxy.network.server.caller_request import sendable
from proxy.network.upstream.response import SWITCHING, UpstreamError, UpstreamResponse
from proxy.providers.headers import request_id_of
from records.outcome import NO_MODEL, THROTTLED, ErrorType, Usage

STREAM_HELD = 64 << 10
JSON_HELD = 1 << 20
HEARD_WITHIN_S = 0.05
"""How long a fallback waits for the rest of a refusal. Most come whole with their head."""

_PROVIDER_ERRORS: Mapping[int, ErrorType] = {
    408: "provider_timeout",
    424: "provider_5xx",  # Bedrock's ModelErrorException and ModelStreamErrorException
    429: "provider_429",
}
_LEAST_ERROR = 400
_REFUSALS = frozenset({400, 401, 403, 404, 422})
_OF_NO_MODEL = frozenset({400, 404, 410, 422})
"""The statuses with which providers say that they have no such model."""
_CALLER_ERRORS: Mapping[int, ErrorType] = {
    401: "caller_unauthorized",
    403: "caller_unauthorized",
    404: "caller_not_found",
    413: "caller_too_large",
}


def status_failure(status: int, *, candidate: bool) -> ErrorType | None:
    """Map a status to an error type; None when the status is no failure.

    With `candidate`, a fallback covers the candidate and its refusal counts as `candidate_rejects`.
    """
    if status < 400:
        return None
    if status >= 500:
        return "provider_5xx"
    if status in _PROVIDER_ERRORS:
        return _PROVIDER_ERRORS[status]
    if candidate:
        return "candidate_rejects" if status in _REFUSALS else None
    return _CALLER_ERRORS.get(status, "caller_rejected")


class AnswerOutlet(Protocol):
    """The destination of an answer's bytes. `write(b"")` sends the head alone."""

    @property
    def paused(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...


class _Nowhere:
    """An outlet that discards all bytes."""

    paused = False

    def write(self, data: bytes) -> None:
        pass

    async def drain(self) -> None:
        pass


NOWHERE = _Nowhere()
_UNREAD = BlindReader()


class Attempt:
    """One upstream attempt. `failure` is None while the attempt is good; `ended` is True after a clean end.

    `chunks`: how often bytes of the body were read. `gap_s`: the longest gap between a socket's events.
    `recorder`: records the answer for capture, None without capture. `session`: the WebSocket session that
    replaces the response. `output`: what the model wrote, if that is to be judged by what the request lets it
    hold. `length`: length of the body, None when unknown or when bytes will be left out.
    `request`: the newest that was sent. `sent_at`: when the first one went out. `problem`: why it failed, in
    words. `status`: the provider's; None without a response head. `request_id`: the provider's of the newest
    request that it answered.
    """

    __slots__ = (
        "chunks",
        "ended",
        "failure",
        "first_byte_at",
        "gap_s",
        "held",
        "length",
        "output",
        "problem",
        "reader",
        "recorder",
        "request",
        "request_id",
        "response",
        "sent_at",
        "session",
        "started",
        "status",
        "target",
    )

    def __init__(self, target: ArmTarget) -> None:
        self.target = target
        self.started = time.monotonic()
        self.response: UpstreamResponse | None = None
        self.status: int | None = None
        self.reader: Reader = _UNREAD
        self.failure: ErrorType | None = None
        self.problem = ""
        self.request: UpstreamRequest | None = None
        self.request_id = ""
        self.sent_at: float | None = None
        self.first_byte_at: float | None = None
        self.chunks = 0
        self.gap_s = 0.0
        self.held = b""
        self.recorder: AnswerRecorder | None = None
        self.length: int | None = None
        self.ended = False
        self.output: CollectedOutput | None = None
        self.session: RealtimeSession | None = None

    def opened(self, response: UpstreamResponse, call: Call, *, covered: bool) -> None:
        """Take the response to `request` once its head is in, and choose the reader of its body.

        A head that cannot be relayed counts as `provider_malformed`.
        """
        status = response.status
        if status > 599 or not sendable([*response.headers, (b"reason", response.reason)]):
            self.failure = "provider_malformed"
            response.abort()
            return
        request = self.request
        assert request is not None  # noqa: S101 - it has been sent
        self.response, self.status = response, status
        named = dict(response.headers)
        self.request_id = request_id_of(named, call.named)
        length = named.get(b"content-length")
        stripped = request.hides_usage and status < 300  # errors have no usage chunk to leave out
        self.length = None if length is None or stripped else int(length)
        self.failure = status_failure(status, candidate=covered) if status >= 400 else None
        self.recorder = AnswerRecorder() if call.sample is not None else None
        if request.output is not None and status < 300:
            self.output = CollectedOutput()
        operation = call.route.operation
        self.reader = reader_for(
            operation,
            status=status,
            content_type=named.get(b"content-type", b"").lower(),
            encoding=named.get(b"content-encoding", b"").lower(),
            strip=request.hides_usage,
            recorder=self.recorder,
            output=self.output,
            counted=operation.usage_in_head(named) if operation.usage_in_head is not None else None,
        )

    async def hold(self, *, stream: bool) -> None:
        """Hold back a candidate's first SSE event, or its whole JSON (both bounded), to detect a failure.

        Of a refusal what its provider says at once.
        """
        if self.failure is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARD_WITHIN_S):
                    await self.refusal()
            return
        bound = STREAM_HELD if stream else JSON_HELD
        while not self.ended and not self.reader.seen.has_event and len(self.held) < bound:
            self.held += await self._read()
        if self.reader.seen.failed:
            self.failure = "provider_stream_error"

    async def refusal(self) -> bytes:
        """Read what the provider says about its refusal, within a bound, and hold it back for the caller."""
        with suppress(UpstreamError):  # whoever reads on meets it again
            while (
                not self.ended and len(self.held) < STREAM_HELD and len(self.reader.seen.error) < ERROR_BOUND
            ):
                self.held += await self._read()
        return self.reader.seen.error

    def tell_cause(self) -> None:
        """Say whether a rate or quota is used up, or the provider has not the arm's model. A stream that
        breaks off later is broken."""
        seen = self.reader.seen
        if self.status in _OF_NO_MODEL and self.target.model and self.response is not None:
            named = dict(self.response.headers)
            if lacks_model(seen.error, type_in_head=named.get(b"x-amzn-errortype", b"")):
                self.failure = NO_MODEL
        if self.session is not None and self.failure == "caller_not_found" and self.target.model:
            self.failure = NO_MODEL  # as the session's first event says
        early = self.failure == "provider_stream_error" and seen.first_token_at is None
        if self.failure == "provider_429" or (early and seen.error):
            headers = self.response.headers if self.response is not None and not early else ()
            if is_throttled(seen.error, headers):
                self.failure = THROTTLED

    @property
    def is_refusal(self) -> bool:
        """True when the provider answered with an error status, which can be relayed."""
        return self.response is not None and self.response.status >= _LEAST_ERROR

    @property
    def retry_after_s(self) -> float:
        """For how many seconds the provider's answer asks to be left alone; 0.0 where it does not."""
        headers = self.response.headers if self.response is not None else ()
        said = dict(headers).get(b"retry-after", b"").decode("latin-1")
        return retry_after_s(said, time.time()) or 0.0

    def drop(self) -> None:
        """Abort the connection, and forget an answer that cannot be relayed."""
        self.abort()
        self.response = None

    def start_again(self) -> None:
        """Forget the response, before another request is sent in its place."""
        self.abort()
        self.response = self.status = self.first_byte_at = self.failure = None
        self.held, self.ended, self.chunks, self.request_id = b"", False, 0, ""

    async def relay(self, out: AnswerOutlet) -> bytes:
        """Relay the body as it arrives, except its last bytes, which are returned.

        Raises UpstreamError when the body breaks off. A body framed only by the end of the connection also
        counts as broken when its closing event is missing, since nothing else marks a clean end.
        """
        held, self.held = self.held, b""
        if self.ended:
            return held
        response = self.response
        assert response is not None  # noqa: S101 - only attempts with a response are relayed
        if response.whole:
            last = held + self._finished(response, await response.read())
        else:
            out.write(held)
            last = self._finished(response, await self._passed_on(response, out))
        if self.failure == "provider_truncated" and not response.framed:
            out.write(last)
            raise UpstreamError(self.failure, "the connection ended before the answer was complete")
        return last

    async def _passed_on(self, response: UpstreamResponse, out: AnswerOutlet) -> bytes:
        """Pass the body on as it is read from the socket; return its last bytes."""

        def take(data: bytes) -> bool:
            if data := self._fed(response, data):
                out.write(data)
            return not out.paused

        while (last := await response.pass_on(take)) is None:
            await out.drain()
        return last

    async def _read(self) -> bytes:
        response = self.response
        assert response is not None  # noqa: S101 - only attempts with a response are read
        data = await response.read()
        return self._finished(response, data) if response.complete else self._fed(response, data)

    def _fed(self, response: UpstreamResponse, data: bytes) -> bytes:
        """Feed the reader and return the bytes that may go out now."""
        if not data:
            return data
        read_at = response.read_at
        if self.first_byte_at is None:
            self.first_byte_at = read_at
        self.chunks += 1
        return self.reader.feed(data, read_at)

    def _finished(self, response: UpstreamResponse, data: bytes) -> bytes:
        """Feed the reader the last bytes and return the bytes that may go out."""
        data = self._fed(response, data)
        rest, wrong = self.reader.finish()
        self.failure = self.failure or wrong
        self.ended = True
        return data + rest if rest else data

    async def begin_session(self, session: RealtimeSession, call: Call, *, covered: bool) -> None:
        """Take the session that replaces the response.

        `covered`: hold the candidate's first event, since a provider may refuse only then.
        """
        self.session, self.status = session, SWITCHING
        self.request_id = request_id_of(dict(session.handshake), call.named)
        if not sendable(session.handshake):
            self.failure = "provider_malformed"
        elif covered:
            self.failure = await session.greeted()
            if self.failure is not None:
                self.tell_cause()
                refused = self.failure.startswith("caller_")
                self.failure = "candidate_rejects" if refused else self.failure

    def silence_s(self, now: float) -> float:
        """The longest time between two reads of a stream's body that the caller did not cause; up to `now`,
        if the stream is silent still."""
        return self.gap_s if self.response is None else self.response.silence_s(now)

    def latency_s(self, since: float) -> float | None:
        """Seconds from `since` to the last body byte read from the provider, or to now when there was none;
        None for a session, whose caller ends it."""
        if self.session is not None:
            return None
        read_at = self.response.read_at if self.response is not None else 0.0
        return (read_at or time.monotonic()) - since

    def ttft_s(self, since: float) -> float | None:
        """Seconds from `since` to the first token; a session measures from its own start."""
        if self.session is not None:
            return self.session.events.ttft_s
        at = self.reader.seen.first_token_at
        return at - since if at is not None else None

    @property
    def usage(self) -> Usage | None:
        """The reported usage; `estimated` for an answer that broke off."""
        if self.session is not None:
            return self.session.usage
        usage = self.reader.seen.usage
        return usage if usage is None or self.reader.seen.done else replace(usage, estimated=True)

    @property
    def all_text(self) -> bool:
        """True when no tokens were audio or images, which have their own prices."""
        return self.session is None or not self.session.events.spoke

    @property
    def wrong(self) -> ErrorType | None:
        """The final error type: `failure`, or that of a status that causes no fallback, for example 413."""
        response = self.response
        if self.failure is not None or response is None or response.status < 400:
            return self.failure
        return status_failure(response.status, candidate=False)

    def abort(self) -> None:
        """Abort the connection unless the response is complete."""
        if self.session is not None:
            self.session.abort()
        if self.response is not None:
            self.response.abort()


def unasked(target: ArmTarget, why: ErrorType) -> Attempt:
    """The failure of an arm to which no request was sent."""
    attempt = Attempt(target)
    attempt.failure = why
    return attempt
