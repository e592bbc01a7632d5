"""One response of a WebSocket: its exchange, its attempt, and the providers' sockets that make responses."""

import time
from time import monotonic

import msgspec

from common.text import UNREADABLE
from proxy.answers.reader import Reader, reader_for
from proxy.answers.recorder import AnswerRecorder
from proxy.attempts.attempt import Attempt, status_failure
from proxy.attempts.dispatch import upgraded
from proxy.attempts.realtime_session import SessionStream
from proxy.attempts.record import ExchangeRecord, ExchangeRecorder
from proxy.calls.call import Call, UpstreamRequest
from proxy.calls.routes import ArmTarget
from proxy.dialects.operation import CollectedOutput
from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamError
from proxy.network.upstream.tunnel import Tunnel
from proxy.network.websocket import TEXT, MessageCutter, WholeMessage, frame
from proxy.providers.headers import request_id_of
from records.outcome import ErrorType
from routing.assign import Assignment

_MOST_MADE = 1024
"""Responses of one socket whose maker is remembered."""


class ProviderSocket:
    """One provider's side of a socket. `name` is that of the provider entry, `request_id` the provider's of
    the handshake."""

    def __init__(self, name: str, stream: SessionStream, request_id: str) -> None:
        self.name = name
        self.request_id = request_id
        self.stream = stream
        self.cutter = MessageCutter()

    async def ask(self, piece: WholeMessage, request: UpstreamRequest) -> None:
        """Send a request: the caller's own bytes where nothing has changed."""
        body = request.body
        assert isinstance(body, bytes)  # noqa: S101 - a message is whole
        self.stream.write(piece.raw if body == piece.data else frame(body, to_provider=True))
        await self.stream.drain()


class ProviderSockets:
    """The sockets of one socket, by provider entry. A socket is opened when it is first needed."""

    def __init__(self, upstreams: Upstreams, first: ProviderSocket) -> None:
        self.first = first
        self._upstreams = upstreams
        self._open = {first.name: first}
        self._made: dict[str, ProviderSocket] = {}  # by the response's id

    def known(self, target: ArmTarget) -> ProviderSocket | None:
        """The open socket to an arm's entry."""
        return self._open.get(target.provider.name)

    async def open(self, target: ArmTarget, request: UpstreamRequest) -> ProviderSocket:
        """Open a socket to an arm's entry. Raises UpstreamError, also for a refusal."""
        answer = await upgraded(self._upstreams, target, request)
        if not isinstance(answer, Tunnel):
            failure = status_failure(answer.status, candidate=True) or "provider_malformed"
            raise UpstreamError(failure, f"the provider answered the upgrade with {answer.status}")
        name, request_id = target.provider.name, request_id_of(dict(answer.headers), {})
        socket = self._open[name] = ProviderSocket(name, answer, request_id)
        return socket

    def drop(self, socket: ProviderSocket) -> None:
        """Close a socket whose provider has ended it."""
        if self._open.get(socket.name) is socket:
            del self._open[socket.name]
        socket.stream.close()

    def maker_of(self, response_id: str | None) -> ProviderSocket:
        """The socket that made a response, so that what follows it goes there; else the first."""
        return self._made.get(response_id or "", self.first)

    def remember(self, response_id: str, socket: ProviderSocket) -> None:
        if len(self._made) >= _MOST_MADE:
            del self._made[next(iter(self._made))]
        self._made[response_id] = socket

    def close(self) -> None:
        """Close all sockets after what was written has been sent."""
        for socket in self._open.values():
            socket.stream.close()

    def abort(self) -> None:
        for socket in self._open.values():
            socket.stream.abort()


ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "error"})
_REFUSALS = frozenset({"error", "response.failed"})


class _Response(msgspec.Struct):
    id: str | None = None


class SocketMessage(msgspec.Struct):
    """A message of either side, as far as its relay must know it.

    `stream_id` names a lane, in which responses follow one another. `status` is that of an error. A request
    that does not `generate` only warms the provider up for the next one.
    """

    type: str = ""
    stream_id: str | None = None
    status: int | None = None
    previous_response_id: str | None = None
    generate: bool | None = None
    response: _Response | None = None

    @property
    def lane(self) -> str:
        return self.stream_id or ""

    @property
    def response_id(self) -> str:
        return (self.response.id if self.response is not None else None) or ""


