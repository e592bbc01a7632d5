"""OpenAI's responses over one WebSocket: each `response.create` of the caller is an exchange of its own.

The upgrade has gone to the entry of the caller's path, whose 101 the caller has (ADR 11). This first socket
also serves a candidate at the same entry; one at another entry gets a socket with its first response.

    the caller's message          goes to
    response.create               the socket of the assigned arm, with the arm's model and changes
    the same after a rollback     the candidate's, where that made the response it names and may go on
    any other message             the socket that made the response it names, else the first socket
    ping, pong, close             the first socket

    a message from a socket       means
    an error as the first event   a refusal: the baseline is asked, where it covers the candidate
    an end (`ENDS`)               the exchange is recorded, then the message goes out
    response.created, unasked     another exchange: the successor of a response that was steered

Messages without a change go on byte for byte. Where a socket ends in the middle of a response, so does the
caller's connection.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import msgspec

from proxy.attempts.dispatch import upstream_request
from proxy.attempts.foreign_state import names_state, only_read_by
from proxy.attempts.realtime_session import SessionStream, silence
from proxy.attempts.record import ExchangeRecord, ExchangeRecorder
from proxy.attempts.response_turn import (
    ENDS,
    ProviderSocket,
    ProviderSockets,
    ResponseTurn,
    SocketMessage,
    message_in,
)
from proxy.calls.call import Call, UpstreamRequest
from proxy.calls.callers import Callers, has_each_member_once
from proxy.calls.canary_choice import CanaryChooser
from proxy.calls.reader import admit_message, message_call
from proxy.calls.refusal import Refused, error_body
from proxy.calls.routes import ArmTarget, Routes, Trial
from proxy.dialects.operation import PASS_THROUGH, OutputRequest
from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamError
from proxy.network.websocket import CLOSE, PING, PONG, MessageCutter, WholeMessage, frame
from proxy.providers.credentials import Credentials, NoCredential
from records.outcome import THROTTLED, ErrorType
from routing.assign import Assignment

OUTSIDE = Assignment(arm="baseline", reason="no_plan")
_ASKS_NOTHING = OutputRequest()
_MOST_KEPT = 1 << 20
"""Bytes of an input that declares tools, beyond which it is not kept while its connection lasts."""
_TOO_LARGE = (1009).to_bytes(2, "big")


class ResponsesSocket:
    """The relay of one connection. Call `run` once.

    `assign` chooses the arm of a call; its last argument says whether the call is stateful. `may_recall`:
    whether a candidate that was rolled back may go on with a conversation that it began.
    """

    def __init__(
        self,
        handshake: Call,
        provider: ProviderSocket,
        *,
        routes: Callable[[], Routes],
        upstreams: Upstreams,
        recorder: ExchangeRecorder,
        credentials: Credentials,
        lanes: CanaryChooser,
        callers: Callers,
        assign: Callable[[Call, ExchangeRecord, bool], Assignment],
        may_recall: Callable[[Trial, ExchangeRecord], bool],
        idle_s: float,
    ) -> None:
        self._handshake = handshake
        self._routes = routes
        self._recorder = recorder
        self._credentials = credentials
        self._lanes = lanes
        self._callers = callers
        self._assign = assign
        self._may_recall = may_recall
        self._idle_s = idle_s
        self._sockets = ProviderSockets(upstreams, provider)
        self._turns: list[ResponseTurn] = []
        self._last: dict[str, ResponseTurn] = {}  # by lane
        self._declared: OutputRequest | None = None
        self._active_at = monotonic()
        self._tasks: list[asyncio.Task[None]] = []
        self._failure: ErrorType | None = None
        self._caller: SessionStream

    async def run(self, caller: SessionStream, on_end: Callable[[ErrorType | None], None]) -> None:
        """Relay until a side is done, then close all; on cancellation, abort all.

        `on_end` is called once with the connection's error type, before the caller sees the end.
        """
        self._caller = caller
        try:
            await self._relay_all()
        except BaseException as ended:
            self._end_turns("aborted")
            if isinstance(ended, asyncio.CancelledError):
                on_end("aborted")
                caller.abort()
            self._sockets.abort()
            raise
        self._end_turns(self._failure or "aborted")
        on_end(self._failure)
        self._sockets.close()
        caller.close()

    async def _relay_all(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            for side in (self._upward(), self._downward(), self._silence()):
                self._tasks.append(group.create_task(side))
            for task in self._tasks:  # the first to end ends the others
                task.add_done_callback(lambda _: self._stop())

    def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    # From the caller

    async def _upward(self) -> None:
        cutter = MessageCutter()
        while data := await self._caller.read():
            self._active_at = monotonic()
            for piece in cutter.feed(data):
                await self._forward(piece)
            if cutter.lost:
                self._caller.write(frame(_TOO_LARGE, opcode=CLOSE, to_provider=False))
                self._failure = "caller_too_large"
                return
        self._left()

    async def _forward(self, piece: WholeMessage) -> None:
        message = message_in(piece)
        if message.type == "response.create" or self._is_hidden(message, piece):
            await self._ask(piece, message)
            return
        if piece.opcode == CLOSE:
            self._left()
        socket = self._sockets.maker_of(message.previous_response_id)
        socket.stream.write(piece.raw)
        await socket.stream.drain()

    def _is_hidden(self, message: SocketMessage, piece: WholeMessage) -> bool:
        """True for a message that cannot be read, or has a member twice, of a caller who may ask for some
        models only: it is checked as a request, which it may be."""
        if piece.opcode >= CLOSE:
            return False
        if not self._callers.limits_models(self._handshake.named, self._handshake.query):
            return False
        return not (message.type and has_each_member_once(piece.data))

    def _left(self) -> None:
        """The caller has gone, or says farewell: what is under way is aborted."""
        if self._turns:
            self._failure = "aborted"
            self._end_turns("aborted")

    async def _ask(self, piece: WholeMessage, message: SocketMessage) -> None:
        """Begin an exchange, and send its request to the assigned arm."""
        call = message_call(self._handshake, self._routes(), self._lanes, piece.data)
        self._declare(call, message)
        made_by = self._sockets.maker_of(message.previous_response_id)
        stateful = call.stateful and made_by is self._sockets.first
        warms = message.generate is False  # there is no answer, so it is an exchange of no canary
        record = self._recorder.open()
        record.begin(_outside(call) if warms else call)
        try:
            admit_message(self._callers, call)
            assignment = self._assign(call, record, stateful)
        except Refused as refusal:
            self._refuse(record, refusal, message.lane)
            return
        record.assign(OUTSIDE if warms else assignment)
        turn = ResponseTurn(call, record, assignment, piece, message.lane)
        if call.trial is None:
            record.sample(self._routes().capture_outside(call.rest, call.facts.model))
            await self._send(turn, call.rest or self._routes().plain(call.route.provider))
            return
        if not warms:
            self._recorder.in_flight.opened(record)
            record.sample(call.trial.capture)
        turn.is_candidates = self._made_by_candidate(call.trial, made_by) or only_read_by(
            "candidate", call, call.trial, record.kept
        )
        if self._goes_on(turn, call.trial, made_by):
            record.asks_other_arm(True)
            await self._send(turn, call.trial.candidate)
        else:
            await self._send_to_arm(turn, call.trial)

    def _declare(self, call: Call, message: SocketMessage) -> None:
        """Keep the tools that a request declares: one that goes on from a response may use them again, and
        says nothing of them."""
        asked = call.facts.output or _ASKS_NOTHING
        if asked.tools or asked.input:
            self._declared = asked if len(asked.input) <= _MOST_KEPT else None
        elif self._declared is not None and message.previous_response_id:
            known = msgspec.structs.replace(self._declared, form=asked.form)
            call.facts = msgspec.structs.replace(call.facts, output=known)

    def _goes_on(self, turn: ResponseTurn, trial: Trial, made_by: ProviderSocket) -> bool:
        """True for the baseline's request that goes on from a response of the candidate's own socket, which
        only that one can read: the conversation began before a rollback."""
        is_baselines = turn.assignment.arm == "baseline" and turn.assignment.reason != "pinned"
        is_its_own = self._made_by_candidate(trial, made_by)
        return is_baselines and is_its_own and self._may_recall(trial, turn.record)

    def _made_by_candidate(self, trial: Trial, made_by: ProviderSocket) -> bool:
        return made_by is self._sockets.known(trial.candidate) and not trial.shares_state

    async def _send_to_arm(self, turn: ResponseTurn, trial: Trial) -> None:
        assignment = turn.assignment
        is_ours = assignment.arm == "candidate" and assignment.reason != "pinned"
        turn.covered = trial.canary.fall_back and is_ours
        allowed = not turn.covered or trial.breaker.allows(monotonic(), assignment.run)
        if not (allowed or turn.is_candidates):
            await self._fall_back(turn, trial, "breaker_open")
        else:
            await self._send(turn, trial.target(assignment.arm))

    async def _send(self, turn: ResponseTurn, target: ArmTarget) -> None:
        """Send a turn's request to one arm. An arm that cannot be reached has failed."""
        turn.start(target)
        self._turns.append(turn)
        try:
            request = upstream_request(turn.call, target, self._credentials)
            turn.socket = await self._socket(target, request)
        except Refused as refusal:
            self._turns.remove(turn)
            self._refuse(turn.record, refusal, turn.lane)
        except NoCredential:
            await self._failed(turn, "proxy_no_credential")
        except UpstreamError as failure:
            await self._failed(turn, failure.error_type)
        else:
            turn.prepare(request)
            if turn in self._turns:  # the connection may have ended meanwhile
                await turn.socket.ask(turn.piece, request)

    async def _socket(self, target: ArmTarget, request: UpstreamRequest) -> ProviderSocket:
        """The socket to an arm's entry. Raises UpstreamError."""
        socket = self._sockets.known(target)
        if socket is None:
            socket = await self._sockets.open(target, request)
            self._tasks.append(self._group.create_task(self._beside(socket)))
        return socket

    # Failures

    async def _failed(self, turn: ResponseTurn, failure: ErrorType) -> None:
        """An arm failed before its first event: ask the baseline where it covers that, else say so."""
        trial = turn.call.trial
        if turn not in self._turns:
            return  # the connection has ended meanwhile
        self._turns.remove(turn)
        turn.attempt.failure = failure
        if turn.covered and trial is not None:
            if failure == THROTTLED:
                trial.quota.throttled(monotonic())
            trial.breaker.ended(turn.attempt.failure, monotonic())
            if not turn.is_candidates:
                await self._fall_back(turn, trial, failure)
                return
        turn.record.finish(turn.attempt)
        status = 504 if failure == "provider_timeout" else 502
        self._say(turn.lane, status, f"the provider did not answer ({failure})", failure)

    async def _ask_other(self, turn: ResponseTurn, trial: Trial) -> None:
        """Ask the baseline for a response that goes on from state which the candidate cannot read."""
        self._turns.remove(turn)
        trial.breaker.succeeded()
        turn.covered = False
        turn.record.asks_other_arm(True)
        await self._send(turn, trial.baseline)

    async def _fall_back(self, turn: ResponseTurn, trial: Trial, failure: ErrorType) -> None:
        turn.record.fell_back = failure
        turn.covered = False
        turn.compared = failure == "candidate_rejects"
        await self._send(turn, trial.baseline)

    def _refuse(self, record: ExchangeRecord, refusal: Refused, lane: str) -> None:
        record.refuse(refusal.error_type)
        self._say(lane, refusal.status, refusal.message, refusal.error_type)

    def _say(self, lane: str, status: int, message: str, code: str) -> None:
        """Answer a `response.create` with an error event of our own."""
        error = msgspec.json.decode(error_body("openai", status, message, code))
        named = {"stream_id": lane} if lane else {}
        event = msgspec.json.encode({"type": "error", "status": status, **error, **named})
        self._caller.write(frame(event, to_provider=False))

    # From the providers

    async def _downward(self) -> None:
        """Relay the first socket; its end is the connection's."""
        broke = await self._relay(self._sockets.first)
        if self._failure is None:
            self._failure = broke

    async def _beside(self, socket: ProviderSocket) -> None:
        """Relay the socket to another entry. Only in a response does its end end the connection."""
        broke = await self._relay(socket) or "provider_truncated"
        self._sockets.drop(socket)
        for turn in [turn for turn in self._turns if turn.socket is socket]:
            if turn.began:
                self._failure = broke
                self._stop()
                return
            await self._failed(turn, broke)

    async def _relay(self, socket: ProviderSocket) -> ErrorType | None:
        """Relay a socket to its end; the error type of a connection that broke, None after a close frame."""
        try:
            while data := await socket.stream.read():
                self._active_at = monotonic()
                for piece in socket.cutter.feed(data):
                    await self._came(socket, piece)
                    if piece.opcode == CLOSE:
                        return None
                if socket.cutter.lost:
                    return "provider_malformed"
        except UpstreamError as broken:
            return broken.error_type
        return "provider_truncated"

    async def _came(self, socket: ProviderSocket, piece: WholeMessage) -> None:
        if piece.opcode >= CLOSE:
            self._control(socket, piece)
            return
        message = message_in(piece)
        turn = self._turn(socket, message)
        if turn is not None and await self._is_refused(turn, message, piece):
            return
        self._caller.write(piece.raw)
        await self._caller.drain()

    def _control(self, socket: ProviderSocket, piece: WholeMessage) -> None:
        """Pass on the first socket's control frames; answer those of the others."""
        if socket is self._sockets.first:
            if piece.opcode == CLOSE:
                self._end_turns("provider_truncated")
            self._caller.write(piece.raw)
        elif piece.opcode == PING:
            socket.stream.write(frame(piece.data, opcode=PONG, to_provider=True))

    def _turn(self, socket: ProviderSocket, message: SocketMessage) -> ResponseTurn | None:
        """The turn to which an event belongs: the oldest of its lane."""
        for turn in self._turns:
            if turn.socket is socket and turn.lane == message.lane:
                return turn
        before = self._last.get(message.lane)
        if message.type != "response.created" or before is None or before.socket is not socket:
            return None
        self._turns.append(before.successor(self._recorder))
        return self._turns[-1]

    async def _is_refused(self, turn: ResponseTurn, message: SocketMessage, piece: WholeMessage) -> bool:
        """Read a turn's event; True for a candidate's refusal, for which the baseline is asked instead."""
        turn.note(message, piece.data)
        trial = turn.call.trial
        failure = turn.attempt.failure
        if turn.covered and trial is not None and failure is not None:
            if _is_foreign(turn, trial, piece):
                await self._ask_other(turn, trial)
                return True
            if not turn.is_candidates:
                await self._failed(turn, failure)
                return True
            turn.record.fell_back = failure
        if turn.covered and trial is not None:
            trial.breaker.ended(turn.attempt.failure, monotonic())
        elif turn.compared and trial is not None:
            trial.breaker.compared(turn.attempt.failure, monotonic())
        turn.covered = turn.compared = False
        if message.type in ENDS:
            self._remember(turn, message)
            await turn.end()
        return False

    def _remember(self, turn: ResponseTurn, message: SocketMessage) -> None:
        """Remember who made a response that has ended, for what follows it."""
        self._turns.remove(turn)
        self._last[turn.lane] = turn
        if message.response_id and turn.socket is not None:
            self._sockets.remember(message.response_id, turn.socket)

    # The end

    async def _silence(self) -> None:
        await silence(self._idle_s, lambda: self._active_at)
        if self._turns:
            self._failure = "provider_timeout"

    def _end_turns(self, failure: ErrorType) -> None:
        """Record the responses that are still under way."""
        turns, self._turns = self._turns, []
        for turn in turns:
            trial = turn.call.trial
            if failure == "aborted":
                if turn.covered and trial is not None:
                    trial.breaker.abandoned()
                turn.record.abort()
                continue
            turn.attempt.failure = turn.attempt.failure or failure
            if turn.covered and trial is not None:
                trial.breaker.ended(turn.attempt.failure, monotonic())
            turn.record.finish(turn.attempt)


def _outside(call: Call) -> Call:
    """The call as one of no canary, and of no operation that is counted."""
    return msgspec.structs.replace(call, trial=None, route=replace(call.route, operation=PASS_THROUGH))


def _is_foreign(turn: ResponseTurn, trial: Trial, refusal: WholeMessage) -> bool:
    """True when the candidate refused a request for state that it cannot read."""
    body = turn.call.body
    return not trial.shares_state and isinstance(body, bytes) and names_state(refusal.data, body)
