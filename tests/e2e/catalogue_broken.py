"""The response shapes that go wrong: error frames inside a stream, and answers that break off."""

from typing import Any

from tests.e2e import answers as say
from tests.e2e.catalogue import STREAMED
from tests.e2e.catalogue_heads import IN_STREAM
from tests.e2e.shapes import JSON, OK, SSE, Shape, chunked, sized, unframed

TRUNCATED: dict[str, Any] = {
    "broken": True,
    "outcome": "error",
    "error_type": "provider_truncated",
    "end": "closes",
}
RESET: dict[str, Any] = {"broken": True, "outcome": "error", "error_type": "provider_reset", "end": "resets"}
MALFORMED: dict[str, Any] = {"broken": True, "outcome": "error", "error_type": "provider_malformed"}


# Error frames inside a stream, relayed as any event

FRAMES = (
    chunked("frame-chat", "chat-stream", SSE, *say.TALK[:3], say.ERROR, first_token=True, **IN_STREAM),
    chunked(
        "frame-chat-then-done",
        "chat-stream",
        SSE,
        *say.TALK[:2],
        say.ERROR,
        say.DONE,
        first_token=True,
        **IN_STREAM,
    ),
    chunked("frame-chat-first", "chat-stream", SSE, say.ERROR, uncovered=True, **IN_STREAM),
    chunked(
        "frame-messages",
        "messages-stream",
        SSE,
        *say.MESSAGES[:4],
        say.MESSAGES_ERROR,
        **STREAMED,
        **IN_STREAM,
    ),
    chunked("frame-messages-first", "messages-stream", SSE, say.MESSAGES_ERROR, uncovered=True, **IN_STREAM),
    chunked(
        "frame-generate",
        "generate-sse",
        SSE,
        say.GENERATE_EVENTS[0],
        say.GENERATE_ERROR,
        **STREAMED,
        **IN_STREAM,
    ),
    chunked(
        "frame-responses",
        "responses-stream",
        SSE,
        *say.RESPONSES[:2],
        say.RESPONSES_FAILED,
        first_token=True,
        **IN_STREAM,
    ),
    chunked(
        "stream-ends-without-its-last-event",
        "chat-stream",
        SSE,
        *say.TALK[:2],
        first_token=True,
        outcome="error",
        error_type="provider_truncated",
    ),
)


# Answers that are none: 502, in the words of the caller's API

NO_ANSWERS: dict[str, bytes] = {
    "status-600": b"HTTP/1.1 600 Odd\r\ncontent-length: 2\r\n\r\nok",
    "status-99": b"HTTP/1.1 099 Odd\r\ncontent-length: 2\r\n\r\nok",
    "unasked-101": b"HTTP/1.1 101 Switching\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    "length-and-chunked": JSON + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-lengths": JSON + b"content-length: 2\r\ncontent-length: 3\r\n\r\nok",
    "length-of-letters": JSON + b"content-length: two\r\n\r\nok",
    "another-coding": JSON + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "space-in-a-name": JSON + b"x y: 1\r\ncontent-length: 2\r\n\r\nok",
    "name-of-high-bytes": JSON + b"caf\xe9: 1\r\ncontent-length: 2\r\n\r\nok",
    "control-character": JSON + b"x: a\x01b\r\ncontent-length: 2\r\n\r\nok",
    "line-break-in-a-value": JSON + b"x: a\rset-cookie: b\r\ncontent-length: 2\r\n\r\nok",
    "201-fields": JSON + b"x: 1\r\n" * 201 + b"content-length: 2\r\n\r\nok",
    "head-of-70-kb": JSON + b"x: " + b"a" * 70_000 + b"\r\ncontent-length: 2\r\n\r\nok",
    "no-http": b"<html>SSH-2.0</html>\r\n\r\n",
    "tls": b"\x15\x03\x01\x00\x02\x02\x28",
}

# Answers that break


def _broken_talk(name: str, *pieces: bytes, **more: Any) -> Shape:
    return chunked(f"broken-{name}", "chat-stream", SSE, *pieces, last=b"", first_token=True, **more)


def _with_tail(shape: Shape, framing: bytes, body: bytes = b"", more: bytes = b"") -> Shape:
    """The shape with one more write: framing, body, framing."""
    tail = ((framing, False), (body, True), (more, False))
    return shape.named(shape.name, writes=(*shape.writes, tail))


_BEGUN = say.TALK[:2]
_HALF = say.ZURICH[:70]

BROKEN = (
    sized("broken-length", "chat", JSON, say.CHAT[:40], missing=9, uncovered=True, **TRUNCATED),
    sized("broken-length-by-reset", "chat", JSON, say.CHAT[:40], missing=9, uncovered=True, **RESET),
    sized("broken-length-at-the-last-byte", "file", OK, b"all but one byte", missing=1, **TRUNCATED),
    sized("broken-before-the-first-body-byte", "file", OK, b"", missing=9, **TRUNCATED),
    chunked("broken-json-in-chunks", "chat", JSON, say.CHAT[:40], last=b"", uncovered=True, **TRUNCATED),
    _broken_talk("between-chunks", *_BEGUN, **TRUNCATED),
    _broken_talk("mid-event", *_BEGUN, _HALF, **TRUNCATED),
    _with_tail(_broken_talk("mid-chunk", *_BEGUN, **TRUNCATED), b"ff\r\n", _HALF),
    _with_tail(_broken_talk("mid-chunk-by-reset", *_BEGUN, **RESET), b"ff\r\n", _HALF),
    _with_tail(_broken_talk("in-a-chunk-size", *_BEGUN, **TRUNCATED), b"f"),
    _with_tail(_broken_talk("in-the-last-chunk", *_BEGUN, **TRUNCATED), b"0\r\n"),
    _with_tail(_broken_talk("in-a-trailer", *_BEGUN, **TRUNCATED), b"0\r\nx-su"),
    _with_tail(_broken_talk("chunk-size-that-is-none", *_BEGUN, **MALFORMED), b"zz\r\n"),
    _with_tail(_broken_talk("chunk-longer-than-it-said", *_BEGUN, **MALFORMED), b"2\r\n", b"ab", b"xx\r\n"),
    _broken_talk("by-reset", *_BEGUN, **RESET),
    _broken_talk("after-done", *say.TALK, finish=say.FINISH, extra=say.USAGE, usage=True, **TRUNCATED),
    unframed("broken-close-delimited-by-reset", "chat-stream", SSE, *_BEGUN, first_token=True, **RESET),
    chunked(
        "broken-messages-by-reset",
        "messages-stream",
        SSE,
        *say.MESSAGES[:4],
        _HALF,
        last=b"",
        **STREAMED,
        **RESET,
    ),
    sized(
        "broken-stream-with-a-length", "chat-stream", SSE, *_BEGUN, missing=99, first_token=True, **TRUNCATED
    ),
)
