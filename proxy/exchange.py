"""The request path, top to bottom: read, assign, ask, relay, record.

Every ending, including disconnects and cancellations, records exactly one Outcome before the bytes that
complete the response are sent: on disk, or in memory while the disk hangs (ADR 8). Where an answer is made in
the background that is when it is fetched.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from msgspec.structs import replace

from proxy.attempts.attempt import Attempt, unasked
from proxy.attempts.background import AwaitedAnswers
from proxy.attempts.dispatch import AttemptDispatch, CandidateWait, StreamUsageRefusals
from proxy.attempts.foreign_state import only_read_by, refused_for_state
from proxy.attempts.mirror import Mirrors
from proxy.attempts.realtime_session import RealtimeSession, SessionTexts
from proxy.attempts.record import ExchangeRecord, ExchangeRecorder
from proxy.attempts.response_turn import ProviderSocket
from proxy.calls.call import Call
from proxy.calls.callers import Callers
from proxy.calls.canary_choice import PIN, ArmPins, CanaryChooser
from proxy.calls.reader import HeldBodies, read
from proxy.calls.refusal import ErrorForm, Refused, error_body
from proxy.calls.routes import ArmTarget, Routes, Trial
from proxy.network.server.caller_request import CallerRequest
from proxy.network.server.endpoints import Endpoints, serve_asgi
from proxy.network.ticker import Ticker
from proxy.network.upstream.pool import Upstreams
from proxy.network.upstream.response import UpstreamError
from proxy.providers.credentials import Credentials
from proxy.providers.headers import Headers, to_caller
from proxy.responses_socket import ResponsesSocket
from records.outcome import NO_ROOM, THROTTLED, ErrorType
from routing.assign import Assignment, Held, assign, everybody, may_have_begun
from routing.cohort import unit_hash
from routing.identity import is_unmistakable, unit_of
from routing.states import States, request_kind

log = structlog.get_logger()

MAKER_IS_AWAY = "only the model that began this conversation can read it; try again"


@dataclass(slots=True, kw_only=True)
class Exchanges:
    """The handler of the LLM paths. `routes` is replaced on reload; `states()` returns the newest states;
    `ticker` watches the requests that wait for a candidate; `callers` says who may call;
    `bodies` counts what of their requests is held; `awaited` has the exchanges whose answers are fetched
    later; `held` says who keeps an arm through a change of share.

    Each connection limit of `upstreams`, including its waiters, is three quarters of `most_in_flight`, so a
    hanging provider leaves room for the others.
    """

    routes: Routes
    states: Callable[[], States]
    upstreams: Upstreams
    recorder: ExchangeRecorder
    assignment_key: bytes
    pins: ArmPins
    mirrors: Mirrors
    ticker: Ticker
    credentials: Credentials
    stream_usage: StreamUsageRefusals = field(default_factory=StreamUsageRefusals)
    callers: Callers = field(default_factory=Callers)
    bodies: HeldBodies = field(default_factory=HeldBodies)
    awaited: AwaitedAnswers = field(default_factory=AwaitedAnswers)
    most_in_flight: int = 4096
    held: Held = everybody
    lanes: CanaryChooser = field(init=False)
    dispatch: AttemptDispatch = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = CanaryChooser(self.states, lambda: self.assignment_key, self._began)
        self.dispatch = AttemptDispatch(self.upstreams, self.credentials, self.stream_usage)

    def _began(self, session: str, trials: Sequence[Trial]) -> Trial | None:
        """The canary, of these, in which a session began."""
        if not is_unmistakable(session):
            return None
        sessions, named = self.recorder.sessions, unit_hash(self.recorder.ids_key, session)
        return next((each for each in trials if sessions.find(each.canary.name, named) is not None), None)

    def reroute(self, routes: Routes) -> None:
        """Use these routes for each exchange that begins from now on."""
        self.routes = routes

    def rekey(self, assignment_key: bytes) -> None:
        """Assign users by another key."""
        self.assignment_key = assignment_key

    def arm_of(
        self, canary: str, unit: str, named: Mapping[bytes, bytes], query: bytes
    ) -> tuple[int, Mapping[str, str]]:
        """The unit's arm in a canary, for a caller with these headers: the answer's status and JSON."""
        try:
            self.callers.find(named, query)
            return 200, self.lanes.arm_of(self.routes, canary, unit_of(unit), self.held)._asdict()
        except Refused as refusal:
            return refusal.status, {"error": refusal.message}

    async def __call__(self, incoming: CallerRequest) -> None:
        """Serve one exchange and handle every ending. Cancelled when the caller leaves."""
        record = self.recorder.open()
        try:
            await self._exchange(incoming, record)
        except Refused as refusal:
            record.refuse(refusal.error_type, refusal.caller)
            refuse(incoming, record, refusal)
        except asyncio.CancelledError:
            attempt = record.attempts[-1] if record.attempts else None
            if attempt is None or not self.awaited.wait(record, attempt, record.leave):
                record.abort()
            _abort_attempts(record)
        except Exception:
            log.exception("exchange.crashed", exchange=record.exchange_id)
            record.break_down()
            _abort_attempts(record)
            incoming.abort()
        finally:
            if self.bodies.held:
                self.bodies.release(incoming)

    async def _exchange(self, incoming: CallerRequest, record: ExchangeRecord) -> None:
        most = self.most_in_flight
        if (begun := self.recorder.started - self.recorder.finished) > most and begun - len(
            self.awaited
        ) > most:
            raise overload()
        call = await read(incoming, self.routes, self.lanes, self.callers, self.bodies)
        if not self._has_room(call):
            raise overload()
        record.begin(call)
        assignment = self._assign(call, record, call.stateful)
        record.assign(assignment)
        if call.trial is not None:
            if not call.upgrades:
                self.recorder.in_flight.opened(record)
            if call.trial.capture is not None:
                record.sample(call.trial.capture)
        elif self.routes.captures or call.rest is not None:
            record.sample(self.routes.capture_outside(call.rest, call.facts.model))
        attempt = await self._ask(call, assignment, record)
        if attempt.session is not None and attempt.failure is None:
            if call.messages is not None:
                await self._serve_socket(incoming, call, record, attempt, attempt.session)
            else:
                await _converse(incoming, call, record, attempt, attempt.session)
        elif attempt.response is None:
            _no_answer(incoming, record, attempt)
        else:
            if call.trial is not None and call.trial.mirror:
                self.mirrors.offer(call, record.assignment, attempt)
            await _relay(incoming, call, record, attempt, self.awaited)

    def _has_room(self, call: Call) -> bool:
        """True when the baseline has a free slot. Checked before assignment, so both arms shed alike."""
        target = self._outside(call) if call.trial is None else call.trial.baseline
        return self.upstreams.free_slots(target.key) > 0

    def _outside(self, call: Call) -> ArmTarget:
        """Who serves a request outside every canary."""
        return call.rest or self.routes.plain(call.route.provider)

    def _assign(self, call: Call, record: ExchangeRecord, stateful: bool) -> Assignment:
        trial = call.trial
        if trial is None:
            if call.rest is None:
                return Assignment(arm="baseline", reason="no_plan")
            return Assignment(arm="baseline", reason="standing" if call.rest.standing else "no_lane")
        state = self.states().state_of(trial.canary.name, trial.definition)
        asks = bool(trial.prompts) and not call.upgrades and state is not None and state.effective_share > 0.0
        return assign(
            trial.canary,
            state,
            key=self.assignment_key,
            unit=call.unit,
            stateful=stateful,
            missed=asks and call.misses_prompt,
            pin=self.pins.asked_of(trial.canary.name, call.named) if PIN in call.named else None,
            draw=int.from_bytes(record.serial[:4], "big"),
            given=self.pins.given(trial.canary.name, call.unit, call.named)
            if trial.canary.assigned_outside
            else None,
            held=self.held,
            session=record.keep() if record.session and not trial.canary.assigned_outside else None,
            now=call.at,
        )

    async def _ask(self, call: Call, assignment: Assignment, record: ExchangeRecord) -> Attempt:
        """Ask the assigned arm. The baseline answers if the candidate fails before the caller's first byte or
        the wait for it is ended; the other arm, if the assigned one cannot read the request's state."""
        trial = call.trial
        if trial is None:
            return await self._attempt(call, self._outside(call), record)
        covered = trial.canary.fall_back and assignment.arm == "candidate" and assignment.reason != "pinned"
        if not covered:
            attempt = await self._attempt(call, trial.target(assignment.arm), record)
            if attempt.failure is not None and await refused_for_state(call, assignment, attempt):
                return await self._ask_other(call, trial, attempt, record)
            return attempt
        if self.upstreams.free_slots(trial.candidate.key) == 0:
            failed = unasked(trial.candidate, "proxy_full")
        elif trial.breaker.allows(time.monotonic(), assignment.run) or only_read_by(
            "candidate", call, trial, record.kept
        ):
            failed = await self._covered_attempt(call, trial, assignment, record)
            if failed.failure is None:
                return failed
            if await refused_for_state(call, assignment, failed):
                trial.breaker.succeeded()
                return await self._ask_other(call, trial, failed, record)
            if not failed.is_refusal:
                failed.drop()
        else:
            failed = unasked(trial.candidate, "breaker_open")
        record.fell_back = failed.failure
        return await self._cover(call, trial, failed, record)

    async def _cover(self, call: Call, trial: Trial, failed: Attempt, record: ExchangeRecord) -> Attempt:
        """Ask the baseline in the place of a candidate that failed. Where the baseline cannot read the state
        in the request it is no cover: the caller gets the candidate's own error, and may try again. It is not
        asked where that is known before."""
        if only_read_by("candidate", call, trial, record.kept):
            if failed.failure == "candidate_rejects":
                trial.breaker.abandoned()
            return failed
        if failed.failure == "candidate_rejects":
            attempt = await self._compare(call, trial, record)
        else:
            attempt = await self._attempt(call, trial.baseline, record)
        if await refused_for_state(call, record.assignment, attempt):
            attempt.abort()
            return failed
        failed.abort()
        return attempt

    async def _compare(self, call: Call, trial: Trial, record: ExchangeRecord) -> Attempt:
        """Ask the baseline for a request that the candidate refused: its answer tells who was at fault."""
        try:
            attempt = await self._attempt(call, trial.baseline, record)
        except asyncio.CancelledError:
            trial.breaker.abandoned()
            raise
        trial.breaker.compared(attempt.wrong, time.monotonic())
        return attempt

    async def _ask_other(self, call: Call, trial: Trial, refused: Attempt, record: ExchangeRecord) -> Attempt:
        """Ask the other arm for a request whose state the assigned arm cannot read. The caller gets its
        answer or its failure, which may be tried again; the assigned arm's own refusal where the other arm
        refuses the request, too, or must not be asked."""
        refused.failure = None  # its status says what it is
        other = trial.candidate if refused.target.arm == "baseline" else trial.baseline
        if other.arm == "candidate" and not self._may_recall(trial, record):
            return refused
        record.asks_other_arm(True)
        if other.arm == "candidate":
            attempt = await self._recall(call, trial, record)
        else:
            attempt = await self._attempt(call, other, record)
        wrong = attempt.wrong
        hard = other.arm == "candidate" and not self._may_recall(trial, record)  # meanwhile
        if wrong is None or not (hard or wrong == "candidate_rejects" or wrong.startswith("caller_")):
            refused.abort()
            return attempt
        record.asks_other_arm(False)
        attempt.abort()
        return refused

    async def _recall(self, call: Call, trial: Trial, record: ExchangeRecord) -> Attempt:
        """Ask the candidate, unassigned, to go on with a conversation that it began, whatever its breaker."""
        if self.upstreams.free_slots(trial.candidate.key) == 0:
            return unasked(trial.candidate, "proxy_full")
        attempt = await self._covered_attempt(call, trial, record.assignment, record)
        if attempt.failure == "candidate_rejects":  # as the baseline did
            trial.breaker.succeeded()
        elif attempt.failure is not None and not attempt.is_refusal:
            attempt.drop()
        return attempt

    def _may_recall(self, trial: Trial, record: ExchangeRecord) -> bool:
        """True when the candidate may be asked to go on with a conversation that it began."""
        state = self.states().state_of(trial.canary.name, trial.definition)
        if record.may_be_anothers:
            return state is not None and state.recallable
        return may_have_begun(trial.canary, state, record.assignment.place)

    async def _serve_socket(
        self,
        incoming: CallerRequest,
        call: Call,
        record: ExchangeRecord,
        attempt: Attempt,
        session: RealtimeSession,
    ) -> None:
        """Relay a socket whose messages are requests. `record` is the connection's, outside any canary."""
        socket = ResponsesSocket(
            call,
            ProviderSocket(call.route.provider.name, session.provider, attempt.request_id),
            routes=lambda: self.routes,
            upstreams=self.upstreams,
            recorder=self.recorder,
            credentials=self.credentials,
            lanes=self.lanes,
            callers=self.callers,
            assign=self._assign,
            may_recall=self._may_recall,
            idle_s=attempt.target.timeout.idle_s,
        )
        incoming.switch(to_caller(session.handshake, our_headers(record, attempt)))
        await socket.run(incoming, _ending_of(record, attempt))

    async def _attempt(self, call: Call, target: ArmTarget, record: ExchangeRecord) -> Attempt:
        """Send the request to one arm and wait for the head."""
        attempt = Attempt(target)
        record.attempts.append(attempt)
        try:
            await self.dispatch.send(call, attempt, covered=False)
        except UpstreamError as failure:
            attempt.failure, attempt.problem = failure.error_type, failure.message
        return attempt

    async def _covered_attempt(
        self, call: Call, trial: Trial, assignment: Assignment, record: ExchangeRecord
    ) -> Attempt:
        """Send the request to the candidate and wait for its held bytes, until the wait is ended."""
        attempt = Attempt(trial.candidate)
        record.attempts.append(attempt)
        kind = request_kind(call.route.operation.name, stream=call.facts.stream)
        timeout = asyncio.timeout(None)
        recalled = assignment.arm == "baseline"
        wait = CandidateWait(trial, self.states, timeout, run=assignment.run, kind=kind, recalled=recalled)
        try:
            async with timeout:
                self.ticker.watch(wait)
                try:
                    await self.dispatch.send(call, attempt, covered=True)
                    if not call.upgrades:
                        await attempt.hold(stream=call.facts.stream)
                finally:
                    self.ticker.forget(wait)
        except UpstreamError as failure:
            attempt.failure = failure.error_type
        except TimeoutError:
            attempt.failure = wait.failure or "provider_timeout"
        except asyncio.CancelledError:
            trial.breaker.abandoned()
            raise
        if attempt.failure is not None:
            attempt.tell_cause()
            if attempt.failure == THROTTLED:
                trial.quota.throttled(time.monotonic())
            trial.breaker.ended(attempt.failure, time.monotonic(), attempt.retry_after_s)
            return attempt
        if trial.quota.watching and attempt.response is not None:
            trial.quota.answered(attempt.response.headers, time.monotonic())
        trial.breaker.succeeded()
        return attempt


