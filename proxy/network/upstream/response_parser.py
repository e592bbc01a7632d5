"""Parses a connection's responses, one after another. No socket and no clock.

    stage     a byte means                       left by
    IDLE      an unexpected byte                 `begin`
    HEAD      status line, fields, or 1xx        the final head, or an expected 101
    BODY      body, framing or trailers          the end of the message
    DONE      an unexpected byte                 `begin`
    SWITCHED  another protocol

llhttp parses the bytes; this module adds the bounds and the request's method. The assumptions about httptools
0.9 are tested by tests/proxy/test_upstream_connection.py.
"""

from collections.abc import Sequence

import httptools

HEAD_LIMIT = 64 * 1024
"""Bytes of one head, including interim responses, or of trailers."""

FIELD_LIMIT = 200

Headers = Sequence[tuple[bytes, bytes]]


def find_fault(status: int, headers: Headers, received: int) -> str:
    """Return why the head cannot be relayed, or "". `received`: bytes read, at least those of the head."""
    if not 200 <= status <= 599:
        return f"not an HTTP status: {status}"
    if len(headers) > FIELD_LIMIT:
        return f"over {FIELD_LIMIT} header fields"
    if received > HEAD_LIMIT and _size(headers) > HEAD_LIMIT:
        return f"over {HEAD_LIMIT} bytes of header fields"
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if codings and (len(codings) > 1 or codings[0].lower() != b"chunked"):
        return "an unexpected transfer coding"
    return ""


def ends_with_input(headers: Headers) -> bool:
    """True when only the end of input ends the body (RFC 9112 §6.3, last case)."""
    return all(name not in (b"content-length", b"transfer-encoding") for name, _ in headers)


def _size(headers: Headers) -> int:
    return sum(len(name) + len(value) + 4 for name, value in headers)


IDLE, HEAD, BODY, DONE, SWITCHED = range(5)
SWITCHING = 101


class ResponseParser:
    """The parser. `status`, `reason` and `headers` (lower-cased, without trailers) are the final head's.

    `pieces`: body bytes fed so far; the reader removes them. `fault`: why the response cannot be relayed, ""
    if it can. `reusable`: once DONE, whether the message allows reuse of the connection. `head_size`: bytes
    fed in HEAD.
    """

    __deletable__ = ("_parser",)  # mypyc allows `del` only for these

    def __init__(self, *, may_switch: bool = False) -> None:
        """`may_switch`: a 101 is expected."""
        self.stage = IDLE
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append  # the cheapest callback for each piece
        self._may_switch = may_switch
        self._parser = httptools.HttpResponseParser(self)
        self.begin(bodiless=False)
        self.stage = IDLE

    def begin(self, *, bodiless: bool) -> None:
        """Start a response. `bodiless`: it answers HEAD and has no body, whatever its fields say."""
        self.stage = HEAD
        self.status = 0
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.fault = ""
        self.reusable = False
        self.head_size = 0
        self._bodiless = bodiless
        self._body_pieces = 0
        self._barren = 0

    def feed(self, data: bytes | memoryview) -> int:
        """Parse bytes. Returns the offset at which another protocol begins, or the number of bytes."""
        stage, size = self.stage, len(data)
        if stage == HEAD:
            self.head_size += size
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.stage == SWITCHED:
                return int(upgrade.args[0])
            self._break(upgrade)
        except httptools.HttpParserError as error:
            self._break(error)
        else:
            if self.stage == SWITCHED:
                self.fault = self.fault or "a 101 response that names no protocol"
        if self.pieces:
            self._barren = 0
            if self.stage == DONE:  # later pieces do not belong to this message
                del self.pieces[self._body_pieces :]
        elif self.stage == stage:
            self._fed_nothing(size)
        return size

    def close(self) -> None:
        """Release the parser after the last bytes."""
        del self._parser  # breaks the reference cycle through the callbacks

    # llhttp's callbacks. In DONE they do not belong to the message.

    def on_message_begin(self) -> None:
        if self.stage == DONE:
            self.reusable = False

    def on_status(self, reason: bytes) -> None:
        if self.stage == HEAD:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.stage == HEAD:  # in BODY it is a trailer
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if self.stage != HEAD:
            return
        if status == SWITCHING and self._may_switch:
            self.stage = SWITCHED
            self.fault = find_fault(200, self.headers, self.head_size)  # 200: a 101 counts as success here
        elif not 100 <= status <= 199:
            self.status = status
            self.fault = find_fault(status, self.headers, self.head_size)
            self.stage = DONE if self._bodiless else BODY

    def on_message_complete(self) -> None:
        if self.stage == BODY:
            self.stage = DONE
            self._body_pieces = len(self.pieces)
            self.reusable = self._parser.should_keep_alive()  # valid only in this callback
        elif self.stage == HEAD:  # an interim response has ended; the final one follows
            self.headers = []
            self.reason = b""

    # Inside

    def _break(self, why: Exception) -> None:
        """Record a parse error of llhttp."""
        if self.stage == DONE:
            self.reusable = False
        else:
            self.fault = self.fault or f"malformed response: {why}"

    def _fed_nothing(self, size: int) -> None:
        """Bound the head, chunk extensions and trailers, which llhttp does not."""
        if self.stage == BODY:
            self._barren += size
        if max(self._barren, self.head_size if self.stage == HEAD else 0) > HEAD_LIMIT:
            self.fault = self.fault or f"over {HEAD_LIMIT} response bytes without body"
