"""Every exchange closes into one outcome, and the outcome says how it ended."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
import pytest

from proxy.attempts.attempt import Attempt
from proxy.attempts.dispatch import upstream_request
from proxy.attempts.record import ExchangeRecord, ExchangeRecorder, ending
from proxy.calls.call import Call
from proxy.providers.credentials import Credentials
from proxy.providers.provider import Provider
from records.facts.exchange_id import verify
from records.outcome import ErrorType, Outcome, OutcomeName, Usage
from records.spool.frame import encode
from routing.assign import Assignment
from routing.canary import ArmName
from routing.cohort import unit_hash
from tests.proxy.calls import ANTHROPIC, Header, Outlet, Script, call, routes, trial

KEY = b"k" * 32
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": []}
ANSWER = b'{"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":20}}'
COUNTED = Usage(input_tokens=100, output_tokens=20)
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
PART_COUNTED = b'data: {"choices":[],"usage":{"prompt_tokens":100,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
SSE = b"text/event-stream"
COHORT = Assignment(arm="candidate", reason="cohort", run=2, phase=7, share=0.05)

REJECTED: ErrorType = "candidate_rejects"
NO_DESCRIPTORS: ErrorType = "proxy_no_descriptors"


@pytest.mark.parametrize(
    ("fell_back", "failure", "outcome", "error_type"),
    [
        # Nobody fell back: the answer speaks for itself.
        (None, None, "ok", None),
        (None, "caller_rejected", "caller_error", "caller_rejected"),
        (None, "caller_unauthorized", "caller_error", "caller_unauthorized"),
        (None, "caller_not_found", "caller_error", "caller_not_found"),
        (None, "caller_too_large", "caller_error", "caller_too_large"),
        (None, "provider_5xx", "error", "provider_5xx"),
        (None, "provider_429", "error", "provider_429"),
        (None, "provider_connect", "error", "provider_connect"),
        (None, "provider_timeout", "error", "provider_timeout"),
        (None, "provider_reset", "error", "provider_reset"),
        (None, "provider_truncated", "error", "provider_truncated"),
        (None, "provider_malformed", "error", "provider_malformed"),
        (None, "provider_stream_error", "error", "provider_stream_error"),
        (None, "provider_stale", "error", "provider_stale"),
        # The candidate failed: its own fault, whatever the baseline then says; two failures are an error.
        ("provider_5xx", None, "fallback", "provider_5xx"),
        ("provider_429", None, "fallback", "provider_429"),
        ("provider_timeout", None, "fallback", "provider_timeout"),
        ("provider_5xx", "caller_rejected", "fallback", "provider_5xx"),
        ("provider_5xx", "provider_5xx", "error", "provider_5xx"),
        ("provider_timeout", "provider_reset", "error", "provider_timeout"),
        # The breaker kept it from the candidate.
        ("breaker_open", None, "fallback", "breaker_open"),
        ("breaker_open", "caller_rejected", "fallback", "breaker_open"),
        ("breaker_open", "provider_5xx", "error", "breaker_open"),
        # The connection limit kept it from the candidate.
        ("proxy_full", None, "fallback", "proxy_full"),
        ("proxy_full", "caller_rejected", "fallback", "proxy_full"),
        ("proxy_full", "provider_5xx", "error", "proxy_full"),
        # There was no room: nobody's fault, but a candidate that had failed before has failed.
        (None, "shed", "shed", "shed"),
        ("proxy_full", "shed", "shed", "shed"),
        (REJECTED, "shed", "shed", "shed"),
        ("provider_5xx", "shed", "error", "provider_5xx"),
        ("breaker_open", "shed", "error", "breaker_open"),
        # No descriptor was left: the same.
        (None, NO_DESCRIPTORS, "shed", NO_DESCRIPTORS),
        (NO_DESCRIPTORS, None, "fallback", NO_DESCRIPTORS),
        (NO_DESCRIPTORS, NO_DESCRIPTORS, "shed", NO_DESCRIPTORS),
        (NO_DESCRIPTORS, "provider_5xx", "error", NO_DESCRIPTORS),
        (REJECTED, NO_DESCRIPTORS, "shed", NO_DESCRIPTORS),
        ("provider_5xx", NO_DESCRIPTORS, "error", "provider_5xx"),
        # The candidate refused: the baseline's answer tells whose fault it was.
        (REJECTED, None, "fallback", REJECTED),
        (REJECTED, "caller_rejected", "caller_error", "caller_rejected"),
        (REJECTED, "caller_unauthorized", "caller_error", "caller_unauthorized"),
        (REJECTED, "caller_not_found", "caller_error", "caller_not_found"),
        (REJECTED, "provider_5xx", "error", "caller_rejected"),
        (REJECTED, "provider_reset", "error", "caller_rejected"),
    ],
)
def test_how_an_exchange_ended(
    fell_back: ErrorType | None, failure: ErrorType | None, outcome: OutcomeName, error_type: ErrorType | None
) -> None:
    assert ending(fell_back, failure) == (outcome, error_type)


@pytest.mark.parametrize("failure", [None, "caller_rejected", "provider_5xx"])
@pytest.mark.parametrize("fell_back", ["provider_5xx", "provider_429", REJECTED])
def test_an_arm_is_blamed_where_it_failed_and_never_where_nobody_knows(
    fell_back: ErrorType, failure: ErrorType | None
) -> None:
    name, error_type = ending(fell_back, failure)
    outcome = Outcome(exchange_id="", at=0, mono=0, outcome=name, error_type=error_type)
    assert outcome.failed is (fell_back != REJECTED or failure is None)


@pytest.mark.parametrize("fell_back", [None, "proxy_full", NO_DESCRIPTORS])
@pytest.mark.parametrize("failure", [None, "shed", NO_DESCRIPTORS, "provider_5xx"])
def test_a_lack_of_room_is_no_evidence_and_blames_no_candidate(
    fell_back: ErrorType | None, failure: ErrorType | None
) -> None:
    name, error_type = ending(fell_back, failure)
    outcome = Outcome(
        exchange_id="", at=0, mono=0, outcome=name, error_type=error_type, canary="support", reason="cohort"
    )
    full = fell_back is not None or failure in ("shed", NO_DESCRIPTORS)
    assert (outcome.evidence, outcome.failed) == (not full, not full and failure is not None)


@dataclass
class Book:
    """A recorder, what it was handed, and what one token costs."""

    written: list[Outcome] = field(default_factory=list)
    usd_per_token: dict[str, float] = field(
        default_factory=lambda: {"gpt-4o-2024-08-06": 0.5, "gpt-4o-2024-11-20": 2.0}
    )

    def __post_init__(self) -> None:
        self.recorder = ExchangeRecorder(append=self.append, price=self.price, ids_key=KEY)

    def append(self, outcome: Outcome) -> bool:
        self.written.append(outcome)
        return True

    def price(self, provider: Provider, model: str, usage: Usage) -> float | None:
        if model not in self.usd_per_token or usage.output_tokens is None:
            return None
        return self.usd_per_token[model] * usage.output_tokens

    def opened(self, said: Call, assignment: Assignment = COHORT) -> ExchangeRecord:
        record = self.recorder.open()
        record.begin(said)
        record.assign(assignment)
        return record

    @property
    def outcome(self) -> Outcome:
        """The only one."""
        [outcome] = self.written
        return outcome


def ask(
    record: ExchangeRecord, said: Call, arm: ArmName, answer: Script | None = None, *, covered: bool = False
) -> Attempt:
    """One attempt, as the exchange makes it; without an answer it gets no head."""
    target = said.trial.target(arm) if said.trial else routes().plain(said.route.provider)
    attempt = Attempt(target)
    record.attempts.append(attempt)
    attempt.sent_at = time.monotonic()
    if answer is not None:
        attempt.request = upstream_request(said, target, Credentials())
        attempt.opened(answer, said, covered=covered)  # type: ignore[arg-type]
    return attempt


class Leaving(Outlet):
    """A caller that leaves after so many parts."""

    def __init__(self, parts: int | None) -> None:
        super().__init__()
        self._parts = parts

    def write(self, data: bytes) -> None:
        super().write(data)
        if self._parts is not None and len([each for each in self.written if each]) >= self._parts:
            raise asyncio.CancelledError


def drain(attempt: Attempt, *, parts: int | None = None) -> None:
    """Relay so many parts of it, or all."""

    if parts != 0:
        with suppress(asyncio.CancelledError):
            asyncio.run(attempt.relay(Leaving(parts)))


def test_a_model_that_its_caller_made_long_makes_no_record_too_large() -> None:
    book = Book()
    said = call(CHAT | {"model": "m" * (2 << 20)})
    record = book.opened(said)
    record.finish(ask(record, said, "baseline"))
    assert book.outcome.model_requested == book.outcome.model == book.outcome.attempts[0].model == "m" * 256
    assert encode(book.outcome)


def test_an_answered_exchange_is_written_down_whole() -> None:
    book = Book()
    headers: list[Header] = [
        (b"x-canary-unit", b"user-1"),
        (b"x-canary-session", b"session-1"),
        (b"x-canary-category", b"billing"),
        (b"x-canary-tags", b"region=eu"),
        (b"x-canary-request-id", b"app-77"),
        (b"x-stainless-retry-count", b"2"),
        (b"traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ]
    said = call(CHAT | {"stream": True}, *headers, table=routes(trial(), tags=["region"]))
    record = book.opened(said)
    answer = Script(TOKEN, PART_COUNTED, DONE, kind=SSE)
    attempt = ask(record, said, "candidate", answer)
    drain(attempt)
    record.finish(attempt)

    outcome = book.outcome
    recorded = outcome.attempts[0]
    assert outcome == Outcome(
        exchange_id=record.exchange_id,
        at=said.at,
        mono=said.mono,
        outcome="ok",
        canary="support",
        run=2,
        phase=7,
        share=0.05,
        arm="candidate",
        served_by="candidate",
        reason="cohort",
        unit=unit_hash(KEY, "user-1"),
        session=unit_hash(KEY, "session-1"),
        category="billing",
        tags={"region": "eu"},
        request_id="app-77",
        provider="openai",
        api="openai",
        operation="chat",
        model_requested="gpt-4o",
        model="gpt-4o-2024-11-20",
        stream=True,
        status=200,
        latency_s=answer.times[-1] - said.mono,
        ttft_s=answer.times[0] - said.mono,
        ttfb_s=answer.times[0] - said.mono,
        overhead_s=(attempt.sent_at or 0) - said.mono,
        usage=Usage(input_tokens=100, output_tokens=2),
        cost_usd=4.0,
        finish="unknown",  # the stream gives no reason
        attempts=outcome.attempts,
        retry_count=2,
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        chunks=3,
        longest_gap_s=0.0,
    )
    assert len(outcome.attempts) == 1
    assert (recorded.arm, recorded.provider, recorded.model) == ("candidate", "openai", "gpt-4o-2024-11-20")
    assert (recorded.status, recorded.error_type, recorded.cost_usd) == (200, None, 4.0)
    assert recorded.latency_s == answer.times[-1] - attempt.started


def test_a_fallback_counts_to_the_candidate_and_costs_both_attempts() -> None:
    book = Book()
    said = call(CHAT, (b"x-canary-unit", b"u"))
    record = book.opened(said)
    failed = ask(record, said, "candidate", Script(ANSWER[:-1] + b',"error":{"code":1}}'), covered=True)
    asyncio.run(failed.hold(stream=False))
    record.fell_back = failed.failure
    attempt = ask(record, said, "baseline", Script(ANSWER))
    drain(attempt)
    record.finish(attempt)

    outcome = book.outcome
    assert (outcome.outcome, outcome.error_type) == ("fallback", "provider_stream_error")
    assert (outcome.arm, outcome.served_by, outcome.model) == ("candidate", "baseline", "gpt-4o-2024-08-06")
    assert [attempt.error_type for attempt in outcome.attempts] == ["provider_stream_error", None]
    assert [attempt.cost_usd for attempt in outcome.attempts] == [40.0, 10.0]
    assert (outcome.cost_usd, outcome.usage) == (50.0, COUNTED)
    assert outcome.failed and outcome.evidence
    assert outcome.latency_s is not None
    assert outcome.latency_s >= sum(attempt.latency_s or 0 for attempt in outcome.attempts)


def test_an_attempt_that_cost_nothing_known_leaves_the_others_cost() -> None:
    book = Book()
    said = call(CHAT, (b"x-canary-unit", b"u"))
    record = book.opened(said)
    record.fell_back = ask(record, said, "candidate", Script(status=503), covered=True).failure
    attempt = ask(record, said, "baseline", Script(ANSWER))
    drain(attempt)
    record.finish(attempt)
    assert [attempt.cost_usd for attempt in book.outcome.attempts] == [None, 10.0]
    assert [attempt.status for attempt in book.outcome.attempts] == [503, 200]
    assert book.outcome.cost_usd == 10.0


@pytest.mark.parametrize("answer", [ANSWER, b'{"choices":[]}', b'{"usage":{"prompt_tokens":5}}'])
def test_an_unknown_cost_is_none_and_not_zero(answer: bytes) -> None:
    book = Book(usd_per_token={} if answer == ANSWER else {"gpt-4o-2024-08-06": 0.5})
    said = call(CHAT)
    record = book.opened(said, Assignment(arm="baseline", reason="no_unit"))
    attempt = ask(record, said, "baseline", Script(answer))
    drain(attempt)
    record.finish(attempt)
    assert book.outcome.outcome == "ok"
    assert book.outcome.cost_usd is None


def test_a_pass_through_belongs_to_no_canary_but_has_an_id() -> None:
    book = Book()
    said = call(b"", method="GET", path="/v1/models")
    record = book.opened(said, Assignment(arm="baseline", reason="no_plan"))
    attempt = ask(record, said, "baseline", Script(b"{}"))
    drain(attempt)
    record.finish(attempt)
    outcome = book.outcome
    assert (outcome.canary, outcome.reason, outcome.served_by, outcome.unit) == ("", "", None, "")
    assert (outcome.operation, outcome.provider, outcome.model, outcome.outcome) == (
        "other",
        "openai",
        "",
        "ok",
    )
    assert verify([KEY], outcome.exchange_id, now=time.time()).canary == ""


def test_without_a_canary_the_callers_model_is_the_model() -> None:
    book = Book()
    said = call(CHAT | {"model": "gpt-4o-2024-08-06"})
    record = book.opened(said, Assignment(arm="baseline", reason="no_plan"))
    attempt = ask(record, said, "baseline", Script(ANSWER))
    drain(attempt)
    record.finish(attempt)
    assert (book.outcome.model, book.outcome.cost_usd) == ("gpt-4o-2024-08-06", 10.0)


def test_the_exchange_id_says_who_was_assigned_what_and_when() -> None:
    said = call(CHAT, (b"x-canary-unit", b"user-1"))
    record = Book().opened(said)
    told = verify([KEY], record.exchange_id, now=time.time())
    assert (told.canary, told.run, told.phase, told.arm) == ("support", 2, 7, "candidate")
    assert told.unit == unit_hash(KEY, "user-1")
    assert told.at == pytest.approx(said.at, abs=1e-5)


def test_no_raw_identity_and_no_credential_is_written_down() -> None:
    book = Book()
    said = call(
        CHAT | {"user": "secret-user", "messages": [{"content": "secret-prompt"}]},
        (b"x-canary-session", b"secret-session"),
        (b"authorization", b"Bearer secret-key"),
        (b"x-canary-pin-token", b"secret-pin"),
        path="/openai/v1/chat/completions",
        query=b"key=secret-key",
    )
    record = book.opened(said)
    attempt = ask(record, said, "candidate", Script(ANSWER))
    drain(attempt)
    record.finish(attempt)
    assert b"secret" not in msgspec.json.encode(book.outcome)
    assert book.outcome.unit and book.outcome.session


def test_space_around_a_session_does_not_count() -> None:
    book = Book()
    for session in (b"s-1", b" s-1\t", b" "):
        book.opened(call(CHAT, (b"x-canary-session", session))).abort()
    assert [each.session for each in book.written] == [unit_hash(KEY, "s-1")] * 2 + [""]


def test_the_same_identity_is_the_same_hash_as_unit_or_session() -> None:
    book = Book()
    for header in (b"x-canary-unit", b"x-canary-session"):
        book.opened(call(CHAT, (header, b"ann"))).abort()
    assert book.written[0].unit == book.written[1].unit == book.written[1].session
    assert book.written[0].session == ""


def test_the_first_close_wins() -> None:
    book = Book()
    said = call(CHAT)
    record = book.opened(said)
    attempt = ask(record, said, "baseline", Script(ANSWER))
    drain(attempt)
    record.finish(attempt)
    record.abort()
    record.break_down()
    record.refuse("caller_rejected")
    record.finish(attempt)
    assert book.outcome.outcome == "ok"
    assert (book.recorder.started, book.recorder.finished) == (1, 1)


def test_what_has_not_finished_is_counted_as_begun() -> None:
    book = Book()
    first, _ = book.recorder.open(), book.recorder.open()
    first.abort()
    assert (book.recorder.started, book.recorder.finished) == (2, 1)


@pytest.mark.parametrize(
    ("error_type", "name"),
    [("caller_too_large", "caller_error"), ("caller_not_found", "caller_error"), ("shed", "shed")],
)
def test_what_is_refused_unread_is_written_down_with_an_id_of_its_own(
    error_type: ErrorType, name: OutcomeName
) -> None:
    book = Book()
    for _ in range(2):
        book.recorder.open().refuse(error_type)
    one, two = book.written
    assert one == Outcome(
        exchange_id=one.exchange_id, at=one.at, mono=one.mono, outcome=name, error_type=error_type
    )
    assert one.exchange_id != two.exchange_id
    assert verify([KEY], one.exchange_id, now=time.time()).arm == "baseline"


def test_what_is_refused_after_reading_says_what_was_asked() -> None:
    book = Book()
    record = book.recorder.open()
    record.begin(call(CHAT, (b"x-canary-request-id", b"app-77")))
    record.refuse("caller_unauthorized")
    outcome = book.outcome
    assert (outcome.outcome, outcome.model_requested, outcome.request_id) == (
        "caller_error",
        "gpt-4o",
        "app-77",
    )
    assert (outcome.attempts, outcome.latency_s, outcome.status, outcome.served_by) == ((), None, None, None)


def test_the_proxys_own_fault_blames_no_arm() -> None:
    book = Book()
    book.opened(call(CHAT, (b"x-canary-unit", b"u"))).break_down()
    outcome = book.outcome
    assert (outcome.outcome, outcome.error_type) == ("error", "proxy_error")
    assert not outcome.failed and not outcome.evidence


def test_a_caller_who_leaves_before_anything_was_asked_is_aborted() -> None:
    book = Book()
    book.recorder.open().abort()
    assert (book.outcome.outcome, book.outcome.error_type) == ("aborted", "aborted")


def test_a_caller_who_leaves_before_a_byte_came_waited_that_long() -> None:
    book = Book()
    said = call(CHAT)
    record = book.opened(said)
    ask(record, said, "candidate", Script(ANSWER, more=True))
    record.abort()
    outcome = book.outcome
    assert outcome.outcome == "aborted"
    assert outcome.latency_s is not None
    assert 0 <= outcome.latency_s < 60
    assert (outcome.ttft_s, outcome.ttfb_s, outcome.cost_usd, outcome.usage) == (None, None, None, Usage())


def test_a_caller_who_leaves_in_mid_stream_has_a_partial_count() -> None:
    book = Book()
    said = call(CHAT | {"stream": True})
    record = book.opened(said)
    ask_ = ask(record, said, "candidate", Script(TOKEN, PART_COUNTED, DONE, kind=SSE))
    drain(ask_, parts=2)
    record.abort()
    assert (book.outcome.outcome, book.outcome.error_type) == ("aborted", "aborted")
    assert book.outcome.usage == Usage(input_tokens=100, output_tokens=2, estimated=True)
    assert book.outcome.ttft_s is not None


def test_a_caller_who_leaves_after_the_last_event_got_it_all() -> None:
    book = Book()
    said = call(CHAT | {"stream": True})
    record = book.opened(said)
    attempt = ask(record, said, "candidate", Script(TOKEN, PART_COUNTED, DONE, kind=SSE, more=True))
    drain(attempt, parts=3)
    record.abort()
    assert (book.outcome.outcome, book.outcome.error_type) == ("ok", None)
    assert book.outcome.usage == Usage(input_tokens=100, output_tokens=2)


def test_a_stream_that_broke_is_an_error_with_a_partial_count() -> None:
    book = Book()
    said = call(CHAT | {"stream": True}, (b"x-canary-unit", b"u"))
    record = book.opened(said)
    attempt = ask(record, said, "candidate", Script(TOKEN, PART_COUNTED, kind=SSE))
    drain(attempt)
    record.finish(attempt)
    assert (book.outcome.outcome, book.outcome.error_type) == ("error", "provider_truncated")
    assert book.outcome.failed
    assert book.outcome.usage.estimated
    assert book.outcome.attempts[0].error_type == "provider_truncated"


def test_an_attempt_without_an_answer_has_no_status() -> None:
    book = Book()
    said = call(CHAT, (b"x-canary-unit", b"u"))
    record = book.opened(said)
    attempt = ask(record, said, "candidate")
    attempt.failure = "provider_connect"
    record.finish(attempt)
    outcome = book.outcome
    assert (outcome.outcome, outcome.error_type, outcome.status) == ("error", "provider_connect", None)
    assert outcome.latency_s is not None
    assert (outcome.attempts[0].status, outcome.attempts[0].error_type) == (None, "provider_connect")


def test_an_error_status_that_no_fallback_covers_is_the_callers() -> None:
    book = Book()
    said = call(CHAT, (b"x-canary-unit", b"u"))
    record = book.opened(said)
    attempt = ask(record, said, "candidate", Script(b"{}", status=413), covered=True)
    drain(attempt)
    record.finish(attempt)
    assert (book.outcome.outcome, book.outcome.error_type) == ("caller_error", "caller_too_large")
    assert book.outcome.attempts[0].error_type == "caller_too_large"


@pytest.mark.parametrize(
    ("text", "count"),
    [(b"0", 0), (b"2", 2), (b"", 0), (b"-1", 0), (b"x", 0), (b"\xb2", 0), (b"1234", 0), (b"1.5", 0)],
)
def test_a_retry_count_is_a_small_number(text: bytes, count: int) -> None:
    book = Book()
    book.opened(call(CHAT, (b"x-stainless-retry-count", text))).abort()
    assert book.outcome.retry_count == count


def test_another_api_is_priced_by_its_own_entry() -> None:
    asked: list[tuple[str, str]] = []

    def price(provider: Provider, model: str, usage: Usage) -> float | None:
        asked.append((provider.name, model))
        return 1.0

    book = Book()
    book.recorder.price = price
    said = call({"model": "claude-x", "messages": []}, path="/v1/messages")
    record = book.opened(said, Assignment(arm="baseline", reason="no_plan"))
    attempt = ask(
        record, said, "baseline", Script(b'{"type":"message","usage":{"input_tokens":1,"output_tokens":2}}')
    )
    drain(attempt)
    record.finish(attempt)
    assert asked == [("anthropic", "claude-x")]
    assert book.outcome.provider == ANTHROPIC.name


# Questions that are asked again


def asked(text: str, *headers: Header, counts: bool = True, session: bytes = b"s-1") -> str:
    """The fingerprint of one exchange's outcome."""
    spooled: list[Outcome] = []
    record = ExchangeRecorder(
        append=lambda each: spooled.append(each) is None, price=lambda *_: None, ids_key=KEY
    ).open()
    document = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}]}
    table = routes(replace(trial(), counts_repeats=counts))
    named = [(b"x-canary-session", session), *headers] if session else headers
    record.begin(call(document, *named, table=table))
    record.assign(COHORT)
    record.refuse("shed")
    return spooled[0].fingerprint


def test_a_question_asked_again_in_its_session_has_the_same_fingerprint() -> None:
    assert len(asked("Why?")) == 16
    assert asked("Why?") == asked("why") != asked("How?")
    assert asked("Why?") != asked("Why?", session=b"s-2")


def test_no_fingerprint_where_nobody_counts_them_or_there_is_no_session() -> None:
    assert asked("Why?", counts=False) == ""
    assert asked("Why?", session=b"") == ""


def test_a_client_librarys_retry_is_no_question_asked_again() -> None:
    assert asked("Why?", (b"x-stainless-retry-count", b"1")) == ""