async def _relay(
    incoming: CallerRequest,
    call: Call,
    record: ExchangeRecord,
    attempt: Attempt,
    awaited: AwaitedAnswers,
) -> None:
    """Relay the response as it arrives. A broken stream ends with a cut connection, visible to the caller."""
    response = attempt.response
    assert response is not None  # noqa: S101
    headers = to_caller(response.headers, our_headers(record, attempt))
    incoming.start(response.status, headers, length=attempt.length, reason=response.reason)
    fetch = awaited.fetch(call, attempt) if awaited.waiting else None
    try:
        last = await attempt.relay(incoming)
    except UpstreamError as failure:
        attempt.failure = failure.error_type
        await record.examine(attempt)
        record.finish(attempt)
        attempt.abort()
        incoming.cut()
        return
    if fetch is not None:
        await fetch.end()
    await record.examine(attempt)
    if not incoming.keep_alive and incoming.has_left():
        record.leave(attempt)
        incoming.abort()
        return
    if not (attempt.reader.seen.pending and awaited.wait(record, attempt, record.finish)):
        record.finish(attempt)
    incoming.end(last)


async def _converse(
    incoming: CallerRequest, call: Call, record: ExchangeRecord, attempt: Attempt, session: RealtimeSession
) -> None:
    """Relay a session. Its outcome is recorded when it ends, before the caller sees the end."""
    incoming.switch(to_caller(session.handshake, our_headers(record, attempt)))
    own, prompts = attempt.target.texts, () if call.trial is None else call.trial.prompts
    texts = SessionTexts(own, prompts) if own is not None or prompts else None
    await session.run(incoming, _ending_of(record, attempt), texts)


