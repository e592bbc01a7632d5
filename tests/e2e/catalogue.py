"""Every response shape of the fidelity suite that ends well: documents, content codings, event streams."""

from typing import Any

from tests.e2e import answers as say
from tests.e2e.coded import Coding, coded
from tests.e2e.shapes import JSON, OK, SSE, Shape, chunked, sized, unframed

COUNTED: dict[str, Any] = {"usage": True}
STREAMED: dict[str, Any] = {"usage": True, "first_token": True}
FINISHED: dict[str, Any] = {"finish": say.FINISH, **STREAMED}
TALK: dict[str, Any] = {"extra": say.USAGE, **FINISHED}
SMILE = "🙂".encode()

# Documents

_COUNTS = b'"usage": {"prompt_tokens": 9, "completion_tokens": 12}'

_SIZED = sized("json-length", "chat", JSON, say.CHAT, **COUNTED)
_CHUNKED = chunked("json-chunked", "chat", JSON, say.CHAT[:40], say.CHAT[40:], **COUNTED)
_OLD = JSON.replace(b"HTTP/1.1", b"HTTP/1.0")
_CLOSING = JSON + b"Connection: close\r\n"

DOCUMENTS = (
    _SIZED,
    _SIZED.each_byte(),
    _SIZED.cut_within(SMILE, "cut-in-utf-8"),
    _CHUNKED,
    _CHUNKED.at_once(),
    _CHUNKED.each_byte(),
    _CHUNKED.cut_within(b"\r\n", "cut-in-each-crlf"),
    chunked(
        "json-one-byte-chunks", "chat", JSON, *(bytes([each]) for each in say.CHAT_TOOLS), **COUNTED
    ).at_once(),
    chunked("json-chunk-extensions", "chat", JSON, say.CHAT, extension=b';a=1;b="x;y"', **COUNTED),
    chunked("json-chunk-size-odd", "chat", JSON, say.CHAT, size="000%X", **COUNTED),
    chunked(
        "json-trailers", "chat", JSON, say.CHAT, last=b"0\r\nx-sum: 1\r\nset-cookie: a=b\r\n\r\n", **COUNTED
    ),
    unframed("json-close-delimited", "chat", JSON, say.CHAT[:99], say.CHAT[99:], **COUNTED),
    sized("json-http-1.0-length", "chat", _OLD, say.CHAT, end="closes", **COUNTED),
    unframed("json-http-1.0-close-delimited", "chat", _OLD, say.CHAT, **COUNTED),
    sized("json-connection-close", "chat", _CLOSING, say.CHAT, end="closes", **COUNTED),
    sized(
        "json-10-mb",
        "chat",
        JSON,
        b'{"pad": "' + "ü".encode() * 5_000_000 + b'", ' + _COUNTS + b"}",
        **COUNTED,
    ),
    chunked("json-2-mb-in-chunks", "chat", JSON, b'{"pad": "', *[b"x" * 65536] * 32, b'"}'),
    sized("json-tool-calls", "chat", JSON, say.CHAT_TOOLS, **COUNTED),
    sized("json-image", "chat", JSON, say.CHAT_IMAGE, **COUNTED),
    sized("json-completion", "completions", JSON, say.COMPLETION, **COUNTED),
    sized("json-embedding-odd-floats", "embeddings", JSON, say.EMBEDDING, **COUNTED),
    sized("json-embedding-base64", "embeddings", JSON, say.EMBEDDING_BASE64, **COUNTED),
    sized("json-response", "responses", JSON, say.RESPONSE, **COUNTED),
    sized("json-message", "messages", JSON, say.MESSAGE, **COUNTED),
    chunked("json-generated", "generate", JSON, say.GENERATED, **COUNTED),
    chunked("json-array-stream", "generate-array", JSON, *say.GENERATE_ARRAY, **COUNTED),
    chunked("json-array-stream-at-once", "generate-array", JSON, *say.GENERATE_ARRAY, **COUNTED).at_once(),
    sized("json-without-usage", "chat", JSON, b'{"choices":[]}'),
    sized(
        "file-of-every-byte",
        "file",
        OK + b"Content-Type: application/octet-stream\r\n",
        bytes(range(256)) * 9,
    ),
    unframed("file-close-delimited", "file", OK, bytes(range(256)), bytes(range(256))),
    chunked("file-of-events", "file", SSE, *say.TALK),
)


# Content codings