_decode = msgspec.json.Decoder(SocketMessage).decode


def message_in(piece: WholeMessage) -> SocketMessage:
    """A message's members; none of them where it is no event."""
    try:
        return _decode(piece.data) if piece.opcode == TEXT else SocketMessage()
    except UNREADABLE:
        return SocketMessage()


class ResponseTurn:
    """One response under way.

    `piece` is the caller's message. `is_candidates`: only the candidate can read what it goes on from.
    `covered`: the baseline answers if the candidate refuses. `compared`: the
    candidate has refused, and the baseline's first event tells whose fault that was. `began`: an event has
    come, the newest at `heard_at`.
    """

    def __init__(
        self, call: Call, record: ExchangeRecord, assignment: Assignment, piece: WholeMessage, lane: str
    ) -> None:
        self.call = call
        self.record = record
        self.assignment = assignment
        self.piece = piece
        self.lane = lane
        self.covered = self.compared = self.began = self.is_candidates = False
        self.heard_at = 0.0
        self.socket: ProviderSocket | None = None
        self.attempt: Attempt

    def start(self, target: ArmTarget) -> Attempt:
        attempt = self.attempt = Attempt(target)
        self.began = False
        self.record.attempts.append(attempt)
        return attempt

    def prepare(self, request: UpstreamRequest) -> None:
        attempt = self.attempt
        attempt.request, attempt.sent_at = request, monotonic()
        attempt.request_id = self.socket.request_id if self.socket is not None else ""
        attempt.output = CollectedOutput() if request.output is not None else None
        attempt.recorder = AnswerRecorder() if self.call.sample is not None else None
        attempt.reader = self._reader()

    def note(self, message: SocketMessage, data: bytes) -> None:
        """Read an event. An error that comes first is a refusal."""
        attempt, now = self.attempt, monotonic()
        attempt.chunks += 1
        if not self.began:
            self.began = True
            attempt.first_byte_at = now
            if message.type in _REFUSALS:
                attempt.failure = _refusal(message.status, candidate=self.covered)
        else:
            attempt.gap_s = max(attempt.gap_s, now - self.heard_at)
        self.heard_at = now
        attempt.reader.feed(b"data: " + data.replace(b"\n", b" ") + b"\n\n", now)
        if attempt.failure is not None:
            attempt.tell_cause()

    async def end(self) -> None:
        """Record a response whose last event is in."""
        attempt = self.attempt
        _, wrong = attempt.reader.finish()
        attempt.failure = attempt.failure or wrong
        attempt.ended = True
        try:
            await self.record.examine(attempt)
        finally:  # the caller may leave meanwhile; the answer is whole
            self.record.finish(attempt)

    def successor(self, recorder: ExchangeRecorder) -> "ResponseTurn":
        """A response that follows one that was steered, with its settings and at its arm."""
        call = msgspec.structs.replace(self.call, at=time.time(), mono=monotonic(), sample=None)
        record = recorder.open()
        record.begin(call)
        record.unit, record.kept = self.record.unit, self.record.kept
        record.assign(self.assignment)
        turn = ResponseTurn(call, record, self.assignment, self.piece, self.lane)
        turn.socket = self.socket
        turn.start(self.attempt.target).request_id = self.attempt.request_id
        turn.attempt.reader = turn._reader()
        if call.trial is not None:
            recorder.in_flight.opened(record)
        return turn

    def _reader(self) -> Reader:
        """The reader of a stream, as which a response's messages are read."""
        return reader_for(
            self.call.route.operation,
            status=200,
            content_type=b"text/event-stream",
            encoding=b"",
            strip=False,
            recorder=self.attempt.recorder,
            output=self.attempt.output,
        )


def _refusal(status: int | None, *, candidate: bool) -> ErrorType:
    failure = status_failure(status, candidate=candidate) if status is not None else None
    return failure or "provider_stream_error"
