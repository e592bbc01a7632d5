"""WebSocket frames (RFC 6455): read from a copy, or cut into whole messages, and written. No socket.

`FrameReader` reads a copy of one direction's bytes, without changing or holding them, also compressed ones
(permessage-deflate, RFC 7692). A protocol violation ends the reading, not the session; the two ends deal with
it. Library parsers act as one of the ends, so this reader is our own; tests compare it with `websockets`.

`MessageCutter` is for connections without extensions. Each piece keeps its bytes as they came, so that it can
be forwarded as it is; a caller's message that changes is written anew, masked with a fresh key.
"""

import os
import zlib
from collections.abc import Sequence
from typing import NamedTuple

_MESSAGE_END = b"\x00\x00\xff\xff"
"""The bytes that a sender omits at the end of each message (RFC 7692 §7.2.1)."""


def agreed(headers: Sequence[tuple[bytes, bytes]]) -> tuple[bool | None, bool | None]:
    """Return the compression negotiated in a 101: (caller's direction, provider's direction).

    None without one; True when each message is compressed without earlier context.
    """
    for name, value in headers:
        if name != b"sec-websocket-extensions":
            continue
        for extension in value.lower().split(b","):
            kind, *parameters = (part.strip() for part in extension.split(b";"))
            if kind == b"permessage-deflate":
                return (
                    b"client_no_context_takeover" in parameters,
                    b"server_no_context_takeover" in parameters,
                )
    return None, None


class Inflater:
    """Inflates one direction. After a skipped message, messages that may refer to it are skipped too."""

    def __init__(self, fresh: bool, bound: int) -> None:
        self._bound = bound
        self._fresh = fresh
        self._lost = False
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def message(self, data: bytes | None) -> bytes | None:
        """Inflate a message; None when it is over the bound, does not inflate, or `data` is None."""
        plain = None if data is None or self._lost else self._inflated(data)
        if self._fresh:
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        elif plain is None or self._inflate.eof:
            self._lost = True
        return plain

    def _inflated(self, data: bytes) -> bytes | None:
        try:
            plain = self._inflate.decompress(data + _MESSAGE_END, self._bound + 1)
        except zlib.error:
            return None
        return plain if len(plain) <= self._bound and not self._inflate.unconsumed_tail else None


CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

MESSAGE_BOUND = 1 << 20
"""Bytes of one message after inflation. Larger messages are not read."""

_OPCODES = frozenset([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
_FIN, _COMPRESSED, _RESERVED, _OPCODE = 0x80, 0x40, 0x30, 0x0F
_MASKED, _LENGTH = 0x80, 0x7F
_SHORT, _LONG = 126, 127
_CONTROL_BOUND = 125
NO_CODE = 1005
"""The code for a close frame without a code (RFC 6455 §7.1.5)."""


class Message(NamedTuple):
    """A complete message or control frame. `data` is None when the payload was over the bound. `raw`: its
    bytes as they came, where they are kept."""

    opcode: int
    data: bytes | None
    raw: bytes = b""


class FrameReader:
    """The frames of one direction. `close_code`: code of the close frame, None before it. `lost`: the bytes
    are not WebSocket frames and are no longer read. `unread`: a message was skipped."""

    def __init__(self, fresh: bool | None = None, *, bound: int = MESSAGE_BOUND, keeps: bool = False) -> None:
        """`fresh`: the compression of this direction, as `agreed` has it. `keeps`: the bytes of each message
        as they came; one over the bound, which then counts the frames' heads too, ends the reading."""
        self._keeps = keeps
        self._raw, self._control_raw = bytearray(), bytearray()
        self.close_code: int | None = None
        self.lost = self.unread = False
        self._bound = bound
        self._inflater = Inflater(fresh, bound) if fresh is not None else None
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
        self._keep(head)
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
            self._size += self._left + len(head) * self._keeps
            if self._size > self._bound:
                self._parts, self.lost = None, self.lost or self._keeps

    def _is_lawful(self) -> bool:
        """RFC 6455 §5.2, §5.4, §5.5. Reserved bits belong to extensions and do not change frame lengths."""
        if self._opcode >= CLOSE:
            return self._opcode in _OPCODES and self._fin and self._left <= _CONTROL_BOUND
        return self._opcode in _OPCODES and (self._opcode == CONTINUATION) == (self._started is not None)

    def _take(self, piece: bytes) -> None:
        """Take payload bytes of the current frame."""
        self._keep(piece)
        if self._opcode >= CLOSE:
            self._control += self._unmasked(piece)
        elif self._parts is not None:
            self._parts.append(self._unmasked(piece))
        self._left -= len(piece)
        self._at += len(piece)

    def _keep(self, data: bytes) -> None:
        if self._keeps and self._opcode >= CLOSE:
            self._control_raw += data
        elif self._keeps:
            self._raw += data

    def _unmasked(self, piece: bytes) -> bytes:
        if not self._key:
            return piece
        turn = self._at % 4
        return masked(piece, self._key[turn:] + self._key[:turn])

    def _frame_ended(self, found: list[Message]) -> None:
        if self._opcode >= CLOSE:
            if self._opcode == CLOSE:
                self._close(self._control)
            found.append(Message(self._opcode, self._control, bytes(self._control_raw)))
            self._control_raw.clear()
        elif self._fin and self._started is not None:
            opcode, self._started = self._started, None
            data = None if self._parts is None else b"".join(self._parts)
            self._parts = []
            if self._zipped and self._inflater is not None:
                data = self._inflater.message(data)
            self.unread = self.unread or data is None
            found.append(Message(opcode, data, bytes(self._raw)))
            self._raw.clear()

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
    return {_SHORT: 2, _LONG: 8}.get(second & _LENGTH, 0)


def masked(payload: bytes, key: bytes) -> bytes:
    """Apply a key of four bytes to a payload, which masks it or takes the mask away."""
    size = len(payload)
    keys = key * (size // 4 + 1)
    return (int.from_bytes(payload, "little") ^ int.from_bytes(keys[:size], "little")).to_bytes(
        size, "little"
    )


PIECE_BOUND = 64 << 20
"""Bytes of one message, as of a request's body."""


class WholeMessage(NamedTuple):
    """A whole message or control frame: its bytes, its opcode, and its payload without the mask."""

    raw: bytes
    opcode: int
    data: bytes


class MessageCutter:
    """Cuts one direction's bytes. `lost`: they are no WebSocket frames, or a message is over the bound."""

    def __init__(self) -> None:
        self._frames = FrameReader(bound=PIECE_BOUND, keeps=True)

    @property
    def lost(self) -> bool:
        return self._frames.lost

    def feed(self, data: bytes) -> list[WholeMessage]:
        """Take bytes and return the pieces that they complete."""
        return [WholeMessage(each.raw, each.opcode, each.data or b"") for each in self._frames.feed(data)]


def frame(payload: bytes, *, opcode: int = TEXT, to_provider: bool) -> bytes:
    """Write a message as one frame. Frames to the provider are masked, with a key that nobody can guess."""
    size, mask = len(payload), _MASKED if to_provider else 0
    if size < _SHORT:
        head = bytes([_FIN | opcode, mask | size])
    elif size < 1 << 16:
        head = bytes([_FIN | opcode, mask | _SHORT]) + size.to_bytes(2, "big")
    else:
        head = bytes([_FIN | opcode, mask | _LONG]) + size.to_bytes(8, "big")
    if not to_provider:
        return head + payload
    key = os.urandom(4)
    return head + key + masked(payload, key)
