"""What a session's events say, and how a session ended."""

import json
from typing import Any, get_args

import pytest

from proxy.attempts.realtime_session import SessionEnd, Side, failure
from proxy.dialects.realtime import SessionEvents
from proxy.network.websocket import NO_CODE
from records.outcome import ErrorType, Usage


def event(kind: str, **members: Any) -> bytes:
    return json.dumps({"type": kind, "event_id": "event_1", **members}).encode()


def counts(read: int, cached: int, written: int, **audio: int) -> dict[str, Any]:
    return {
        "total_tokens": read + written,
        "input_tokens": read,
        "output_tokens": written,
        "input_token_details": {
            "text_tokens": read,
            "cached_tokens": cached,
            "audio_tokens": audio.get("heard", 0),
        },
        "output_token_details": {"text_tokens": written, "audio_tokens": audio.get("said", 0)},
    }


def done(status: str = "completed", usage: Any = None) -> bytes:
    return event("response.done", response={"id": "resp_1", "status": status, "usage": usage})


def error(code: str | None, kind: str = "invalid_request_error") -> bytes:
    return event("error", error={"type": kind, "code": code, "message": "…", "param": None})


def seen(*texts: bytes) -> SessionEvents:
    events = SessionEvents()
    for number, text in enumerate(texts):
        events.take(text, 100.0 + number)
    return events


def test_usage_is_summed_over_the_session() -> None:
    events = seen(done(usage=counts(100, 60, 20)), done(usage=counts(150, 0, 30)))
    assert events.usage == Usage(input_tokens=250, cached_input_tokens=60, output_tokens=50)
    assert (events.completed, events.failed, events.partial, events.spoke) == (2, 0, False, False)


def test_audio_and_images_are_told_apart_from_text() -> None:
    assert seen(done(usage=counts(100, 60, 20, heard=5))).spoke
    assert seen(done(usage=counts(100, 60, 20, said=5))).spoke
    assert seen(done(usage={"input_tokens": 1, "input_token_details": {"image_tokens": 3}})).spoke


def test_unknown_counts_stay_unknown() -> None:
    assert seen(done(usage={"input_tokens": 7})).usage == Usage(input_tokens=7)
    assert seen(done(usage={"output_token_details": {"reasoning_tokens": 4}})).usage == Usage(
        reasoning_tokens=4
    )
    for nothing in (None, "seven", {"input_tokens": "seven"}, {"input_tokens": -1}):
        events = seen(done(usage=nothing))
        assert events.usage is None and events.partial
    assert not seen(done("failed")).partial  # what failed was not billed


@pytest.mark.parametrize(
    "kind",
    [
        "response.output_text.delta",
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.text.delta",
        "response.audio.delta",
        "response.audio_transcript.delta",
    ],
)
def test_the_first_token_is_timed_from_what_asked_for_it(kind: str) -> None:
    events = SessionEvents()
    events.take(event("session.created"), 1.0)
    events.asked(event("input_audio_buffer.append", audio="AAAA"), 2.0)
    events.asked(event("response.create"), 10.0)
    events.take(event("response.created", response={}), 10.5)
    events.take(event("response.function_call_arguments.delta", delta="{"), 10.6)
    events.take(event(kind, delta="Hi"), 10.75)
    events.take(event(kind, delta="Hi"), 11.0)
    events.asked(event("response.create"), 20.0)
    events.take(event(kind, delta="Hi"), 25.0)
    assert events.ttft_s == 0.75


def test_where_the_provider_listens_the_end_of_speech_asks() -> None:
    events = SessionEvents()
    events.take(event("input_audio_buffer.speech_stopped"), 5.0)
    events.take(event("response.output_audio.delta", delta="AAAA"), 5.5)
    assert events.ttft_s == 0.5


def test_a_token_that_nobody_asked_for_has_no_time() -> None:
    assert seen(event("response.output_text.delta", delta="Hi")).ttft_s is None


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b'"x"', b'{"type": 7}', b"\xff", b"[" * 5000, b'{"type":null}']
)
def test_what_is_no_event_is_passed_over(text: bytes) -> None:
    events = SessionEvents()
    events.asked(text, 1.0)
    events.take(text, 1.0)
    assert (events.received, events.usage, events.refused, events.completed) == (1, None, None, 0)


