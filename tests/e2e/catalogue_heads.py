"""The response shapes with something odd in their heads: fields, statuses, interim responses."""

from typing import Any

from tests.e2e import answers as say
from tests.e2e.catalogue import COUNTED, STREAMED
from tests.e2e.shapes import JSON, OK, SSE, Shape, after_interim, chunked, sized, unframed

IN_STREAM: dict[str, Any] = {"outcome": "error", "error_type": "provider_stream_error"}


def status(code: int, *fields: bytes) -> bytes:
    """A head's first lines."""
    return b"".join(line + b"\r\n" for line in (b"HTTP/1.1 %d Reason" % code, *fields))


# Heads

_HEADERS: dict[str, tuple[bytes, ...]] = {
    "duplicates": (b"X-A: 1", b"x-b: 2", b"X-A: 3", b"x-a: 1", b"Vary: Origin", b"Vary: Accept"),
    "odd-case": (b"X-Request-ID: a", b"openAI-Processing-MS: 9", b"ETAG: W/\"x\"", b"dAtE: now"),
    "obs-text": (b"x-latin: caf\xe9", b"x-utf-8: Z\xc3\xbcrich", b"x-bytes: \x80\xff", b"x-tab: a\tb"),
    "empty-values": (b"x-empty:", b"x-space: ", b"x-after: 1", b"x-empty: "),
    "space-around-values": (b"x-a:tight", b"x-b:   wide   ", b"x-c:\ttab\t", b"x-d: in  side"),
    "150-fields": tuple(b"x-field-%d: %d" % (number % 140, number) for number in range(150)),
    "8-kb-value": (b"x-long: " + b"abcdefgh" * 1024, b"x-after: 1"),
    "odd-names": (b"!#$%&'*+-.^_`|~: 1", b"1: 2", b"x_under_score: 3"),
    "punctuation": (b'link: <https://a.example/?q=a,b;c>; rel="next"', b"x-colon: a:b: c", b'x-q: "a\\"b"'),
    "rate-limits": (
        b"x-ratelimit-remaining-tokens: 149984", b"retry-after-ms: 120", b"x-should-retry: false",
        b"request-id: req_1", b"anthropic-ratelimit-tokens-reset: 2026-11-24T20:00:00Z",
    ),
    "servers-own-date": (b"Date: Tue, 24 Nov 2026 20:00:00 GMT", b"Server: cloud", b"Via: 1.1 x", b"Age: 0"),
    "hop-by-hop": (
        b"Keep-Alive: timeout=5", b"x-a: 1", b"Proxy-Authenticate: Basic", b"TE: trailers", b"Trailer: x-sum",
        b"Upgrade: h2", b"Proxy-Connection: keep-alive", b"x-b: 2",
    ),
    "named-by-connection": (
        b"Connection: keep-alive, X-Hop", b"x-hop: 1", b"x-hops: 2", b"connection: x-late ,x-odd",
        b"X-Late: 3", b"X-Odd: 4",
    ),
    "never-relayed": (
        b"Set-Cookie: __cf_bm=a; HttpOnly", b"x-a: 1", b"Alt-Svc: h3=\":443\"", b"set-cookie: b=c",
        b"Strict-Transport-Security: max-age=1", b"x-b: 2",
    ),
    "forged": (b"x-canary-exchange: forged", b"X-Canary-Arm: candidate", b"x-canary-other: 1", b"x-a: 1"),
}  # fmt: skip


def _headed(name: str, fields: tuple[bytes, ...]) -> Shape:
    head = JSON + b"".join(field + b"\r\n" for field in fields)
    return sized(f"head-{name}", "chat", head, say.CHAT_TOOLS, **COUNTED)


_DUPLICATES = _headed("duplicates", _HEADERS["duplicates"])
_CONTINUE, _HINTS = b"HTTP/1.1 100 Continue", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\nx-a: interim"
_PROCESSING = b"HTTP/1.1 102 Processing"
_PLAIN = sized("", "chat", JSON, say.CHAT, **COUNTED)
_TALK = chunked("", "chat-stream", SSE, *say.TALK, finish=say.FINISH, extra=say.USAGE, **STREAMED)

HEADS = (
    *(_headed(name, fields) for name, fields in _HEADERS.items()),
    _DUPLICATES.each_byte(),
    sized("head-without-a-type", "chat", OK, say.CHAT, **COUNTED),
    sized("head-without-a-reason", "chat", JSON.replace(b" OK", b""), say.CHAT, **COUNTED),
    sized(
        "head-with-a-reason-of-its-own", "chat", JSON.replace(b" OK", b" All \xe9 Right"), say.CHAT, **COUNTED
    ),
    after_interim(_PLAIN, "interim-100", _CONTINUE),
    after_interim(_PLAIN, "interim-103", _HINTS),
    after_interim(_TALK, "interim-102-103-103-before-a-stream", _PROCESSING, _HINTS, _HINTS),
    after_interim(_PLAIN, "interim-100", _CONTINUE).at_once(),
    after_interim(_PLAIN, "interim-103", _HINTS).each_byte(),
)

# Statuses

_ELSEWHERE = b"Location: https://elsewhere.example/v1?a=b#c"
_HTML = OK + b"Content-Type: text/html\r\n"
_NOT_MODIFIED = status(304, b'ETag: "a"')

STATUSES = (
    sized("status-201", "file", status(201, b"Location: /v1/files/f"), b"{}"),
    sized("status-202", "file", status(202), b""),
    sized("status-206", "file", status(206, b"Content-Range: bytes 0-3/9"), b"part"),
    sized("status-299", "file", status(299), b"{}"),
    Shape(name="status-204", ask="delete", head=status(204), writes=(((status(204) + b"\r\n", False),),)),
    sized("status-204-length-0", "delete", status(204), b""),
    Shape(
        name="status-304",
        ask="models",
        head=status(304, b'ETag: "a"'),
        writes=(((status(304, b'ETag: "a"') + b"\r\n", False),),),
    ),
    sized("status-205", "delete", status(205), b""),
    sized("status-200-empty", "models", OK, b""),
    chunked("status-200-empty-chunked", "models", OK),
    unframed("status-200-empty-close-delimited", "models", OK),
    sized("head-request", "head", JSON, b"", missing=1234),
    chunked("head-request-chunked", "head", JSON, last=b""),
    *(
        sized(
            f"redirect-{code}",
            "chat",
            status(code, _ELSEWHERE),
            b"moved",
            outcome="error",
            error_type="provider_malformed",
            uncovered=True,
        )
        for code in (300, 301, 302, 303, 307, 308)
    ),
    sized(
        "status-200-empty-for-a-chat",
        "chat",
        JSON,
        b"",
        outcome="error",
        error_type="provider_malformed",
        uncovered=True,
    ),
    sized(
        "html-for-a-chat",
        "chat",
        _HTML,
        b"<html>\xa0hi</html>",
        outcome="error",
        error_type="provider_malformed",
        uncovered=True,
    ),
    sized("error-in-a-200", "chat", JSON, say.FAILED_IN_200, uncovered=True, **IN_STREAM),
)
