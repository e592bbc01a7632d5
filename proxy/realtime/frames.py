"""Reads WebSocket frames (RFC 6455) from a copy of one direction's bytes, without changing or holding them.

A protocol violation ends the reading, not the session; the two ends deal with it. Library parsers act as one
of the ends, so this reader is our own; tests compare it with `websockets`.
"""

from typing import NamedTuple

from proxy.realtime.inflate import Deflate, Inflater

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

MESSAGE_BOUND = 1 << 20
"""Bytes of one message after inflation. Larger messages are not read."""

_OPCODES = frozenset([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
_FIN, _COMPRESSED, _RESERVED, _OPCODE = 0x80, 0x40, 0x30, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_CONTROL_BOUND = 125
NO_CODE = 1005
"""The code for a close frame without a code (RFC 6455 §7.1.5)."""


class Message(NamedTuple):
    """A complete message or control frame. `data` is None when the payload was over the bound."""

    opcode: int
    data: bytes | None


class Frames:
    """The frames of one direction. `close_code`: code of the close frame, None before it. `lost`: the bytes
    are not WebSocket frames and are no longer read. `unread`: a message was skipped."""

    __slots__ = (
        "_at", "_bound", "_control", "_fin", "_head", "_inflater", "_key", "_left", "_opcode", "_parts",
        "_size", "_started", "_zipped", "close_code", "lost", "unread",
    )  # fmt: skip

    def __init__(self, deflate: Deflate | None = None, *, bound: int = MESSAGE_BOUND) -> None:
        """`deflate`: the negotiated compression of this direction; None without compression."""
        self.close_code: int | None = None
        self.lost = self.unread = False
        self._bound = bound
        self._inflater = Inflater(deflate, bound) if deflate is not None else None
        self._head = bytearray()
        self._opcode = self._left = self._at = 0
        self._fin = True
        self._key = b""
        self._control = b""
        self._started: int | None = None  # the opcode of the current message
        self._zipped = False
        self._parts: list[bytes] | None = []  # None: over the bound
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes and return the messages and control frames that they complete."""
        found: list[Message] = []
        at = 0
        while at < len(data) and not self.lost:
            if self._left:
                piece = data[at : at + self._left]
                at += len(piece)
                self._take(piece)
            else:
                at += self._read_head(data, at)
                if self.lost or self._head:
                    continue
            if not self._left and not self.lost:
                self._frame_ended(found)
        return found

    def _read_head(self, data: bytes, at: int) -> int:
        """Read the missing bytes of the frame's head and return how many. A complete head empties `_head`."""
        head, before = self._head, len(self._head)
        while (lacks := _head_length(head) - len(head)) > 0 and at < len(data):
            head += data[at : at + lacks]
            at += lacks
        taken = len(head) - before
        if len(head) == _head_length(head):
            self._begin(bytes(head))
            head.clear()
        return taken

    def _begin(self, head: bytes) -> None:
        first, masked_from = head[0], 2 + _extended_by(head[1])
        self._left = int.from_bytes(head[2:masked_from], "big") if masked_from > 2 else head[1] & _LENGTH
        self._key = head[masked_from:]
        self._at = 0
        self._opcode = first & _OPCODE
        self._fin = bool(first & _FIN)
        if not self._is_lawful():
            self.lost = True
        elif self._opcode >= CLOSE:
            self._control = b""
        elif self._opcode != CONTINUATION:
            self._started = self._opcode
            self._zipped = bool(first & _COMPRESSED)
            understood = not first & _RESERVED and (not self._zipped or self._inflater is not None)
            self._parts, self._size = [] if understood else None, 0
        if self._opcode < CLOSE:
            self._size += self._left
            if self._size > self._bound:
                self._parts = None

    def _is_lawful(self) -> bool:
        """RFC 6455 §5.2, §5.4, §5.5. Reserved bits belong to extensions and do not change frame lengths."""
        if self._opcode >= CLOSE:
            return self._opcode in _OPCODES and self._fin and self._left <= _CONTROL_BOUND
        return self._opcode in _OPCODES and (self._opcode == CONTINUATION) == (self._started is not None)

    def _take(self, piece: bytes) -> None:
        """Take payload bytes of the current frame."""
        if self._opcode >= CLOSE:
            self._control += self._unmasked(piece)
        elif self._parts is not None:
            self._parts.append(self._unmasked(piece))
        self._left -= len(piece)
        self._at += len(piece)

    def _unmasked(self, piece: bytes) -> bytes:
        if not self._key:
            return piece
        turn, size = self._at % 4, len(piece)
        key = (self._key[turn:] + self._key[:turn]) * (size // 4 + 1)
        return (int.from_bytes(piece, "little") ^ int.from_bytes(key[:size], "little")).to_bytes(
            size, "little"
        )

    def _frame_ended(self, found: list[Message]) -> None:
        if self._opcode >= CLOSE:
            if self._opcode == CLOSE:
                self._close(self._control)
            found.append(Message(self._opcode, self._control))
        elif self._fin and self._started is not None:
            opcode, self._started = self._started, None
            data = None if self._parts is None else b"".join(self._parts)
            self._parts = []
            if self._zipped and self._inflater is not None:
                data = self._inflater.message(data)
            self.unread = self.unread or data is None
            found.append(Message(opcode, data))

    def _close(self, payload: bytes) -> None:
        if self.close_code is None:
            self.close_code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else NO_CODE


def _head_length(head: bytearray) -> int:
    """The length of the frame's head, as far as its first bytes determine it."""
    if len(head) < 2:
        return 2
    return 2 + _extended_by(head[1]) + (4 if head[1] & _MASKED else 0)


def _extended_by(second: int) -> int:
    """The number of bytes of an extended length."""
    return {126: 2, 127: 8}.get(second & _LENGTH, 0)