def _ending_of(record: ExchangeRecord, attempt: Attempt) -> Callable[[ErrorType | None], None]:
    """What records a WebSocket's end."""

    def ended(failure: ErrorType | None) -> None:
        session, request = attempt.session, attempt.request
        if session is not None and session.misses_prompt:
            record.misses_prompt()
        if session is not None and session.adapted and request is not None:
            attempt.request = replace(request, adapted=True)
        if failure == "aborted":
            record.abort()
        else:
            attempt.failure = failure
            record.finish(attempt)

    return ended


def _no_answer(incoming: CallerRequest, record: ExchangeRecord, attempt: Attempt) -> None:
    """Answer with 504 or 502, in the form of the caller's API, when the provider did not answer or could not
    be asked."""
    record.finish(attempt)
    if attempt.failure in NO_ROOM:
        full = attempt.failure == "shed"
        refuse(incoming, record, overload() if full else no_descriptors())
        return
    headers = our_headers(record, attempt)
    status = 504 if attempt.failure == "provider_timeout" else 502
    message = f"the provider did not answer ({attempt.failure})"
    if attempt.failure == "proxy_no_credential":
        message = attempt.problem
    elif attempt.sent_at is None and attempt.failure in ("breaker_open", "proxy_full"):
        status, message = 503, MAKER_IS_AWAY
        headers.append((b"retry-after", b"1"))
    answer(incoming, record, status, message, str(attempt.failure), headers)


