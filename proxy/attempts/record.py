"""Collects the facts of one exchange and closes it with exactly one Outcome, in every ending.

`OpenExchanges` says which canary exchanges have not ended after two seconds, for the guardrails.
"""

import time
from collections.abc import Callable, Sequence
from random import getrandbits

from msgspec.structs import replace

from proxy.attempts.attempt import Attempt
from proxy.attempts.capture import Captures
from proxy.attempts.checker import Checker
from proxy.attempts.examination import (
    NO_ANSWER,
    UNASKED,
    Examination,
    answer_of,
    examination_of,
    patterns_of,
    redacted_words,
    words_of,
)
from proxy.calls.call import Call
from proxy.calls.prompt import fingerprint, question
from proxy.providers.provider import Provider
from records.captures.capture import CaptureRule
from records.facts.exchange_id import mint
from records.outcome import (
    IN_FLIGHT_AFTER_S,
    NO_ROOM,
    AttemptRecord,
    ErrorType,
    InFlight,
    Outcome,
    OutcomeName,
    Usage,
)
from records.shared.session_arms import SessionArms
from routing.assign import Assignment, Reason
from routing.caller import TAG
from routing.cohort import unit_hash
from routing.identity import is_unmistakable
from routing.sessions import SessionArm
from routing.states import LEAST_SILENCE_S, NO_STATES, States, request_kind

Progress = tuple[bool, bool, ErrorType | None, Reason]
"""What may change in an InFlight: whether a stream has begun, whether its first token has arrived, why the
candidate failed (None: it has not), and the assignment's reason."""


class OpenExchanges:
    """The open canary exchanges of one worker.

    There is no timer per exchange: the worker asks for `news` a few times a second. An exchange that has
    ended by then costs one insertion and one deletion.
    """

    def __init__(self) -> None:
        self._untold: dict[ExchangeRecord, None] = {}  # in the order of `mono`
        self._told: dict[ExchangeRecord, Progress] = {}

    def opened(self, exchange: "ExchangeRecord") -> None:
        """Add an exchange whose request was read just now."""
        self._untold[exchange] = None

    def ended(self, exchange: "ExchangeRecord") -> None:
        """Remove an exchange, before its Outcome is written. Does nothing when it was never added."""
        self._untold.pop(exchange, None)
        if self._told:
            self._told.pop(exchange, None)

    def news(self, now: float, *, after_s: float = IN_FLIGHT_AFTER_S) -> list[InFlight]:
        """The exchanges that made progress since they were told, and those that have lasted for `after_s` by
        the monotonic second `now`."""
        told = [exchange for exchange, progress in self._told.items() if exchange.progress != progress]
        told += self._slow(now, after_s)
        for exchange in told:
            self._untold.pop(exchange, None)
            self._told[exchange] = exchange.progress
        return [exchange.in_flight() for exchange in told]

    def _slow(self, now: float, after_s: float) -> list["ExchangeRecord"]:
        slow: list[ExchangeRecord] = []
        for exchange in self._untold:
            if now - exchange.mono < after_s:
                break
            slow.append(exchange)
        return slow


Price = Callable[[Provider, str, Usage], float | None]
_UNCOUNTED = Usage()
_MODEL_BOUND = 256
"""Recorded characters of a model name: callers choose the name, and records too large are dropped."""
_FINGERPRINT_BOUND = 64
_NOWHERE = Assignment(arm="baseline", reason="no_plan")


def ending(fell_back: ErrorType | None, failure: ErrorType | None) -> tuple[OutcomeName, ErrorType | None]:
    """Derive an exchange's outcome and error type.

    `fell_back`: why the candidate did not answer; None when it answered or was not asked. `failure`: the
    error of the answer that the caller got. A reached connection limit or a lack of descriptors blames no
    arm. When the candidate refused and the baseline failed, the fault is unknown and no arm is blamed.
    """
    if failure in NO_ROOM and fell_back in (None, "proxy_full", "proxy_no_descriptors", "candidate_rejects"):
        return "shed", failure
    refused = failure is not None and failure.startswith("caller_")
    if fell_back is None:
        return ("ok", None) if failure is None else ("caller_error" if refused else "error", failure)
    if fell_back == "candidate_rejects" and failure is not None:
        return ("caller_error", failure) if refused else ("error", "caller_rejected")
    return ("fallback" if failure is None or refused else "error"), fell_back


