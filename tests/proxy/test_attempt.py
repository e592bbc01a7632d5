"""One attempt: what its head says, what is held, what goes out, and how it failed."""

import asyncio
import json
import time

import pytest

from proxy.answers.reader import ErrorReader
from proxy.attempts.attempt import JSON_HELD, STREAM_HELD, Attempt, status_failure
from proxy.attempts.dispatch import upstream_request
from proxy.network.upstream.response import UpstreamError
from proxy.providers.credentials import Credentials
from records.outcome import ErrorType, Usage
from tests.proxy.calls import Outlet, Script, call, trial

JSON, SSE = b"application/json", b"text/event-stream"
CHAT = json.dumps({"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}).encode()
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
EXTRA = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("status", "uncovered", "covered"),
    [
        (200, None, None),
        (302, None, None),
        (400, "caller_rejected", "candidate_rejects"),
        (401, "caller_unauthorized", "candidate_rejects"),
        (403, "caller_unauthorized", "candidate_rejects"),
        (404, "caller_not_found", "candidate_rejects"),
        (409, "caller_rejected", None),
        (413, "caller_too_large", None),
        (422, "caller_rejected", "candidate_rejects"),
        (408, "provider_timeout", "provider_timeout"),
        (424, "provider_5xx", "provider_5xx"),
        (429, "provider_429", "provider_429"),
        (500, "provider_5xx", "provider_5xx"),
        (529, "provider_5xx", "provider_5xx"),
    ],
)
def test_what_a_status_says_of_its_sender(
    status: int, uncovered: ErrorType | None, covered: ErrorType | None
) -> None:
    assert status_failure(status, candidate=False) == uncovered
    assert status_failure(status, candidate=True) == covered


def attempted(answer: Script, *, stream: bool = False, covered: bool = True) -> Attempt:
    """An attempt at a canary's candidate whose head is in."""
    request, target = call({"model": "gpt-4o", "stream": stream}), trial().candidate
    attempt = Attempt(target)
    attempt.request = upstream_request(request, target, Credentials())
    attempt.opened(answer, request, covered=covered)
    return attempt


def hold(attempt: Attempt, *, stream: bool = False) -> None:
    asyncio.run(attempt.hold(stream=stream))


def relay(attempt: Attempt) -> list[bytes]:
    """What goes out until the provider's end."""

    async def pieces() -> list[bytes]:
        outlet = Outlet()
        last = await attempt.relay(outlet)
        return [each for each in (*outlet.written, last) if each]

    return asyncio.run(pieces())


def test_an_answer_goes_out_as_it_comes_and_is_read_at_its_end() -> None:
    attempt = attempted(Script(CHAT[:10], CHAT[10:]))
    assert relay(attempt) == [CHAT[:10], CHAT[10:]]
    assert (attempt.failure, attempt.wrong, attempt.ended) == (None, None, True)
    assert attempt.reader.seen.usage == Usage(input_tokens=9, output_tokens=3)


def test_a_candidates_json_is_held_to_its_end_and_loses_nothing() -> None:
    attempt = attempted(Script(CHAT[:10], CHAT[10:]))
    hold(attempt)
    assert (attempt.held, attempt.ended, attempt.failure) == (CHAT, True, None)
    assert relay(attempt) == [CHAT]


@pytest.mark.parametrize(
    ("parts", "failure"),
    [
        ([], "provider_malformed"),
        ([b"<html>"], "provider_malformed"),
        ([CHAT[:-1]], "provider_malformed"),
        ([b'{"error":{"message":"boom"}}'], "provider_stream_error"),
        ([CHAT], None),
    ],
)
def test_what_is_wrong_with_a_held_json_is_known_before_a_byte_goes_out(
    parts: list[bytes], failure: ErrorType | None
) -> None:
    for stream in (False, True):
        attempt = attempted(Script(*parts), stream=stream)
        hold(attempt, stream=stream)
        assert attempt.failure == failure


def test_a_json_longer_than_is_held_is_committed() -> None:
    part = b" " * (JSON_HELD // 4)
    answer = Script(*[part] * 6, CHAT)
    attempt = attempted(answer)
    hold(attempt)
    assert (len(attempt.held), attempt.ended, attempt.failure) == (JSON_HELD, False, None)
    assert b"".join(relay(attempt)) == part * 6 + CHAT


def test_a_stream_is_held_to_its_first_whole_event() -> None:
    attempt = attempted(
        Script(b": ping\n\n", TOKEN[:20], TOKEN[20:], FINISH, EXTRA, DONE, kind=SSE), stream=True
    )
    hold(attempt, stream=True)
    assert (attempt.held, attempt.ended, attempt.failure) == (b": ping\n\n" + TOKEN, False, None)
    assert b"".join(relay(attempt)) == b": ping\n\n" + TOKEN + FINISH + DONE
    assert attempt.reader.seen.usage == Usage(input_tokens=9, output_tokens=3)


def test_a_stream_whose_first_event_never_ends_is_held_to_a_bound() -> None:
    part = b"data: " + b"x" * (STREAM_HELD // 4)
    attempt = attempted(Script(*[part] * 8, kind=SSE), stream=True)
    hold(attempt, stream=True)
    assert STREAM_HELD <= len(attempt.held) < STREAM_HELD + len(part)
    assert not attempt.ended


def test_an_error_as_the_first_event_is_a_failure_before_a_byte_goes_out() -> None:
    attempt = attempted(
        Script(b'data: {"error":{"message":"overloaded"}}\n\n', kind=SSE, more=True), stream=True
    )
    hold(attempt, stream=True)
    assert attempt.failure == "provider_stream_error"


def test_an_empty_stream_is_a_failure_before_a_byte_goes_out() -> None:
    attempt = attempted(Script(kind=SSE), stream=True)
    hold(attempt, stream=True)
    assert attempt.failure == "provider_malformed"


def test_a_stream_that_nobody_can_read_is_not_held() -> None:
    attempt = attempted(
        Script(b"\x1b\x08", kind=SSE, headers=[(b"content-encoding", b"compress")], more=True), stream=True
    )
    hold(attempt, stream=True)
    assert (attempt.held, attempt.failure) == (b"", None)


def test_a_stream_that_ends_without_its_last_event_was_truncated() -> None:
    attempt = attempted(Script(TOKEN, kind=SSE), stream=True)
    assert b"".join(relay(attempt)) == TOKEN
    assert attempt.wrong == "provider_truncated"


def test_a_body_that_breaks_breaks_the_relay_after_what_came() -> None:
    attempt = attempted(Script(TOKEN, kind=SSE, error="provider_reset"), stream=True)

    outlet = Outlet()
    with pytest.raises(UpstreamError):
        asyncio.run(attempt.relay(outlet))
    assert outlet.written == [b"", TOKEN]
    assert not attempt.ended


def test_an_error_status_is_a_failure_at_once_and_its_body_is_only_copied() -> None:
    attempt = attempted(Script(b"<html>", status=503))
    assert attempt.failure == attempt.wrong == "provider_5xx"
    assert isinstance(attempt.reader, ErrorReader)
    assert relay(attempt) == [b"<html>"]
    assert attempt.wrong == "provider_5xx"


@pytest.mark.parametrize(("status", "wrong"), [(413, "caller_too_large"), (409, "caller_rejected")])
def test_a_candidates_error_that_no_fallback_covers_is_still_no_success(
    status: int, wrong: ErrorType
) -> None:
    attempt = attempted(Script(b"{}", status=status))
    hold(attempt)
    assert attempt.failure is None
    assert relay(attempt) == [b"{}"]
    assert attempt.wrong == wrong


@pytest.mark.parametrize(
    "answer",
    [
        Script(status=600),
        Script(status=999),
        Script(headers=[(b"x-broken", b"a\nb")]),
        Script(headers=[(b"bad name", b"x")]),
        Script(headers=[(b"", b"x")]),
    ],
)
def test_a_head_that_cannot_be_passed_on_is_no_answer(answer: Script) -> None:
    attempt = attempted(answer)
    assert (attempt.failure, attempt.response, attempt.status) == ("provider_malformed", None, None)
    assert answer.aborted


def test_times_are_the_providers_bytes_and_never_before_the_request() -> None:
    answer = Script(b"{}", CHAT)
    before = time.monotonic()
    attempt = attempted(answer)
    assert attempt.first_byte_at is None
    latency_s = attempt.latency_s(before)
    assert latency_s is not None and latency_s >= 0.0
    relay(attempt)
    assert (attempt.first_byte_at, attempt.latency_s(0.0)) == (answer.times[0], answer.times[-1])


def test_giving_up_closes_what_is_open() -> None:
    answer = Script(CHAT, more=True)
    attempt = attempted(answer)
    attempt.abort()
    assert answer.aborted
    Attempt(trial().candidate).abort()


@pytest.mark.parametrize(("status", "length"), [(200, None), (429, 2)])
def test_a_length_is_kept_unless_some_of_the_body_will_be_left_out(status: int, length: int | None) -> None:
    answer = Script(b"{}", status=status, kind=SSE, headers=[(b"content-length", b"2")])
    assert attempted(answer, stream=True).length == length
    assert attempted(Script(b"{}", headers=[(b"content-length", b"2")])).length == 2
