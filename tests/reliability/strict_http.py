"""HTTP/1.1 read strictly (RFC 9112): whatever two readers could understand differently is an error here.

Both sides of a test read with it: the fault provider what the proxy sent, the callers what it answered.
"""

import re
from dataclasses import dataclass

_REQUEST = re.compile(rb"([A-Z][A-Z-]*) ([!-~]+) HTTP/1\.1")
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\t -~]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t -~\x80-\xff]*?)[\t ]*")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,8}")

_CHUNKED, _TO_THE_END = -1, -2


class Ambiguous(ValueError):
    """Not HTTP/1.1 that everybody reads alike."""


@dataclass(slots=True)
class Message:
    """A request or response, perhaps still coming. `start` is its first line, field names are lower case."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    body: bytearray
    complete: bool = False

    def first(self, name: bytes) -> bytes | None:
        """The first field of that name."""
        return next((value for key, value in self.fields if key == name), None)

    @property
    def status(self) -> int:
        """A response's status."""
        return int(self.start[9:12])

    @property
    def target(self) -> bytes:
        """A request's target."""
        return self.start.split(b" ")[1]


class Reader:
    """Cuts the bytes of one connection into messages as they come. `under_way` is the unfinished one."""

    def __init__(self, *, responses: bool = False, to_head: bool = False) -> None:
        """`to_head`: the responses are to HEAD requests, so that none has a body."""
        self.under_way: Message | None = None
        self._responses = responses
        self._to_head = to_head
        self._rest = bytearray()
        self._left = 0

    @property
    def between(self) -> bool:
        """True when no byte of a further message has come."""
        return self.under_way is None and not self._rest

    def feed(self, data: bytes) -> list[Message]:
        """The messages that these bytes complete. Raises Ambiguous."""
        self._rest += data
        done = []
        while (message := self._step()) is not None:
            if message.complete:
                done.append(message)
                self.under_way = None
        return done

    def end(self) -> Message | None:
        """The end of input: the message that it completes, if any."""
        if self.under_way is not None and self._left == _TO_THE_END:
            message, self.under_way = self.under_way, None
            message.complete = True
            return message
        return None

    def _step(self) -> Message | None:
        """The message under way after something more of it was read; None when bytes are missing."""
        if self.under_way is None:
            head, found, rest = self._rest.partition(b"\r\n\r\n")
            if not found:
                return None
            self._rest = rest
            self.under_way = self._head(bytes(head))
            return self.under_way
        message = self.under_way
        if self._left == _CHUNKED:
            return message if self._chunk(message) else None
        take = len(self._rest) if self._left == _TO_THE_END else min(self._left, len(self._rest))
        if not take:
            return None
        message.body += self._rest[:take]
        del self._rest[:take]
        if self._left != _TO_THE_END:
            self._left -= take
            message.complete = not self._left
        return message

    def _head(self, head: bytes) -> Message:
        start, *lines = head.split(b"\r\n")
        if not (_STATUS if self._responses else _REQUEST).fullmatch(start):
            raise Ambiguous(f"first line {start!r}")
        fields = []
        for line in lines:
            found = _FIELD.fullmatch(line)
            if not found:
                raise Ambiguous(f"field line {line!r}")
            fields.append((found[1].lower(), found[2]))
        message = Message(start, fields, bytearray())
        if not self._responses and sum(name == b"host" for name, _ in fields) != 1:
            raise Ambiguous("not exactly one host")
        self._frame(message)
        return message

    def _frame(self, message: Message) -> None:
        lengths = [value for name, value in message.fields if name == b"content-length"]
        codings = [value for name, value in message.fields if name == b"transfer-encoding"]
        if len(lengths) + len(codings) > 1:
            raise Ambiguous(f"framed more than once: {lengths}, {codings}")
        if codings and codings != [b"chunked"]:
            raise Ambiguous(f"transfer coding {codings[0]!r}")
        if lengths and not _LENGTH.fullmatch(lengths[0]):
            raise Ambiguous(f"length {lengths[0]!r}")
        bodiless = self._responses and (self._to_head or message.status < 200 or message.status in (204, 304))
        if bodiless:
            self._left = 0
        elif codings:
            self._left = _CHUNKED
        elif lengths:
            self._left = int(lengths[0])
        else:
            self._left = _TO_THE_END if self._responses else 0
        message.complete = self._left == 0

    def _chunk(self, message: Message) -> bool:
        """Read one chunk, if it has come whole."""
        line_end = self._rest.find(b"\r\n")
        if line_end < 0:
            return False
        if not _CHUNK.fullmatch(self._rest[:line_end]):
            raise Ambiguous(f"chunk size {bytes(self._rest[:line_end])!r}")
        size = int(self._rest[:line_end], 16)
        end = line_end + 2 + size
        if len(self._rest) < end + 2:
            return False
        if self._rest[end : end + 2] != b"\r\n":
            raise Ambiguous("a chunk is longer than its size, or a trailer follows")
        message.body += self._rest[line_end + 2 : end]
        del self._rest[: end + 2]
        message.complete = size == 0
        return True