class ExchangeRecorder:
    """The recorder of one worker: mints ids, computes costs, spools outcomes, counts exchanges."""

    def __init__(
        self,
        *,
        append: Callable[[Outcome], bool],
        price: Price,
        ids_key: bytes,
        captures: Captures | None = None,
        checker: Checker | None = None,
        states: Callable[[], States] = lambda: NO_STATES,
        sessions: SessionArms | None = None,
    ) -> None:
        """`states()` returns the newest states. `sessions`: those that are known."""
        self.append = append
        self.price = price
        self.ids_key = ids_key
        self.captures = captures
        self.checker = checker
        self.states = states
        self.sessions = SessionArms() if sessions is None else sessions
        self.in_flight = OpenExchanges()
        self.started = 0
        self.finished = 0

    def rekey(self, ids_key: bytes) -> None:
        """Sign exchange ids by another key."""
        self.ids_key = ids_key

    def open(self) -> "ExchangeRecord":
        self.started += 1
        return ExchangeRecord(self)


class ExchangeRecord:
    """The record of one exchange. The first close wins; later ones do nothing."""

    __slots__ = (
        "_closed", "_examination", "_holds_arm", "_recorder", "_refused_as", "_refused_caller", "assignment",
        "at", "attempts", "call", "exchange_id", "fell_back", "kept", "mono", "serial", "session", "unit",
    )  # fmt: skip

    def __init__(self, recorder: ExchangeRecorder) -> None:
        self._recorder = recorder
        self._closed = False
        self._examination: Examination | None = None
        self.at = time.time()
        self.mono = time.monotonic()
        self.serial = getrandbits(64).to_bytes(8, "big")
        self.call: Call | None = None
        self.assignment: Assignment = _NOWHERE
        self._refused_as: Assignment | None = None
        self._refused_caller = ""
        self.unit = self.session = ""
        self._holds_arm = False
        self.kept: SessionArm | None = None
        self.exchange_id = ""
        self.attempts: list[Attempt] = []
        self.fell_back: ErrorType | None = None

    def begin(self, call: Call) -> None:
        """Start the clock of a request that has been read."""
        self.call, self.at, self.mono = call, call.at, call.mono
        if call.session:
            self.session = unit_hash(self._recorder.ids_key, call.session)
            self._holds_arm = is_unmistakable(call.session)

    def keep(self) -> SessionArm | None:
        """What is known of the request's session. The exchange belongs to the unit that began it."""
        call, recorder = self.call, self._recorder
        if call is None or call.trial is None or call.unit is None or not self._holds_arm:
            return None
        known = recorder.sessions.find(call.trial.canary.name, self.session)
        if known is not None:
            user = unit_hash(recorder.ids_key, call.unit)
            self.kept = recorder.sessions.of_user(known, user)
            self.unit = user if self.kept is None else self.kept.unit
        return self.kept

    @property
    def may_be_anothers(self) -> bool:
        """True when the request's session is not known, so that another unit may have begun it."""
        return self._holds_arm and self.kept is None

    def assign(self, assignment: Assignment) -> None:
        """Set the assignment and mint the signed exchange id."""
        self.assignment = assignment
        call = self.call
        if call is not None and call.unit is not None and not self.unit:
            self.unit = unit_hash(self._recorder.ids_key, call.unit)
        self.exchange_id = self._mint()

    def sample(self, rule: CaptureRule | None) -> None:
        """Decide whether the exchange's texts are captured."""
        captures, call = self._recorder.captures, self.call
        if rule is not None and captures is not None and call is not None:
            call.sample = captures.drawn(call, rule, self.exchange_id, self.session)

    def asks_other_arm(self, asked: bool) -> None:
        """Note that the other arm is asked for a request whose state the assigned arm cannot read, or that it
        could not read it either. The assigned arm, and so the exchange id, stay."""
        if asked:
            self._refused_as = self.assignment
            self.assignment = replace(self.assignment, reason="foreign_state")
        elif self._refused_as is not None:
            self.assignment = self._refused_as

    def misses_prompt(self) -> None:
        """Note that a session, whose arm was chosen before, has not the text of an arm's prompt."""
        if self.assignment.share > 0.0 and self.assignment.reason != "pinned":
            self.assignment = replace(self.assignment, reason="prompt_missed")

    @property
    def foreign_state(self) -> bool:
        """True when the other arm answers, or is asked, because only it can read the request's state."""
        return self.assignment.reason == "foreign_state"

    def refuse(self, error_type: ErrorType, caller: str = "") -> None:
        """Close: the proxy refused the request of this caller, "" if unknown."""
        self._refused_caller = caller
        self._close("shed" if error_type == "shed" else "caller_error", error_type, None)

    def break_down(self) -> None:
        """Close after a fault of the proxy. Attempts are left out, because reading them may have failed."""
        self._close("error", "proxy_error", None)

    async def examine(self, attempt: Attempt) -> None:
        """Judge the answer of the assigned arm, or redact its provider's words, as far as that takes time."""
        call, checker = self.call, self._recorder.checker
        if call is None or checker is None or call.trial is None:
            return
        if attempt.output is None and not call.trial.redact:
            return
        if self.fell_back is None and attempt.wrong is None and not self.foreign_state:
            self._examination = examination_of(self._recorder.ids_key, call, attempt)
            await self._examination.run(checker, None, ())
        elif patterns := patterns_of(call):
            self._examination = Examination(UNASKED)
            words = words_of(call, self.assignment.arm, self.attempts)
            await self._examination.run(checker, words, patterns)

    def await_answer(self) -> None:
        """Note that the answer is made in the background: nothing is in flight until it is fetched."""
        self._recorder.in_flight.ended(self)

    def finish(self, attempt: Attempt) -> None:
        """Close: the answer that the caller got has ended, well or badly."""
        if attempt.failure is not None:
            attempt.tell_cause()
        outcome, error_type = ending(self.fell_back, attempt.wrong)
        self._close(outcome, error_type, attempt)

    def abort(self) -> None:
        """Close: the caller left. A caller that left after the last event got the whole answer."""
        attempt = self.attempts[-1] if self.attempts else None
        if attempt is not None and attempt.reader.seen.done:
            self._look(attempt)
            self.finish(attempt)
        else:
            self.leave(attempt)

    def _look(self, attempt: Attempt) -> None:
        """Judge an answer whose caller has left with its last event, as far as that takes no time. Agents
        close the connection once they have that event."""
        call = self.call
        if call is None or call.trial is None or attempt.output is None or self._examination is not None:
            return
        if self.fell_back is None and attempt.wrong is None and not self.foreign_state:
            self._examination = found = examination_of(self._recorder.ids_key, call, attempt)
            found.judgement = found.judgement.settled(None)

    def leave(self, attempt: Attempt | None) -> None:
        """Close: the caller had left before the end of the answer."""
        self._close("aborted", "aborted", attempt)

    @property
    def progress(self) -> Progress:
        """What may change in the exchange's InFlight."""
        call = self.call
        has_token = call is not None and call.facts.stream and self._ttft_s() is not None
        return self._has_begun(), has_token, self.fell_back, self.assignment.reason

    def in_flight(self) -> InFlight:
        """The record of a canary exchange that has not ended."""
        call, assignment = self.call, self.assignment
        assert call is not None and call.trial is not None  # noqa: S101 - only those are registered
        return InFlight(
            exchange_id=self.exchange_id,
            at=self.at,
            mono=self.mono,
            canary=call.trial.canary.name,
            run=assignment.run,
            phase=assignment.phase,
            share=assignment.share,
            arm=assignment.arm,
            reason=assignment.reason,
            unit=self.unit,
            operation=call.route.operation.name,
            stream=call.facts.stream,
            category=call.labels.category,
            tags=call.tags,
            ttft_s=self._ttft_s() if call.facts.stream else None,
            begun=self._has_begun(),
            error_type=self.fell_back,
            place=assignment.place,
        )

    def _has_begun(self) -> bool:
        stream = self.call is not None and self.call.facts.stream
        return stream and bool(self.attempts) and self.attempts[-1].first_byte_at is not None

    def _ttft_s(self) -> float | None:
        return self.attempts[-1].ttft_s(self.mono) if self.attempts else None

    def _mint(self) -> str:
        call, assignment = self.call, self.assignment
        return mint(
            self._recorder.ids_key,
            canary=call.trial.canary.name if call is not None and call.trial is not None else "",
            run=assignment.run,
            phase=assignment.phase,
            arm=assignment.arm,
            unit_hash=self.unit,
            at=self.at,
            serial=self.serial,
        )

    def _close(self, outcome: OutcomeName, error_type: ErrorType | None, attempt: Attempt | None) -> None:
        if self._closed:
            return
        record = self._outcome(outcome, error_type, attempt)
        self._closed = True
        self._recorder.in_flight.ended(self)
        self._recorder.finished += 1
        self._recorder.append(record)
        if self._holds_arm:
            self._recorder.sessions.note(record)
        call, captures = self.call, self._recorder.captures
        if call is not None and call.sample is not None and captures is not None:
            captures.close(call, call.sample, record, attempt.recorder if attempt is not None else None)

    def _outcome(
        self, outcome: OutcomeName, error_type: ErrorType | None, attempt: Attempt | None
    ) -> Outcome:
        call, assignment = self.call, self.assignment
        self.exchange_id = self.exchange_id or self._mint()  # not set when refused before assignment
        if call is None:
            return Outcome(
                exchange_id=self.exchange_id,
                at=self.at,
                mono=self.mono,
                outcome=outcome,
                error_type=error_type,
                tags={TAG: self._refused_caller} if self._refused_caller else {},
            )
        trial, provider, labels = call.trial, call.route.provider, call.labels
        session = self.session
        finish, faults, output_check = (
            answer_of(call, attempt, self._examination)
            if outcome == "ok" and attempt is not None and assignment.reason != "foreign_state"
            else NO_ANSWER
        )
        gap_s = attempt.silence_s(time.monotonic()) if call.facts.stream and attempt is not None else None
        if gap_s is not None and gap_s > LEAST_SILENCE_S and self._has_stalled(outcome, gap_s):
            faults = (*faults, "stalled")
        words = (
            words_of(call, assignment.arm, self.attempts) if outcome != "ok" and attempt is not None else None
        )
        first = self.attempts[0] if self.attempts else None  # of the assigned arm, if that was asked at all
        own = first if first is not None and first.target.arm == assignment.arm else None
        asked, mono = call.facts.model[:_MODEL_BOUND], self.mono
        sent_at = first.sent_at if first is not None else None
        if sent_at is None and len(self.attempts) > 1:
            sent_at = self.attempts[1].sent_at
        first_byte_at = attempt.first_byte_at if attempt is not None else None
        seen = attempt.reader.seen if attempt is not None else None
        attempt_records = (
            tuple([self._attempt_record(call, attempt) for attempt in self.attempts])
            if attempt is not None
            else ()
        )
        return Outcome(
            exchange_id=self.exchange_id,
            at=self.at,
            mono=mono,
            outcome=outcome,
            error_type=error_type,
            canary=trial.canary.name if trial is not None else "",
            run=assignment.run,
            phase=assignment.phase,
            share=assignment.share,
            arm=assignment.arm,
            served_by=attempt.target.arm if trial is not None and attempt is not None else None,
            reason=assignment.reason if trial is not None or call.rest is not None else "",
            unit=self.unit,
            session=session,
            fingerprint=self._fingerprint(call, session) if session else "",
            category=labels.category,
            tags=call.tags,
            request_id=labels.request_id,
            provider=attempt.target.provider.name if attempt is not None else "",
            api=provider.api,
            operation=call.route.operation.name,
            model_requested=asked,
            model=attempt.target.model or asked if attempt is not None else asked,
            stream=call.facts.stream,
            status=attempt.status if attempt is not None else None,
            latency_s=attempt.latency_s(mono) if attempt is not None else None,
            ttft_s=attempt.ttft_s(mono) if attempt is not None else None,
            ttfb_s=None if first_byte_at is None else first_byte_at - mono,
            overhead_s=None if sent_at is None else sent_at - mono,
            usage=(attempt.usage if attempt is not None else None) or _UNCOUNTED,
            cost_usd=_cost(attempt_records),
            finish=finish,
            faults=faults,
            output_check=output_check,
            provider_error=redacted_words(call, words, self._examination) if words is not None else None,
            adapted=own is not None and own.request is not None and own.request.adapted,
            attempts=attempt_records,
            retry_count=labels.retries,
            traceparent=labels.traceparent,
            response_model=seen.model[:_MODEL_BOUND] if seen is not None else "",
            system_fingerprint=seen.fingerprint[:_FINGERPRINT_BOUND] if seen is not None else "",
            chunks=attempt.chunks if attempt is not None and call.facts.stream else 0,
            longest_gap_s=gap_s,
            tool_calls=self._examination.calls
            if finish is not None and self._examination is not None
            else (),
            result_of=self._examination.result_of if self._examination is not None else 0,
            place=assignment.place,
            provider_request_id=own.request_id if own is not None else "",
        )

    def _has_stalled(self, outcome: OutcomeName, gap_s: float) -> bool:
        """True when the assigned arm's stream, whole or left by its caller, was silent for too long."""
        call = self.call
        if call is None or call.trial is None or self.foreign_state or outcome not in ("ok", "aborted"):
            return False
        kind = request_kind(call.route.operation.name, stream=True)
        by_arm = self.fell_back is None and call.route.operation.output is not None
        return by_arm and gap_s > self._recorder.states().stall_s(call.trial.canary.name, kind)

    def _attempt_record(self, call: Call, attempt: Attempt) -> AttemptRecord:
        target, usage = attempt.target, attempt.usage
        model = target.model or call.facts.model[:_MODEL_BOUND]
        priced = usage if attempt.session is None or attempt.all_text else None
        cost_usd = self._recorder.price(target.provider, model, priced) if priced is not None else None
        if call.route.operation.free and attempt.wrong is None:
            cost_usd = 0.0
        return AttemptRecord(
            arm=target.arm,
            provider=target.provider.name,
            model=model,
            status=attempt.status,
            error_type=attempt.wrong,
            latency_s=attempt.latency_s(attempt.started),
            cost_usd=cost_usd,
        )

    def _fingerprint(self, call: Call, session: str) -> str:
        """The question's fingerprint if the canary counts repeats; "" for a client library's retry."""
        trial = call.trial
        if trial is None or not trial.counts_repeats or not isinstance(call.body, bytes):
            return ""
        return (
            "" if call.labels.retries else fingerprint(self._recorder.ids_key, session, question(call.body))
        )


def _cost(attempts: Sequence[AttemptRecord]) -> float | None:
    """The sum of the known costs; None when the cost of the last attempt, which answered, is unknown."""
    if not attempts or attempts[-1].cost_usd is None:
        return None
    return sum([attempt.cost_usd for attempt in attempts if attempt.cost_usd is not None])
