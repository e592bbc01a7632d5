"""Answers in Amazon's frames, followed while they are relayed."""

import pytest

from proxy.answers.aws_event_stream import EventStreamReader
from proxy.answers.provider_error import said
from proxy.answers.reader import reader_for
from proxy.dialects import bedrock
from records.outcome import ErrorType, ProviderError, Usage
from tests.servers.event_frames import chunk, error, event, exception

CONVERSE = bedrock.operation("/model/m/converse-stream")
INVOKE = bedrock.operation("/model/m/invoke-with-response-stream")
START = event("messageStart", {"role": "assistant", "p": "abc"})
TEXT = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Blue."}})
STOP = event("messageStop", {"stopReason": "end_turn"})
COUNTS = event("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}})


def reader() -> EventStreamReader:
    found = reader_for(
        CONVERSE,
        status=200,
        content_type=b"application/vnd.amazon.eventstream",
        encoding=b"",
        strip=False,
    )
    assert isinstance(found, EventStreamReader)
    return found


def test_bytes_go_out_untouched_and_the_first_token_is_seen() -> None:
    following = reader()
    assert not following.seen.has_event
    for at, part in enumerate((START, TEXT[:40], TEXT[40:], TEXT, STOP, COUNTS)):
        assert following.feed(part, float(at)) == part
    assert following.seen.first_token_at == 2.0
    assert following.seen.usage == Usage(input_tokens=3, output_tokens=2)
    assert (following.seen.done, following.seen.failed, following.seen.has_event) == (True, False, True)
    assert following.finish() == (b"", None)


def test_the_first_frame_alone_ends_the_hold() -> None:
    following = reader()
    following.feed(START[:-1], 0.0)
    assert not following.seen.has_event
    following.feed(START[-1:], 0.0)
    assert following.seen.has_event


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (
            exception("throttlingException", "Too many tokens"),
            ProviderError(type="throttlingException", message="Too many tokens"),
        ),
        (
            exception("modelStreamErrorException", "failed", originalMessage="the model's words"),
            ProviderError(type="modelStreamErrorException", message="the model's words"),
        ),
        (error("internal", "sorry"), ProviderError(type="internal", message="sorry")),
    ],
)
@pytest.mark.parametrize("before", [b"", START + TEXT])
def test_an_exception_fails_the_answer_in_amazons_words(
    frame: bytes, told: ProviderError, before: bytes
) -> None:
    following = reader()
    assert following.feed(before + frame, 0.0) == before + frame
    assert following.seen.failed
    assert following.seen.has_event
    assert following.finish() == (b"", "provider_stream_error")
    assert said(following.seen.error) == told


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (b"", "provider_malformed"),
        (b"<html>a gateway's page</html>", "provider_malformed"),
        (START + TEXT[:-1] + b"x", "provider_malformed"),
        (START + TEXT, "provider_truncated"),
        (START + TEXT + STOP, None),
        (START + TEXT + STOP + COUNTS[:-1], "provider_truncated"),
        (START + TEXT + STOP + COUNTS, None),
    ],
)
def test_how_a_stream_ended(data: bytes, wrong: ErrorType | None) -> None:
    following = reader()
    following.feed(data, 0.0)
    assert following.finish() == (b"", wrong)
    assert following.seen.failed == (wrong == "provider_malformed" and bool(data))


def test_an_error_inside_a_models_own_chunk_is_seen() -> None:
    following = EventStreamReader(INVOKE.events()) if INVOKE.events is not None else reader()
    following.feed(chunk({"type": "error", "error": {"type": "overloaded_error", "message": "x"}}), 0.0)
    assert following.finish() == (b"", "provider_stream_error")