def _document(coding: Coding, **more: Any) -> Shape:
    head = JSON + b"Content-Encoding: " + coding.split()[-1].encode() + b"\r\n"
    body = b"".join(coded(coding, [say.CHAT]))
    return sized(f"json-{coding.replace(' ', '-')}", "chat", head, body[:50], body[50:], **more)


def _stream(coding: Coding, **more: Any) -> Shape:
    head = SSE + b"Content-Encoding: " + coding.split()[-1].encode() + b"\r\n"
    pieces = [piece for piece in coded(coding, say.TALK) if piece]
    return chunked(f"sse-{coding.replace(' ', '-')}", "chat-stream", head, *pieces, **more)


CODED = (
    _document("gzip", **COUNTED),
    _document("gzip", **COUNTED).each_byte(),
    _document("deflate", **COUNTED),
    _document("raw deflate"),
    _document("br", **COUNTED),
    _document("zstd", **COUNTED),
    _stream("gzip", **STREAMED),
    _stream("gzip", **STREAMED).each_byte(),
    _stream("deflate", **STREAMED),
    _stream("br", **STREAMED),
    _stream("zstd", **STREAMED),
)


# Event streams


def _chat(name: str, *pieces: bytes, **more: Any) -> Shape:
    return chunked(name, "chat-stream", SSE, *pieces, **more)


def _in_lines(event: bytes) -> bytes:
    """The event with its data in several lines, as a joined line break does JSON no harm after a comma."""
    return event.replace(b',"', b',\ndata: "')


def _crlf(*events: bytes) -> list[bytes]:
    return [each.replace(b"\n", b"\r\n") for each in events]


def _nulled(*events: bytes) -> list[bytes]:
    """With `"usage":null` in every chunk but the one that has it, as OpenAI sends them when asked."""
    return [
        each.replace(b"}\n\n", b',"usage":null}\n\n') if b"usage" not in each else each for each in events
    ]


_WHOLE = b"".join(say.TALK)
_LF = _chat("sse-lf", *say.TALK, **TALK)
_CRLF = _chat("sse-crlf", *_crlf(*say.TALK), **{**TALK, "extra": _crlf(say.USAGE)[0]})
_TIGHT = [each.replace(b"data: ", b"data:") for each in say.TALK]
_HUGE = say.chunk({"content": "Zürich 🙂 " * 20_000})
_LONG = say.chunk({"content": "x" * 1000})
_RUNNING = say.chunk({"content": "a"}, usage={"prompt_tokens": 9, "completion_tokens": 1})
_STOP_COUNTED = say.chunk({}, finish="stop", usage={"prompt_tokens": 9, "completion_tokens": 2})
_AZURE = say.event({"choices": [], "prompt_filter_results": [{"prompt_index": 0}]})
_TWO = (
    say.chunk({"content": "a"}),
    say.chunk({"content": "b"}, index=1),
    say.chunk({}, finish="stop"),
    say.chunk({"content": "more of b"}, index=1),
    say.chunk({}, index=1, finish="stop"),
)

