r"""Requests that two HTTP readers could understand differently, and what canary has to make of each.

Written after RFC 9112 and the known kinds of attacks on chains of proxies: CL.TE, TE.CL, TE.TE, CL.0, chunk
extensions and ends, line ends, folding, hop-by-hop framing, targets and hosts. Every case is followed on its
connection by a well-formed request, the *sentinel*: who has lost the thread serves it wrongly or eats it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
SENTINEL = b"GET /v1/sentinel HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Case:
    """`served` is what the provider gets: (method and target, body) each; None means that canary refuses the
    request and closes, so that not even the sentinel is served. `closes`: it serves it, and nothing after."""

    name: str
    data: bytes
    served: tuple[tuple[bytes, bytes], ...] | None
    closes: bool = False

    @property
    def reached(self) -> tuple[tuple[bytes, bytes], ...]:
        """What the provider gets of the case and the sentinel."""
        if self.served is None:
            return ()
        return self.served if self.closes else (*self.served, (b"GET /v1/sentinel", b""))


HOST = b"Host: a\r\n"
START = b"POST /v1/files HTTP/1.1"


def _post(fields: bytes, rest: bytes = b"", start: bytes = START, host: bytes = HOST) -> bytes:
    return start + b"\r\n" + host + fields + b"\r\n" + rest


POSTED = b"POST /v1/files"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
HELLO = b"5\r\nhello\r\n0\r\n\r\n"
LENGTH = b"Content-Length: 5\r\n"
ONE = ((POSTED, b"hello"),)
EMPTY = ((POSTED, b""),)
GOT = ((b"GET /v1/files", b""),)


def _framed_twice() -> Iterator[Case]:
    yield Case("cl.te", _post(b"Content-Length: 6\r\n" + CHUNKED, b"0\r\n\r\nG"), None)
    yield Case(
        "te.cl", _post(CHUNKED + b"Content-Length: 4\r\n", b"28\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"), None
    )
    yield Case("cl.te both right", _post(LENGTH + CHUNKED, b"0\r\n\r\n"), None)
    for name, fields in {
        "cl twice, alike": b"Content-Length: 5\r\nContent-Length: 5\r\n",
        "cl twice, apart": b"Content-Length: 5\r\nContent-Length: 0\r\n",
        "cl list": b"Content-Length: 5, 5\r\n",
        "cl list apart": b"Content-Length: 5, 0\r\n",
        "cl plus": b"Content-Length: +5\r\n",
        "cl minus": b"Content-Length: -5\r\n",
        "cl hex": b"Content-Length: 0x5\r\n",
        "cl exponent": b"Content-Length: 5e0\r\n",
        "cl with a space inside": b"Content-Length: 5 0\r\n",
        "cl beyond 64 bits": b"Content-Length: 18446744073709551621\r\n",
        "cl empty": b"Content-Length: \r\n",
        "cl space before colon": b"Content-Length : 5\r\n",
        "cl vertical tab": b"Content-Length: 5\x0b\r\n",
        "cl nul": b"Content-Length: 5\x00\r\n",
        "cl folded": b"Content-Length:\r\n 5\r\n",
        "cl quoted": b'Content-Length: "5"\r\n',
        "cl fullwidth digit": b"Content-Length: \xef\xbc\x95\r\n",
        "cl after a fold": b"X: a\r\n Content-Length: 5\r\n" + LENGTH,
        "cl behind a bare cr": b"X: a\rContent-Length: 0\r\n" + LENGTH,
    }.items():
        yield Case(name, _post(fields, b"hello"), None)
    yield Case("cl leading zero", _post(b"Content-Length: 05\r\n", b"hello"), ONE)
    yield Case("cl with blanks around", _post(b"Content-Length: \t 5 \t\r\n", b"hello"), ONE)
    yield Case("cl underscore", _post(b"Content_Length: 40\r\n" + LENGTH, b"hello"), None)


def _codings() -> Iterator[Case]:
    for name, value in {
        "te unknown": b"xchunked",
        "te identity": b"identity",
        "te gzip then chunked": b"gzip, chunked",
        "te chunked then gzip": b"chunked, gzip",
        "te chunked twice": b"chunked, chunked",
        "te chunked then identity": b"chunked, identity",
        "te quoted": b'"chunked"',
        "te with a parameter": b"chunked;q=1",
        "te cut short": b"chunk",
        "te empty": b"",
        "te with a comma before": b",chunked",
        "te vertical tab": b"\x0bchunked",
        "te nul": b"chunked\x00",
        "te bare cr": b"chunked\r",
        "te folded": b"\r\n chunked",
    }.items():
        yield Case(name, _post(b"Transfer-Encoding: " + value + b"\r\n", HELLO), None)
    yield Case("te twice", _post(CHUNKED + CHUNKED, HELLO), None)
    yield Case("te twice, apart", _post(CHUNKED + b"Transfer-Encoding: identity\r\n", HELLO), None)
    yield Case("te space before colon", _post(b"Transfer-Encoding : chunked\r\n", HELLO), None)
    yield Case("te after a blank", _post(b" Transfer-Encoding: chunked\r\n", HELLO), None)
    yield Case("te behind a bare lf", _post(b"X: a\nTransfer-Encoding: chunked\r\n", HELLO), None)
    yield Case("te in http/1.0", _post(CHUNKED, HELLO, b"POST /v1/files HTTP/1.0"), None)
    yield Case("te in capitals", _post(b"TRANSFER-ENCODING: CHUNKED\r\n", HELLO), ONE)
    yield Case("te after a tab", _post(b"Transfer-Encoding:\tchunked\r\n", HELLO), ONE)
    yield Case("te underscore", _post(b"Transfer_Encoding: chunked\r\n" + LENGTH, b"hello"), None)


def _chunks() -> Iterator[Case]:
    for name, body in {
        "chunk size hex prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
        "chunk size plus": b"+5\r\nhello\r\n0\r\n\r\n",
        "chunk size minus": b"-5\r\nhello\r\n0\r\n\r\n",
        "chunk size empty": b"\r\nhello\r\n0\r\n\r\n",
        "chunk size blank before": b" 5\r\nhello\r\n0\r\n\r\n",
        "chunk size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        "chunk size underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
        "chunk size bare lf": b"5\nhello\r\n0\r\n\r\n",
        "chunk size bare cr": b"5\rhello\r\n0\r\n\r\n",
        "chunk extension with lf": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        "chunk extension with cr": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
        "chunk without its end": b"5\r\nhello0\r\n\r\n",
        "chunk ended by two others": b"5\r\nhelloXX0\r\n\r\n",
        "chunk ended by bare lf": b"5\r\nhello\n0\r\n\r\n",
        "chunk longer than said": b"4\r\nhello\r\n0\r\n\r\n",
        "last chunk bare lf": b"5\r\nhello\r\n0\n\n",
        "last chunk then no line": b"5\r\nhello\r\n0\r\nGET /v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
        "trailer content-length": b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n",
        "trailer folded": b"5\r\nhello\r\n0\r\n x: 1\r\n\r\n",
        "trailer blank before colon": b"5\r\nhello\r\n0\r\nx : 1\r\n\r\n",
    }.items():
        yield Case(name, _post(CHUNKED, body), None)
    yield Case("chunk size zeros before", _post(CHUNKED, b"0005\r\nhello\r\n000\r\n\r\n"), ONE)
    yield Case("chunk extension", _post(CHUNKED, b'5;a=b;c="d"\r\nhello\r\n0;e\r\n\r\n'), ONE)
    yield Case(
        "trailer host", _post(CHUNKED, b"5\r\nhello\r\n0\r\nHost: b\r\nX-Canary-Pin: candidate\r\n\r\n"), ONE
    )


def _lines() -> Iterator[Case]:
    yield Case("bare lf everywhere", b"GET /v1/files HTTP/1.1\nHost: a\n\n", None)
    yield Case("bare lf after the first line", b"GET /v1/files HTTP/1.1\nHost: a\r\n\r\n", None)
    yield Case("bare lf ends the head", _post(b"X: a\n", b"", b"GET /v1/files HTTP/1.1"), None)
    yield Case("bare cr in a value", _post(b"X: a\rb\r\n", b"", b"GET /v1/files HTTP/1.1"), None)
    yield Case("cr cr lf", b"GET /v1/files HTTP/1.1\r\r\nHost: a\r\n\r\n", None)
    for name, fields in {
        "folded field": b"X: a\r\n b\r\n",
        "blank before the first field": b" X: a\r\n",
        "nul in a value": b"X: a\x00b\r\n",
        "nul in a name": b"X\x00: a\r\n",
        "field without a colon": b"nothing\r\n",
        "field without a name": b": a\r\n",
        "blank in a name": b"X Y: a\r\n",
        "tab before the colon": b"X\t: a\r\n",
        "name of other letters": b"X\xc3\xa9: a\r\n",
        "name with parentheses": b"X(y): a\r\n",
        "delete in a value": b"X: a\x7f\r\n",
        "name with an underscore": b"X_Canary_Pin: candidate\r\n",
        "content-type twice, alike": b"Content-Type: a/b\r\nContent-Type: a/b\r\n",
        "content-type twice, apart": b"Content-Type: application/json\r\ncontent-type: text/plain\r\n",
    }.items():
        host, tail = (b"", HOST) if name.startswith("blank before") else (HOST, b"")
        yield Case(name, _post(fields + tail, b"", b"GET /v1/files HTTP/1.1", host), None)
    yield Case("empty lines before", b"\r\n" + _post(b"", b"", b"GET /v1/files HTTP/1.1"), GOT)
    yield Case(
        "bytes above 127 in a value", _post(b"X: \xff\xc3\xa9\r\n", b"", b"GET /v1/files HTTP/1.1"), GOT
    )


def _starts() -> Iterator[Case]:
    for name, start in {
        "http/0.9": b"GET /v1/files",
        "http/1.2": b"GET /v1/files HTTP/1.2",
        "http/2.0": b"GET /v1/files HTTP/2.0",
        "version of two digits": b"GET /v1/files HTTP/1.10",
        "version lower case": b"GET /v1/files http/1.1",
        "tab for a blank": b"GET\t/v1/files HTTP/1.1",
        "blank in the target": b"GET /v1/fi les HTTP/1.1",
        "blank before the method": b" GET /v1/files HTTP/1.1",
        "blank after the version": b"GET /v1/files HTTP/1.1 ",
        "method lower case": b"get /v1/files HTTP/1.1",
        "method of odd letters": b"G@T /v1/files HTTP/1.1",
        "nul in the target": b"GET /v1/fi\x00les HTTP/1.1",
        "other letters in the target": b"GET /v1/fil\xc3\xa9s HTTP/1.1",
        "connect": b"CONNECT a:80 HTTP/1.1",
        "trace": b"TRACE /v1/files HTTP/1.1",
        "track": b"TRACK /v1/files HTTP/1.1",
        "propfind": b"PROPFIND /v1/files HTTP/1.1",
        "describe in rtsp": b"DESCRIBE /v1/files RTSP/1.0",
        "version of another protocol": b"GET /v1/files RTSP/1.0",
        "version 1.1 of another protocol": b"GET  /v1/files RTSP/1.1",
        "asterisk": b"GET * HTTP/1.1",
        "authority for a target": b"GET a:80 HTTP/1.1",
        "target without a slash": b"GET v1/files HTTP/1.1",
    }.items():
        yield Case(name, _post(b"", b"", start), None)
    yield Case("http/1.0", _post(b"", b"", b"GET /v1/files HTTP/1.0"), GOT, closes=True)
    yield Case("two blanks", _post(b"", b"", b"GET  /v1/files HTTP/1.1"), GOT)
    yield Case("http/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None)
    yield Case("dots in the path", _post(b"", b"", b"GET /v1/x/../files HTTP/1.1"), ())
    yield Case("dots in the path, encoded", _post(b"", b"", b"GET /v1/x/%2e%2e%2ffiles HTTP/1.1"), ())
    yield Case("dots and a semicolon in the path", _post(b"", b"", b"GET /v1/x/..%3b/files HTTP/1.1"), ())
    yield Case("dots encoded twice", _post(b"", b"", b"GET /v1/%252e%252e/files HTTP/1.1"), ())
    second = _post(b"", b"", b"GET /v1/smuggled RTSP/1.0")
    yield Case(
        "another protocol in the second request",
        _post(b"", b"", b"GET /v1/files HTTP/1.1") + second,
        GOT,
        closes=True,
    )
    yield Case("absolute target of another host", _post(b"", b"", b"GET http://b/v1/files HTTP/1.1"), GOT)
    yield Case("fragment in the target", _post(b"", b"", b"GET /v1/files#x HTTP/1.1"), GOT)


def _hosts() -> Iterator[Case]:
    for name, host in {
        "no host": b"",
        "host twice, alike": b"Host: a\r\nHost: a\r\n",
        "host twice, apart": b"Host: a\r\nHost: b\r\n",
        "host empty": b"Host: \r\n",
        "host with a path": b"Host: a/v1/smuggled?\r\n",
        "host with a user": b"Host: b@a\r\n",
        "host list": b"Host: a, b\r\n",
        "host with a blank": b"Host: a b\r\n",
        "host blank before colon": b"Host : a\r\n",
        "host odd port": b"Host: a:x\r\n",
        "host folded": b"Host:\r\n a\r\n",
    }.items():
        yield Case(name, _post(b"", b"", b"GET /v1/files HTTP/1.1", host), None)


def _connections() -> Iterator[Case]:
    yield Case(
        "connection names content-length", _post(b"Connection: content-length\r\n" + LENGTH, b"hello"), ONE
    )
    yield Case(
        "connection names transfer-encoding",
        _post(b"Connection: transfer-encoding\r\n" + CHUNKED, HELLO),
        ONE,
    )
    yield Case("connection names host", _post(b"Connection: host\r\n" + LENGTH, b"hello"), ONE)
    inner = SMUGGLED + b"x"
    yield Case("request in a body", _post(b"Content-Length: %d\r\n" % len(inner), inner), ((POSTED, inner),))
    yield Case(
        "request in a chunk",
        _post(CHUNKED, b"%x\r\n%b\r\n0\r\n\r\n" % (len(inner), inner)),
        ((POSTED, inner),),
    )
    two = _post(LENGTH, b"hello") + _post(b"", b"", b"GET /v1/files HTTP/1.1")
    yield Case("two requests at once", two, (*ONE, *GOT))
    yield Case("no length", _post(b""), EMPTY)
    yield Case(
        "get with a length",
        _post(LENGTH, b"hello", b"GET /v1/files HTTP/1.1"),
        ((b"GET /v1/files", b"hello"),),
    )
    yield Case(
        "get with chunks", _post(CHUNKED, HELLO, b"GET /v1/files HTTP/1.1"), ((b"GET /v1/files", b"hello"),)
    )
    yield Case("expectation unknown", _post(b"Expect: 200-ok\r\n" + LENGTH, b"hello"), ONE)
    yield Case(
        "expectation without a body", _post(b"Expect: 100-continue\r\n", b"", b"GET /v1/files HTTP/1.1"), GOT
    )
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    yield Case("h2c upgrade", _post(upgrade, b"", b"GET /v1/files HTTP/1.1"), GOT, closes=True)
    yield Case("h2c upgrade with a body", _post(upgrade + LENGTH, b"hello"), None)
    yield Case("te: trailers", _post(b"TE: trailers\r\nConnection: TE\r\n" + LENGTH, b"hello"), ONE)
    yield Case("body of a chat call framed twice", _post(
        b"Content-Type: application/json\r\nContent-Length: 2\r\n" + CHUNKED, b"2\r\n{}\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1",
    ), None)  # fmt: skip


CORPUS = [
    *_framed_twice(),
    *_codings(),
    *_chunks(),
    *_lines(),
    *_starts(),
    *_hosts(),
    *_connections(),
]
