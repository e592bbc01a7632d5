"""Which answers are read, how much of them is kept, and what is never called an error."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest

from proxy.dialects import PASS_THROUGH, anthropic, gemini, openai
from proxy.reading import JSON_BOUND, Blind, JsonReader, Reader, Unzipped, reader_for
from proxy.sse import StreamReader
from records.outcome import ErrorType, Usage

CHAT = openai.operation("/chat/completions")
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
    }
).encode()
COUNTED = Usage(input_tokens=9, output_tokens=12)
STREAM = (
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n'
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12}}\n\n'
    b"data: [DONE]\n\n"
)


def reader(
    *,
    kind: bytes = b"application/json",
    encoding: bytes = b"",
    status: int = 200,
    strip: bool = False,
) -> Reader:
    return reader_for(CHAT, status=status, content_type=kind, encoding=encoding, strip=strip)


def relay(reader: Reader, parts: Iterable[bytes]) -> ErrorType | None:
    """Show it the parts; every byte must go out at once and unchanged."""
    for place, part in enumerate(parts):
        assert reader.feed(part, float(place)) == part
    rest, wrong = reader.finish()
    assert rest == b""
    return wrong


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_json_answer_is_read_at_its_end(size: int) -> None:
    read = reader()
    assert isinstance(read, JsonReader)
    assert not read.done
    assert relay(read, split(ANSWER, size)) is None
    assert (read.usage, read.done, read.failed, read.first_token_at) == (COUNTED, True, False, None)


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        (b"", "provider_malformed"),
        (b"<html><body>502 Bad Gateway</body></html>", "provider_malformed"),
        (ANSWER[:-1], "provider_malformed"),
        (b'{"error":{"message":"boom","type":"server_error"}}', "provider_stream_error"),
        (b'{"object":"chat.completion","choices":[]}', None),
    ],
)
def test_what_may_be_wrong_with_a_200(body: bytes, wrong: ErrorType | None) -> None:
    assert relay(reader(), [body] if body else []) == wrong


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (CHAT, b'{"error":{"message":"boom"}}'),
        (anthropic.operation("/v1/messages"), b'{"type":"error","error":{"type":"api_error"}}'),
        (gemini.operation("/v1beta/models/g:generateContent"), b'{"error":{"code":500}}'),
    ],
)
def test_each_apis_error_with_status_200_is_an_error(operation: openai.Operation, error: bytes) -> None:
    read = reader_for(operation, status=200, content_type=b"application/json", encoding=b"", strip=False)
    assert relay(read, [error]) == "provider_stream_error"
    assert read.failed


@pytest.mark.parametrize("status", [300, 304, 400, 429, 500, 503])
def test_the_body_of_another_status_is_not_read(status: int) -> None:
    read = reader(status=status)
    assert isinstance(read, Blind)
    assert relay(read, [b"<html>"]) is None


def test_what_passes_through_is_not_read() -> None:
    read = reader_for(PASS_THROUGH, status=200, content_type=b"text/event-stream", encoding=b"", strip=True)
    assert isinstance(read, Blind)
    assert relay(read, [b"anything", STREAM]) is None
    assert (read.usage, read.done) == (None, False)


def test_a_json_beyond_the_bound_goes_out_and_its_usage_is_unknown() -> None:
    read = reader()
    parts = [b'{"x":"', *[b"y" * 65_536] * (JSON_BOUND // 65_536), b'","usage":{"prompt_tokens":9}}']
    assert relay(read, parts) is None
    assert (read.usage, read.done) == (None, True)


def test_a_json_of_the_bounds_size_is_read() -> None:
    read = reader()
    assert relay(read, [ANSWER, b" " * (JSON_BOUND - len(ANSWER))]) is None
    assert read.usage == COUNTED


@pytest.mark.parametrize("kind", [b"text/event-stream", b"text/event-stream; charset=utf-8"])
def test_a_stream_is_read_event_by_event(kind: bytes) -> None:
    read = reader(kind=kind)
    assert isinstance(read, StreamReader)
    assert relay(read, STREAM.splitlines(keepends=True)) is None
    assert (read.usage, read.done, read.first_token_at) == (COUNTED, True, 3.0)


def test_an_operation_that_never_streams_is_read_as_json_whatever_it_is_called() -> None:
    embeddings = openai.operation("/embeddings")
    read = reader_for(embeddings, status=200, content_type=b"text/event-stream", encoding=b"", strip=False)
    assert relay(read, [STREAM]) == "provider_malformed"


def test_only_a_plain_stream_is_stripped() -> None:
    extra = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12}}\n\n'
    plain = reader(kind=b"text/event-stream", encoding=b"identity", strip=True)
    assert plain.feed(STREAM, 0.0) == STREAM.replace(extra, b"")
    packed = reader(kind=b"text/event-stream", encoding=b"gzip", strip=True)
    assert relay(packed, [gzip.compress(STREAM)]) is None
    assert packed.usage == COUNTED


def packed(encoding: bytes, data: bytes) -> bytes:
    return zlib.compress(data) if encoding == b"deflate" else gzip.compress(data)


@pytest.mark.parametrize("encoding", [b"gzip", b"x-gzip", b"deflate"])
@pytest.mark.parametrize("size", [1, 13, 10_000])
def test_a_compressed_answer_is_read_from_a_copy(encoding: bytes, size: int) -> None:
    read = reader(encoding=encoding)
    assert relay(read, split(packed(encoding, ANSWER), size)) is None
    assert (read.usage, read.done) == (COUNTED, True)


def test_a_compressed_stream_shows_its_first_event_and_token_as_they_come() -> None:
    compressor = zlib.compressobj(wbits=31)
    flush = zlib.Z_SYNC_FLUSH
    parts = [
        compressor.compress(event + b"\n\n") + compressor.flush(flush) for event in STREAM.split(b"\n\n")[:-1]
    ]
    read = reader(kind=b"text/event-stream", encoding=b"gzip")
    assert not read.has_event
    read.feed(parts[0], 0.0)
    assert read.has_event and read.first_token_at is None
    assert relay(read, [b"", *parts[1:], compressor.flush()]) is None
    assert (read.usage, read.first_token_at, read.done) == (COUNTED, 1.0, True)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":{"message":"boom"}}'])
def test_compression_hides_no_fault(body: bytes) -> None:
    assert relay(reader(encoding=b"gzip"), [gzip.compress(body)]) == relay(reader(), [body])
    assert relay(reader(encoding=b"gzip"), [gzip.compress(ANSWER)[:-20]]) == "provider_malformed"


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
def test_a_zip_bomb_is_not_inflated_and_is_no_error(kind: bytes, at_once: bool) -> None:
    bomb = gzip.compress(b" " * (8 * JSON_BOUND))
    read = reader(kind=kind, encoding=b"gzip")
    tracemalloc.start()
    try:
        assert relay(read, [bomb] if at_once else split(bomb, 4096)) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read.usage is None
    assert peak < 4 * JSON_BOUND


def test_a_slow_zip_bomb_keeps_no_more_than_the_bound() -> None:
    compressor = zlib.compressobj(wbits=31)
    mib = b"x" * (1 << 20)
    parts = [compressor.compress(mib) + compressor.flush(zlib.Z_SYNC_FLUSH) for _ in range(40)]
    read = reader(encoding=b"gzip")
    tracemalloc.start()
    try:
        assert relay(read, parts) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read.usage is None
    assert peak < 4 * JSON_BOUND


@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"gzip", b"not gzip at all"),
        (b"deflate", zlib.compressobj(wbits=-15).compress(ANSWER) + b"\x07\xff\xff\xff"),
        (b"gzip", gzip.compress(ANSWER) + b"what is this"),
        (b"gzip", gzip.compress(STREAM) + b"what is this"),
        (b"gzip", gzip.compress(ANSWER[:30]) + gzip.compress(ANSWER[30:])),
    ],
)
def test_what_does_not_inflate_is_not_read_and_is_no_error(kind: bytes, encoding: bytes, body: bytes) -> None:
    read = reader(kind=kind, encoding=encoding)
    assert isinstance(read, Unzipped)
    assert relay(read, [body, b"more"]) is None
    assert (read.usage, read.has_event) == (None, True)


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, br", b"aes128gcm"])
def test_an_unknown_encoding_is_not_read(encoding: bytes) -> None:
    read = reader(encoding=encoding)
    assert isinstance(read, Blind)
    assert relay(read, [b"\x1b\x08\x00"]) is None
    assert (read.usage, read.done, read.failed) == (None, False, False)


def test_a_stream_that_cannot_be_read_is_not_waited_for() -> None:
    assert reader(kind=b"text/event-stream", encoding=b"br").has_event
    assert not reader(kind=b"application/json", encoding=b"br").has_event
    assert not reader(kind=b"application/json", status=502).has_event