STREAMS = (
    _LF,
    _LF.each_byte(),
    _LF.at_once(),
    _LF.cut_within(SMILE, "cut-in-utf-8"),
    _LF.cut_within(b"\n\n", "cut-between-line-ends"),
    _LF.cut_within(b"\r\n", "cut-in-each-framing-crlf"),
    _CRLF,
    _CRLF.each_byte(),
    _CRLF.cut_within(b"\r\n\r\n", "cut-between-line-ends"),
    _chat("sse-in-one-chunk", _WHOLE, **TALK),
    _chat("sse-events-across-chunks", *(_WHOLE[at : at + 37] for at in range(0, len(_WHOLE), 37)), **TALK),
    _chat(
        "sse-comments",
        b": connected\n\n",
        *say.TALK[:3],
        b":\n\n: keep-alive\n\n",
        *say.TALK[3:4],
        b": between\n\n",
        *say.TALK[4:],
        **TALK,
    ),
    _chat("sse-comment-in-an-event", say.ROLE, b": x\n" + say.HELLO, *say.TALK[2:], **TALK),
    _chat(
        "sse-multi-line-data",
        *map(_in_lines, say.TALK),
        **{**TALK, "finish": b'"stop"', "extra": _in_lines(say.USAGE)},
    ),
    _chat(
        "sse-names-ids-retry",
        b"retry: 3000\n\n",
        *(b"event: x\nid: 7\n" + e for e in say.TALK[:4]),
        say.DONE,
        first_token=True,
    ),
    _chat("sse-no-space-after-the-colon", *_TIGHT, **{**TALK, "extra": _TIGHT[4]}),
    _chat("sse-blank-lines-first", b"\n\n", say.ROLE + b"\n", *say.TALK[1:], **TALK),
    _chat("sse-no-final-blank-line", *say.TALK[:5], b"data: [DONE]", **TALK),
    _chat("sse-no-final-blank-line-after-one-end", *say.TALK[:5], b"data: [DONE]\n", **TALK),
    _chat("sse-no-done", *say.TALK[:5], **TALK),
    _chat("sse-no-done-nor-usage", *say.TALK[:4], finish=say.FINISH, first_token=True),
    _chat(
        "sse-usage-without-its-blank-line", *say.TALK[:4], say.USAGE[:-2], **{**TALK, "extra": say.USAGE[:-2]}
    ),
    _chat("sse-usage-and-done-together", *say.TALK[:4], say.USAGE + say.DONE, **TALK),
    _chat("sse-stop-usage-and-done-together", *say.TALK[:3], say.STOP + say.USAGE + say.DONE, **TALK),
    _chat("sse-usage-null-in-each", *_nulled(*say.TALK[:4]), say.USAGE, say.DONE, **TALK),
    _chat("sse-usage-with-the-finish", say.ROLE, say.HELLO, _STOP_COUNTED, say.DONE, **FINISHED),
    _chat("sse-usage-running", _RUNNING, _RUNNING, _STOP_COUNTED, say.USAGE, say.DONE, **TALK),
    _chat("sse-empty-choices-first", _AZURE, *say.TALK, **TALK),
    _chat("sse-two-choices", *_TWO, say.DONE, finish=say.FINISH, first_token=True),
    _chat("sse-tool-calls", *say.TOOLS, finish=b'"tool_calls"}', extra=say.USAGE, usage=True),
    _chat("sse-reasoning", say.chunk({"reasoning_content": "Hm … 思考"}), *say.TALK[1:], **TALK),
    _chat("sse-refusal", say.ROLE, say.chunk({"refusal": "I can't."}), *say.TALK[3:], **TALK),
    _chat("sse-event-of-400-kb", say.ROLE, _HUGE, *say.TALK[3:], **TALK),
    _chat("sse-first-event-of-400-kb", _HUGE, *say.TALK[3:], **TALK),
    _chat("sse-10-mb", say.ROLE, *[_LONG * 50] * 180, *say.TALK[3:], **TALK),
    _chat("sse-10-mb-at-once", say.ROLE, *[_LONG * 50] * 180, *say.TALK[3:], **TALK).at_once(),
    _chat("sse-trailers", *say.TALK, last=b"0\r\nx-late: 1\r\n\r\n", **TALK),
    _chat("sse-chunk-extensions", *say.TALK, extension=b";sig=abc", **TALK),
    unframed("sse-close-delimited", "chat-stream", SSE, *say.TALK, **TALK),
    unframed("sse-http-1.0", "chat-stream", SSE.replace(b"HTTP/1.1", b"HTTP/1.0"), *say.TALK, **TALK),
    sized("sse-with-a-length", "chat-stream", SSE, *say.TALK, **TALK),
    _chat(
        "sse-text-completion",
        *(e.replace(b'"delta"', b'"x"') for e in say.TALK),
        **{**TALK, "first_token": False},
    ),
    chunked("sse-messages", "messages-stream", SSE, *say.MESSAGES, **STREAMED),
    chunked("sse-messages", "messages-stream", SSE, *say.MESSAGES, **STREAMED).each_byte(),
    chunked("sse-messages-thoughts-and-tools", "messages-stream", SSE, *say.THOUGHTS, **STREAMED),
    chunked("sse-generated", "generate-sse", SSE, *say.GENERATE_EVENTS, **STREAMED),
    chunked("sse-generated", "generate-sse", SSE, *say.GENERATE_EVENTS, **STREAMED).each_byte(),
    chunked("sse-responses", "responses-stream", SSE, *say.RESPONSES, **STREAMED),
    chunked(
        "json-though-a-stream-was-asked-for", "chat-stream", JSON, say.CHAT[:50], say.CHAT[50:], **COUNTED
    ),
)