@pytest.mark.parametrize(
    ("code", "kind", "expected"),
    [
        ("invalid_api_key", "invalid_request_error", "caller_unauthorized"),
        ("model_not_found", "invalid_request_error", "caller_not_found"),
        ("missing_model", "invalid_request_error", "caller_rejected"),
        (None, "invalid_request_error", "caller_rejected"),
        ("credit_balance_exhausted", "insufficient_quota", "provider_429"),
        ("rate_limit_exceeded", "requests", "provider_throttled"),
        (None, "server_error", "provider_stream_error"),
    ],
)
def test_an_error_in_place_of_a_session_refuses_it(code: str | None, kind: str, expected: ErrorType) -> None:
    events = seen(error(code, kind))
    assert events.refused == expected
    for side in get_args(Side):
        assert failure(SessionEnd(side=side, code=1000), events) == expected
    assert seen(event("session.created"), error(code, kind)).refused is None


def test_an_error_without_a_word_is_the_provider_s() -> None:
    assert seen(event("error")).refused == "provider_stream_error"


CREATED = event("session.created")
UNDER_WAY = event("response.created", response={})
LIMIT = error("session_expired")
ERROR = error("server_error", "server_error")


@pytest.mark.parametrize(
    ("texts", "end", "expected"),
    [
        ([], SessionEnd(side="provider", code=1000), None),
        ([CREATED], SessionEnd(side="provider", code=1001), None),
        ([CREATED], SessionEnd(side="provider", code=NO_CODE), None),
        ([CREATED, LIMIT], SessionEnd(side="provider", code=1001), None),
        ([CREATED, ERROR], SessionEnd(side="provider", code=1000), "provider_stream_error"),
        ([CREATED, ERROR], SessionEnd(side="provider", code=4000), "provider_stream_error"),
        ([CREATED, ERROR, done()], SessionEnd(side="provider", code=1000), None),
        ([CREATED], SessionEnd(side="provider", code=1002), "caller_rejected"),
        ([CREATED], SessionEnd(side="provider", code=1007), "caller_rejected"),
        ([CREATED], SessionEnd(side="provider", code=1009), "caller_too_large"),
        ([CREATED], SessionEnd(side="provider", code=1011), "provider_stream_error"),
        ([CREATED], SessionEnd(side="provider", code=4000), "provider_stream_error"),
        ([CREATED, done()], SessionEnd(side="provider"), "provider_truncated"),
        ([CREATED, done()], SessionEnd(side="provider", broke="provider_reset"), "provider_truncated"),
        ([CREATED, done()], SessionEnd(side="provider", broke="provider_timeout"), "provider_timeout"),
        ([], SessionEnd(side="provider", malformed=True), "provider_malformed"),
        ([CREATED, done()], SessionEnd(side="caller"), None),
        ([CREATED, done(), UNDER_WAY], SessionEnd(side="caller"), None),
        ([CREATED], SessionEnd(side="caller", code=1000), None),
        ([CREATED], SessionEnd(side="caller", code=1001), None),
        ([CREATED, UNDER_WAY], SessionEnd(side="caller", code=1000), "aborted"),
        ([CREATED], SessionEnd(side="caller"), "aborted"),
        ([CREATED, ERROR, done()], SessionEnd(side="caller"), None),
        ([CREATED, UNDER_WAY], SessionEnd(side="neither"), "provider_timeout"),
        ([CREATED, UNDER_WAY, done()], SessionEnd(side="neither"), None),
        ([CREATED], SessionEnd(side="neither"), "aborted"),
        ([CREATED, done("failed")], SessionEnd(side="caller", code=1000), "provider_stream_error"),
        ([CREATED, done("failed")], SessionEnd(side="provider", code=1000), "provider_stream_error"),
        ([CREATED, done("failed"), done()], SessionEnd(side="caller", code=1000), None),
        ([CREATED, done("incomplete")], SessionEnd(side="caller"), None),
        ([CREATED, done("cancelled")], SessionEnd(side="caller"), None),
    ],
)
def test_the_end_says_who_was_at_fault(
    texts: list[bytes], end: SessionEnd, expected: ErrorType | None
) -> None:
    assert failure(end, seen(*texts)) == expected


def test_a_missed_event_may_have_been_counted_tokens() -> None:
    events = seen(CREATED, ERROR)
    events.missed()
    assert events.partial
    assert failure(SessionEnd(side="provider", code=1000), events) is None