def _abort_attempts(record: ExchangeRecord) -> None:
    for attempt in record.attempts:
        attempt.abort()


UNAUTHORIZED = 401


def overload() -> Refused:
    """Too many requests are in flight."""
    return Refused(503, "too many requests in flight; try again", "shed", retry_after_s=1)


def no_descriptors() -> Refused:
    """This process can open no further connection."""
    message = "canary has no file descriptor left for a connection to the provider; try again"
    return Refused(503, message, "proxy_no_descriptors", retry_after_s=1)


def refuse(incoming: CallerRequest, record: ExchangeRecord, refusal: Refused) -> None:
    """Answer with the refusal. Its headers name no arm, since none was chosen."""
    headers = [(b"x-canary-exchange", record.exchange_id.encode())]
    if refusal.retry_after_s is not None:
        headers.append((b"retry-after", str(refusal.retry_after_s).encode()))
    if refusal.error_type == "proxy_no_descriptors":
        incoming.keep_alive = False  # the caller's descriptor is needed
    if refusal.status == UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))  # RFC 9110 §11.6.1
    answer(incoming, record, refusal.status, refusal.message, refusal.error_type, headers, refusal.form)


def answer(
    incoming: CallerRequest,
    record: ExchangeRecord,
    status: int,
    message: str,
    code: str,
    headers: Headers,
    form: ErrorForm | None = None,
) -> None:
    """Send the proxy's own answer, in the form of the API that was called. `form` says which that was, where
    the request was not read."""
    if record.call is not None:
        form = record.call.route.error_form
    body = error_body(form, status, message, code)
    incoming.start(status, [(b"content-type", b"application/json"), *headers], length=len(body))
    incoming.end(body)


def our_headers(record: ExchangeRecord, attempt: Attempt) -> list[tuple[bytes, bytes]]:
    """The exchange's id; in a canary also its name, the assigned arm, and the other arm if that answered."""
    headers = [(b"x-canary-exchange", record.exchange_id.encode())]
    trial = record.call.trial if record.call is not None else None
    if trial is not None:
        headers.append((b"x-canary-arm", record.assignment.arm.encode()))
        headers.append((b"x-canary-name", trial.canary.name.encode()))
        if attempt.target.arm != record.assignment.arm and attempt.status is not None:
            headers.append((b"x-canary-served-by", attempt.target.arm.encode()))
    return headers


_OWN = ("/canary/", "/healthz", "/readyz")


class TrafficApp:
    """The listener's handler, which dispatches by path."""

    def __init__(self, exchanges: Exchanges, endpoints: Endpoints) -> None:
        self._exchanges = exchanges
        self._own = endpoints.app()

    def __call__(self, incoming: CallerRequest) -> Awaitable[None]:
        if incoming.path.startswith(_OWN):
            return serve_asgi(self._own, incoming)
        return self._exchanges(incoming)
