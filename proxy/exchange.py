"""The request path, top to bottom: read, assign, ask, relay, record.

In every ending, disconnects and cancellations too, exactly one Outcome is recorded, and it is recorded before
the bytes that complete the response are handed over: on disk, or in memory while the disk hangs (ADR 8).
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from proxy.attempt import Attempt
from proxy.call import Call, read
from proxy.errors import Refused, error_body
from proxy.headers import Headers, to_caller
from proxy.mirror import Mirrors
from proxy.pins import Pins
from proxy.realtime.session import Session
from proxy.record import Record, Recorder
from proxy.request import upstream_request
from proxy.routes import ArmTarget, Routes, Trial
from proxy.server import Incoming
from proxy.session_attempt import open_session
from proxy.upstream import UpstreamError, Upstreams
from records.outcome import NO_ROOM, ErrorType
from routing.assign import Assignment, assign
from routing.plan import Plan

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Exchanges:
    """The handler of the LLM paths. `routes` is replaced on reload; `plan()` is the newest plan known.

    A lane of `upstreams` holds, those that wait for it included, three quarters of `most_in_flight`: whatever
    hangs, there is room for the others.
    """

    routes: Routes
    plan: Callable[[], Plan]
    upstreams: Upstreams
    recorder: Recorder
    assignment_key: bytes
    pins: Pins
    mirrors: Mirrors
    most_in_flight: int = 4096

    async def __call__(self, incoming: Incoming) -> None:
        """One exchange, in every ending. When the caller leaves, this is cancelled."""
        record = self.recorder.open()
        try:
            await self._exchange(incoming, record)
        except Refused as refusal:
            record.refuse(refusal.error_type)
            _refuse(incoming, record, refusal)
        except asyncio.CancelledError:
            record.abort()
            _abort_replies(record)
        except Exception:
            log.exception("exchange.crashed", exchange=record.exchange_id)
            record.break_down()
            _abort_replies(record)
            incoming.abort()

    async def _exchange(self, incoming: Incoming, record: Record) -> None:
        if self.recorder.started - self.recorder.finished > self.most_in_flight:
            raise _overload()
        call = await read(incoming, self.routes)
        if not self._has_room(call):
            raise _overload()
        record.read(call)
        assignment = self._assign(call, record)
        record.assign(assignment)
        if call.trial is not None and call.trial.capture is not None and self.recorder.captures is not None:
            call.sample = self.recorder.captures.drawn(call, record.exchange_id)
        reply = await self._ask(call, assignment, record)
        if reply.session is not None and reply.failure is None:
            await _converse(incoming, call, record, reply, reply.session)
        elif reply.answer is None:
            _no_answer(incoming, record, reply)
        else:
            self.mirrors.offer(call, assignment, reply)
            await _relay(incoming, call, record, reply)

    def _has_room(self, call: Call) -> bool:
        """May one more go where this one would without a candidate? Asked before an arm is chosen, so that
        both are refused alike."""
        lane = self.routes.plain(call.route.provider) if call.trial is None else call.trial.baseline
        return self.upstreams.free_slots(lane.key) > 0

    def _assign(self, call: Call, record: Record) -> Assignment:
        trial = call.trial
        if trial is None:
            return Assignment(arm="baseline", reason="no_plan")
        return assign(
            trial.canary,
            self.plan().state_of(trial.canary.name, trial.definition),
            key=self.assignment_key,
            unit=call.unit,
            stateful=call.stateful,
            pin=self.pins.asked(call.named),
            draw=int.from_bytes(record.serial[:4], "big"),
        )

    async def _ask(self, call: Call, assignment: Assignment, record: Record) -> Attempt:
        """Ask the assigned arm; where the candidate fails before the caller's first byte, the baseline."""
        trial = call.trial
        if trial is None:
            return await self._attempt(call, self.routes.plain(call.route.provider), record)
        covered = trial.canary.fall_back and assignment.arm == "candidate" and assignment.reason != "pinned"
        if not covered:
            return await self._attempt(call, trial.lane(assignment.arm), record)
        failure: ErrorType | None = "breaker_open"
        if self.upstreams.free_slots(trial.candidate.key) == 0:
            failure = "proxy_full"
        elif trial.breaker.allows(time.monotonic()):
            reply = await self._attempt(call, trial.candidate, record, covered_by=trial)
            if reply.failure is None:
                return reply
            failure = reply.failure
            reply.abort()
        record.fell_back = failure
        return await self._attempt(call, trial.baseline, record)

    async def _attempt(
        self, call: Call, lane: ArmTarget, record: Record, *, covered_by: Trial | None = None
    ) -> Attempt:
        """Send the request down one lane and wait for the head; of a covered candidate, for what is held."""
        reply = Attempt(lane)
        record.replies.append(reply)
        request = upstream_request(call, lane)
        if record.sent_at is None:
            record.sent_at = time.monotonic()
        try:
            if call.upgrades:
                await open_session(self.upstreams, call, request, reply, covered=covered_by is not None)
            else:
                answer = await self.upstreams.send(
                    lane.provider,
                    lane=lane.key,
                    method=call.method.encode(),
                    target=request.target,
                    headers=request.headers,
                    body=request.body,
                    streaming=call.facts.stream,
                    timeout=lane.timeout,
                )
                reply.opened(answer, call, request, covered=covered_by is not None)
                if covered_by is not None and reply.failure is None:
                    await reply.hold(stream=call.facts.stream)
        except UpstreamError as failure:
            reply.failure = failure.error_type
        except asyncio.CancelledError:
            if covered_by is not None:
                covered_by.breaker.abandoned()
            raise
        if covered_by is not None:
            tell(covered_by, reply)
        return reply


