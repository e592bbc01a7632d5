"""Takes a connection's responses apart, one after another. No socket and no clock: bytes in, a message out.

    stage     a byte means                       left by
    IDLE      nothing that was asked for         `begin`
    HEAD      status line, fields, or 1xx        the final head; a 101, where that is wanted
    BODY      body, framing or trailers          the message's end
    DONE      nothing that was asked for         `begin`
    SWITCHED  another protocol

llhttp answers what a byte means; what it does not know (the request's method, any bound) is kept here. Facts
about httptools 0.9 are held by tests/proxy/test_upstream_connection.py.
"""

import httptools

from proxy.upstream.framing import HEAD_LIMIT, find_fault

IDLE, HEAD, BODY, DONE, SWITCHED = range(5)
SWITCHING = 101


class ResponseParser:
    """`status`, `reason` and `headers` (lower-cased, without trailers) are the final head's. `pieces` is what
    was fed of the body, for its reader to take out; `fault` why the response cannot be relayed, "" if it can.

    `reusable`: once DONE, the connection may be used again for all that the message says. `head_size`: bytes
    fed in HEAD, 0 where none came.
    """

    __deletable__ = ("_parser",)  # mypyc's word for what `del` may take

    def __init__(self, *, may_switch: bool = False) -> None:
        """`may_switch`: a 101 is the answer that is hoped for."""
        self.stage = IDLE
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append  # llhttp's callback for each piece: nothing is cheaper
        self._may_switch = may_switch
        self._parser = httptools.HttpResponseParser(self)
        self.begin(bodiless=False)
        self.stage = IDLE

    def begin(self, *, bodiless: bool) -> None:
        """The next bytes are a response's. `bodiless`: one to HEAD, which has none whatever it says."""
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
        """Take bytes as they came. Returns where another protocol's begin, or their number."""
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
                self.fault = self.fault or "a 101 that names no protocol"
        if self.pieces:
            self._barren = 0
            if self.stage == DONE:  # what follows the message's last piece is somebody else's
                del self.pieces[self._body_pieces :]
        elif self.stage == stage:
            self._fed_nothing(size)
        return size

    def close(self) -> None:
        """Nothing more is fed."""
        del self._parser  # it holds our callbacks: without it no cycle is left to collect

    # llhttp's callbacks. In DONE they belong to nobody's message.

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
            self.fault = find_fault(200, self.headers, self.head_size)  # here it is the good one
        elif not 100 <= status <= 199:
            self.status = status
            self.fault = find_fault(status, self.headers, self.head_size)
            self.stage = DONE if self._bodiless else BODY

    def on_message_complete(self) -> None:
        if self.stage == BODY:
            self.stage = DONE
            self._body_pieces = len(self.pieces)
            self.reusable = self._parser.should_keep_alive()  # told only here, in the callback
        elif self.stage == HEAD:  # an interim response is over; the final one follows
            self.headers = []
            self.reason = b""

    # Inside

    def _break(self, why: Exception) -> None:
        """llhttp can make nothing of what follows."""
        if self.stage == DONE:
            self.reusable = False
        else:
            self.fault = self.fault or f"malformed response: {why}"

    def _fed_nothing(self, size: int) -> None:
        """More of the head, or chunk extensions and trailers: llhttp bounds none of them."""
        if self.stage == BODY:
            self._barren += size
        if max(self._barren, self.head_size if self.stage == HEAD else 0) > HEAD_LIMIT:
            self.fault = self.fault or f"over {HEAD_LIMIT} bytes of the response and no body"
