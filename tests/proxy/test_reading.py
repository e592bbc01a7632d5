"""Which answers are read, how much of them is kept, and what is never called an error."""

import gzip
import json
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.answers.reader import (
    ERROR_BOUND,
    JSON_BOUND,
    JSON_TAIL,
    BlindReader,
    DecompressedReader,
    ErrorReader,
    JsonReader,
    Reader,
    reader_for,
    usage_at_end,
)
from proxy.answers.sse import SseReader
from proxy.dialects import anthropic, gemini, openai
from proxy.dialects.operation import PASS_THROUGH, Operation
from records.outcome import ErrorType, Usage

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

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
    assert not read.seen.done
    assert relay(read, split(ANSWER, size)) is None
    assert (read.seen.usage, read.seen.done, read.seen.failed, read.seen.first_token_at) == (
        COUNTED,
        True,
        False,
        None,
    )


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
    assert read.seen.failed


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_the_body_of_another_status_is_only_copied(status: int) -> None:
    read = reader(status=status)
    assert isinstance(read, ErrorReader)
    assert relay(read, [b"<ht", b"ml>"]) is None
    assert (read.seen.error, read.seen.answer, read.seen.usage) == (b"<html>", None, None)


def test_the_copy_of_an_error_is_bounded() -> None:
    read = reader(status=500)
    assert relay(read, [b"x" * ERROR_BOUND, b"y" * ERROR_BOUND, b"z"]) is None
    assert read.seen.error == b"x" * ERROR_BOUND


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_no_models_answer_and_elsewhere_as_good_as_any(status: int) -> None:
    assert relay(reader(status=status), [b"<html>"]) == "provider_malformed"
    assert relay(reader(status=status), []) == "provider_malformed"
    other = reader_for(PASS_THROUGH, status=status, content_type=b"text/html", encoding=b"", strip=False)
    assert relay(other, [b"<html>"]) is None


def test_what_passes_through_is_not_read() -> None:
    read = reader_for(PASS_THROUGH, status=200, content_type=b"text/event-stream", encoding=b"", strip=True)
    assert isinstance(read, BlindReader)
    assert relay(read, [b"anything", STREAM]) is None
    assert (read.seen.usage, read.seen.done) == (None, False)