async def _relay(incoming: Incoming, call: Call, record: Record, reply: Attempt) -> None:
    """Hand the answer over as it comes; a stream that breaks ends broken, visibly."""
    answer = reply.answer
    assert answer is not None  # noqa: S101
    headers = to_caller(answer.headers, _our_headers(call, record))
    incoming.start(answer.status, headers, length=reply.length, reason=answer.reason)
    try:
        last = await reply.relay(incoming)
    except UpstreamError as failure:
        reply.failure = failure.error_type
        record.finish(reply)
        reply.abort()
        incoming.cut()
        return
    record.finish(reply)
    incoming.end(last)


async def _converse(incoming: Incoming, call: Call, record: Record, reply: Attempt, session: Session) -> None:
    """Relay a session. Its one outcome is recorded when it ends, before its caller is told."""

    def ended(failure: ErrorType | None) -> None:
        if failure == "aborted":
            record.abort()
        else:
            reply.failure = failure
            record.finish(reply)

    incoming.switch(to_caller(session.handshake, _our_headers(call, record)))
    await session.run(incoming, ended)


def _no_answer(incoming: Incoming, record: Record, reply: Attempt) -> None:
    """The provider gave no answer at all: say so in the caller's API."""
    assert record.call is not None  # noqa: S101 - it was asked for
    record.finish(reply)
    if reply.failure in NO_ROOM:
        full = reply.failure == "shed"
        _refuse(incoming, record, _overload() if full else _no_descriptors())
        return
    status = 504 if reply.failure == "provider_timeout" else 502
    message = f"the provider gave no answer ({reply.failure})"
    _answer(incoming, record, status, message, str(reply.failure), _our_headers(record.call, record))


def _overload() -> Refused:
    return Refused(503, "too many requests in flight; try again", "shed", retry_after_s=1)


def _no_descriptors() -> Refused:
    message = "canary has no file descriptor left for a connection to the provider; try again"
    return Refused(503, message, "proxy_no_descriptors", retry_after_s=1)


def _refuse(incoming: Incoming, record: Record, refusal: Refused) -> None:
    """No arm was chosen, so none is named."""
    headers = [_exchange_header(record)]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if incoming.more or refusal.error_type == "proxy_no_descriptors":
        incoming.keep_alive = False  # the rest of the body is not read; the caller's descriptor gets free
    _answer(incoming, record, refusal.status, refusal.message, refusal.error_type, headers)


def _answer(
    incoming: Incoming, record: Record, status: int, message: str, code: str, headers: Headers
) -> None:
    """The proxy's own answer, in the shape of the API that was called."""
    api = record.call.route.provider.api if record.call is not None else None
    body = error_body(api, status, message, code)
    incoming.start(status, [(b"content-type", b"application/json"), *headers], length=len(body))
    incoming.end(body)


def _our_headers(call: Call, record: Record) -> list[tuple[bytes, bytes]]:
    headers = [_exchange_header(record)]
    if call.trial is not None:
        headers.append((b"x-canary-arm", record.assignment.arm.encode()))
        headers.append((b"x-canary-name", call.trial.canary.name.encode()))
        if record.fell_back is not None and record.replies[-1].status is not None:
            headers.append((b"x-canary-served-by", b"baseline"))
    return headers


def _exchange_header(record: Record) -> tuple[bytes, bytes]:
    return b"x-canary-exchange", record.exchange_id.encode()


def tell(trial: Trial, reply: Attempt) -> None:
    """Only the provider's failures open a breaker: a refused request says nothing of its health; a kept
    connection that had just been closed, and a lack of descriptors here, are none of its doing."""
    if reply.failure is None or reply.failure == "candidate_rejects":
        trial.breaker.succeeded()
    elif reply.failure in ("provider_stale", "proxy_no_descriptors"):
        trial.breaker.abandoned()
    else:
        trial.breaker.failed(time.monotonic())


def _abort_replies(record: Record) -> None:
    for reply in record.replies:
        reply.abort()