def beyond_the_bound(before: bytes, after: bytes) -> list[bytes]:
    """A text in parts, as long as makes the reader keep its end alone."""
    return [before, *[b"y" * 65_536] * (JSON_BOUND // 65_536), after]


@pytest.mark.parametrize(
    ("operation", "before", "after", "usage"),
    [
        (
            openai.operation("/embeddings"),
            b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":"',
            b'"}],"model":"text-embedding-3-large","usage":{"prompt_tokens":8,"total_tokens":8}}\n',
            Usage(input_tokens=8),
        ),
        (
            openai.operation("/responses"),
            b'{"object":"response","output":[{"type":"image_generation_call","result":"',
            b'"}],"usage":{"input_tokens":3,"output_tokens":4,"total_tokens":7},"user":null,"metadata":{}}',
            Usage(input_tokens=3, output_tokens=4),
        ),
        (
            anthropic.operation("/v1/messages"),
            b'{"type":"message","content":[{"type":"text","text":"',
            b'"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":4}}',
            Usage(input_tokens=3, output_tokens=4),
        ),
        (
            gemini.operation("/v1beta/models/g:generateContent"),
            b'{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":"',
            b'"}}]}}],\n "usageMetadata": {"promptTokenCount": 3,"candidatesTokenCount": 4},\n "x": 1}',
            Usage(input_tokens=3, output_tokens=4),
        ),
        (
            gemini.operation("/v1beta/models/g:streamGenerateContent"),
            b'[{"usageMetadata":{"promptTokenCount":9}}\n,\r\n{"candidates":[{"content":{"parts":[{"text":"',
            b'"}]}}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":4}}\n]\n',
            Usage(input_tokens=3, output_tokens=4),
        ),
        (CHAT, b'{"usage":{"prompt_tokens":9},"choices":[{"message":{"content":"', b'"}}]}', None),
        (CHAT, b'{"choices":[{"message":{"content":"', b'"}}],"usage":null}', None),
        (CHAT, b"{", b'"usage":{"prompt_tokens":9}}', None),
    ],
)
def test_of_a_json_beyond_the_bound_the_usage_is_read_where_it_stands_at_the_end(
    operation: Operation, before: bytes, after: bytes, usage: Usage | None
) -> None:
    read = reader_for(operation, status=200, content_type=b"application/json", encoding=b"", strip=False)
    assert relay(read, beyond_the_bound(before, after)) is None
    assert (read.seen.usage, read.seen.done, read.seen.failed) == (usage, True, False)


def test_of_a_json_beyond_the_bound_no_more_than_that_is_kept() -> None:
    read = reader()
    mib = bytes(1 << 20)
    tracemalloc.start()
    try:
        for _ in range(64):
            read.feed(mib[:-1] + b"x", 0.0)  # each part a copy of its own, as each read is
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < 2 * JSON_TAIL + (2 << 20)
    assert peak < 3 * JSON_BOUND


def test_a_members_own_usage_that_comes_later_hides_none() -> None:
    inner = ",".join(f'"{name}":{{"usage":{{"prompt_tokens":7}}}}' for name in "abcdef")
    assert usage_at_end(f'{{"usage":{{"prompt_tokens":1}},{inner}}}'.encode(), CHAT) == Usage(input_tokens=1)
    many = ",".join('{"usage":{"prompt_tokens":7}}' for _ in range(1000))
    assert usage_at_end(f'{{"usage":{{"prompt_tokens":1}},"x":[{many}]}}'.encode(), CHAT) is None


COUNTS = st.fixed_dictionaries({"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9)})
TEXTS = st.sampled_from(
    [
        "",
        "usage",
        'x,"usage":{"prompt_tokens":1}}',
        '","usage":{"prompt_tokens":1}}',
        ',"usage":{"prompt_tokens":1,"x":"',
        "\\",
        '\\"',
        '"usage"',
    ]
)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS | COUNTS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["usage", "a", ',"usage"', "b"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    document=st.dictionaries(st.sampled_from(["choices", "data", "z", '"usage"', "x"]), VALUES, max_size=4),
    counts=st.none() | COUNTS,
    spaced=st.booleans(),
    kept=st.integers(1, 400),
)
def test_nothing_else_passes_for_the_usage_at_the_end(
    document: dict[str, Any], counts: dict[str, int] | None, spaced: bool, kept: int
) -> None:
    document.pop("error", None)
    if counts is not None:
        document["usage"] = counts
    body = json.dumps(document, separators=(", ", ": ") if spaced else (",", ":")).encode()
    whole = openai.read_json(body).usage
    assert usage_at_end(body, CHAT) == whole
    assert usage_at_end(body[-kept:], CHAT) in (None, whole)


def test_a_json_of_the_bounds_size_is_read() -> None:
    read = reader()
    assert relay(read, [ANSWER, b" " * (JSON_BOUND - len(ANSWER))]) is None
    assert read.seen.usage == COUNTED


@pytest.mark.parametrize("kind", [b"text/event-stream", b"text/event-stream; charset=utf-8"])
def test_a_stream_is_read_event_by_event(kind: bytes) -> None:
    read = reader(kind=kind)
    assert isinstance(read, SseReader)
    assert relay(read, STREAM.splitlines(keepends=True)) is None
    assert (read.seen.usage, read.seen.done, read.seen.first_token_at) == (COUNTED, True, 3.0)


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
    assert packed.seen.usage == COUNTED


PACKERS: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": brotli.compress,
    b"zstd": zstd.compress,
    b"gzip, br": lambda data: brotli.compress(gzip.compress(data)),
    b"br,identity,zstd": lambda data: zstd.compress(brotli.compress(data)),
}
SINGLE = [b"gzip", b"deflate", b"br", b"zstd"]


@pytest.mark.parametrize("encoding", sorted(PACKERS))
@pytest.mark.parametrize("size", [1, 13, 10_000])
def test_a_compressed_answer_is_read_from_a_copy(encoding: bytes, size: int) -> None:
    read = reader(encoding=encoding)
    assert relay(read, split(PACKERS[encoding](ANSWER), size)) is None
    assert (read.seen.usage, read.seen.done) == (COUNTED, True)


def flushed(encoding: bytes, events: list[bytes]) -> list[bytes]:
    """Each event as a provider sends it that compresses a stream as it goes, and the packed end."""
    if encoding == b"br":
        packer = brotli.Compressor()
        return [*[packer.process(event) + packer.flush() for event in events], packer.finish()]
    if encoding == b"zstd":
        frame = zstd.ZstdCompressor()
        return [*[frame.compress(event, frame.FLUSH_BLOCK) for event in events], frame.flush()]
    squeeze = zlib.compressobj(wbits=31 if encoding == b"gzip" else 15)
    parts = [squeeze.compress(event) + squeeze.flush(zlib.Z_SYNC_FLUSH) for event in events]
    return [*parts, squeeze.flush()]


@pytest.mark.parametrize("encoding", SINGLE)
def test_a_compressed_stream_shows_its_first_event_and_token_as_they_come(encoding: bytes) -> None:
    parts = flushed(encoding, [event + b"\n\n" for event in STREAM.split(b"\n\n")[:-1]])
    read = reader(kind=b"text/event-stream", encoding=encoding)
    assert not read.seen.has_event
    read.feed(parts[0], 0.0)
    assert read.seen.has_event and read.seen.first_token_at is None
    assert relay(read, [b"", *parts[1:]]) is None
    assert (read.seen.usage, read.seen.first_token_at, read.seen.done) == (COUNTED, 1.0, True)


@pytest.mark.parametrize("encoding", SINGLE)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error":{"message":"boom"}}'])
def test_compression_hides_no_fault(encoding: bytes, body: bytes) -> None:
    assert relay(reader(encoding=encoding), [PACKERS[encoding](body)]) == relay(reader(), [body])
    assert relay(reader(encoding=encoding), [PACKERS[encoding](ANSWER)[:-20]]) == "provider_malformed"


@pytest.fixture(scope="module")
def bombs() -> dict[bytes, bytes]:
    """Per coding: a few bytes that unpack to far more than is ever kept."""
    return {encoding: PACKERS[encoding](b" " * (8 * JSON_BOUND)) for encoding in SINGLE}


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
@pytest.mark.parametrize("encoding", SINGLE)
def test_a_zip_bomb_is_not_inflated_and_is_no_error(
    bombs: dict[bytes, bytes], encoding: bytes, kind: bytes, at_once: bool
) -> None:
    bomb = bombs[encoding]
    read = reader(kind=kind, encoding=encoding)
    tracemalloc.start()
    try:
        assert relay(read, [bomb] if at_once else split(bomb, 4096)) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read.seen.usage is None
    assert peak < 4 * JSON_BOUND


@pytest.mark.parametrize("encoding", SINGLE)
def test_a_slow_zip_bomb_keeps_no_more_than_the_bound(encoding: bytes) -> None:
    parts = flushed(encoding, [b"x" * (1 << 20)] * 40)
    read = reader(encoding=encoding)
    tracemalloc.start()
    try:
        assert relay(read, parts) is None
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert read.seen.usage is None
    assert peak < 4 * JSON_BOUND


def wide_frame() -> bytes:
    """A zstd frame that wants a window of 128 MiB."""
    wide = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    return wide.compress(ANSWER, wide.FLUSH_BLOCK) + wide.flush()


@pytest.mark.parametrize("kind", [b"application/json", b"text/event-stream"])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        *[(encoding, b"\x07\xff not packed at all") for encoding in SINGLE],
        *[(encoding, PACKERS[encoding](ANSWER) + b"what is this") for encoding in SINGLE],
        *[(encoding, PACKERS[encoding](STREAM) + b"what is this") for encoding in SINGLE],
        *[(encoding, PACKERS[encoding](ANSWER[:9]) + PACKERS[encoding](ANSWER[9:])) for encoding in SINGLE],
        (b"deflate", zlib.compressobj(wbits=-15).compress(ANSWER) + b"\x07\xff\xff\xff"),
        (b"zstd", wide_frame()),
        (b"gzip, br", brotli.compress(ANSWER)),
        (b"gzip, br", gzip.compress(brotli.compress(ANSWER))),
    ],
)
def test_what_does_not_unpack_is_not_read_and_is_no_error(kind: bytes, encoding: bytes, body: bytes) -> None:
    for parts in ([body], split(body, 7)):
        read = reader(kind=kind, encoding=encoding)
        assert isinstance(read, DecompressedReader)
        assert relay(read, parts) is None
        assert (read.seen.usage, read.seen.has_event) == (None, True)


@pytest.mark.parametrize("encoding", SINGLE)
def test_what_follows_the_packed_end_ends_the_reading(encoding: bytes) -> None:
    read = reader(encoding=encoding)
    assert relay(read, [PACKERS[encoding](ANSWER), b"", b"more"]) is None
    assert read.seen.usage is None


@pytest.mark.parametrize("encoding", [b"aes128gcm", b"gzip, compress", b"gzip, gzip, gzip", b"dcz", b","])
def test_an_unknown_encoding_is_not_read(encoding: bytes) -> None:
    read = reader(encoding=encoding)
    assert isinstance(read, BlindReader)
    assert relay(read, [b"\x1b\x08\x00"]) is None
    assert (read.seen.usage, read.seen.done, read.seen.failed) == (None, False, False)


def test_the_libraries_of_rare_codings_are_imported_when_they_are_met() -> None:
    script = (
        "import sys; from proxy.dialects import openai; from proxy.answers.reader import reader_for;"
        "rare = lambda: {'brotli', 'backports.zstd', 'compression.zstd'} & set(sys.modules);"
        "chat = openai.operation('/chat/completions');"
        "meet = lambda coding: reader_for("
        "chat, status=200, content_type=b'application/json', encoding=coding, strip=False);"
        "meet(b''); meet(b'gzip'); assert not rare(), rare();"
        "meet(b'br'); meet(b'zstd'); assert len(rare()) == 2, rare()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_gemini_stream_that_was_not_asked_for_as_sse_is_read_at_its_end() -> None:
    stream = gemini.operation("/v1beta/models/g:streamGenerateContent")
    parts = [
        b'[{"candidates": [{"content": {"parts": [{"text": "Hel"}],"role": "model"}}],\n'
        b'"usageMetadata": {"promptTokenCount": 4,"totalTokenCount": 4}}\n',
        b',\r\n{"candidates": [{"content": {"parts": [{"text": "lo"}]},"finishReason": "STOP"}],'
        b'"usageMetadata": {"promptTokenCount": 4,"candidatesTokenCount": 2,"thoughtsTokenCount": 3}}\n',
        b"]",
    ]
    for encoding in (b"", *SINGLE):
        read = reader_for(
            stream,
            status=200,
            content_type=b"application/json; charset=utf-8",
            encoding=encoding,
            strip=False,
        )
        assert relay(read, flushed(encoding, parts) if encoding else parts) is None
        assert read.seen.usage == Usage(input_tokens=4, output_tokens=5, reasoning_tokens=3)


def test_a_stream_that_cannot_be_read_is_not_waited_for() -> None:
    assert reader(kind=b"text/event-stream", encoding=b"dcb").seen.has_event
    assert not reader(kind=b"application/json", encoding=b"dcb").seen.has_event
    assert not reader(kind=b"application/json", status=502).seen.has_event


def test_of_a_stream_that_cannot_be_unpacked_to_its_end_nothing_is_known() -> None:
    first = b'data: {"model":"gpt-4o-2024","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
    begun, *_ = flushed(b"gzip", [first])
    read = reader(kind=b"text/event-stream", encoding=b"gzip")
    read.feed(begun, 0.0)
    assert read.seen.model == "gpt-4o-2024"
    assert relay(read, [b"\xff" * 64]) is None
    assert (read.seen.model, read.seen.usage, read.seen.answer) == ("", None, None)
