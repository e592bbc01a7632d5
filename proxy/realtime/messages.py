"""Cuts one direction's bytes into whole WebSocket messages and control frames (RFC 6455), and writes frames.

For connections without extensions. Each piece keeps its bytes as they came, so that it can be forwarded as it
is; a caller's message that changes is written anew, masked with a fresh key.
"""

import os
from typing import NamedTuple

from proxy.realtime.frames import CLOSE, CONTINUATION, TEXT

PIECE_BOUND = 64 << 20
"""Bytes of one message, as of a request's body."""

_FIN, _OPCODE, _MASKED, _LENGTH = 0x80, 0x0F, 0x80, 0x7F
_SHORT, _LONG = 126, 127


class Piece(NamedTuple):
    """A whole message or control frame: its bytes, its opcode, and its payload without the mask."""

    raw: bytes
    opcode: int
    data: bytes


class MessageCutter:
    """Cuts one direction's bytes. `lost`: they are no WebSocket frames, or a message is over the bound."""

    __slots__ = ("_buffer", "_message", "_opcode", "_raw", "_size", "lost")

    def __init__(self) -> None:
        self.lost = False
        self._buffer = bytearray()
        self._opcode = CONTINUATION  # of the message under way
        self._raw: list[bytes] = []
        self._message: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Piece]:
        """Take bytes and return the pieces that they complete."""
        self._buffer += data
        found: list[Piece] = []
        while not self.lost and (frame := self._next()) is not None:
            if (piece := self._piece(*frame)) is not None:
                found.append(piece)
        return found

    def _next(self) -> tuple[bytes, bool, int, bytes] | None:
        """Take the next whole frame: its bytes, whether it is final, its opcode, and its payload."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        start, length = _extent(buffer)
        if length is None:
            return None
        self.lost = self._size + length > PIECE_BOUND
        if self.lost or len(buffer) < start + length:
            return None
        raw = bytes(buffer[: start + length])
        del buffer[: start + length]
        payload = raw[start:]
        if raw[1] & _MASKED:
            payload = masked(payload, raw[start - 4 : start])
        return raw, bool(raw[0] & _FIN), raw[0] & _OPCODE, payload

    def _piece(self, raw: bytes, is_final: bool, opcode: int, payload: bytes) -> Piece | None:
        if opcode >= CLOSE:
            return Piece(raw, opcode, payload)
        if (opcode == CONTINUATION) == (self._opcode == CONTINUATION):
            self.lost = True  # a message begins within another, or goes on without a beginning
            return None
        self._opcode = opcode or self._opcode
        self._raw.append(raw)
        self._message.append(payload)
        self._size += len(raw)
        if not is_final:
            return None
        piece = Piece(b"".join(self._raw), self._opcode, b"".join(self._message))
        self._opcode, self._size = CONTINUATION, 0
        self._raw.clear()
        self._message.clear()
        return piece


def _extent(head: bytearray) -> tuple[int, int | None]:
    """Where a frame's payload starts, and its length; None while the head is not complete."""
    short = head[1] & _LENGTH
    extended = {_SHORT: 2, _LONG: 8}.get(short, 0)
    start = 2 + extended + (4 if head[1] & _MASKED else 0)
    if len(head) < start:
        return start, None
    return start, int.from_bytes(head[2 : 2 + extended], "big") if extended else short


def masked(payload: bytes, key: bytes) -> bytes:
    """Apply a key of four bytes to a payload, which masks it or takes the mask away."""
    size = len(payload)
    keys = key * (size // 4 + 1)
    return (int.from_bytes(payload, "little") ^ int.from_bytes(keys[:size], "little")).to_bytes(
        size, "little"
    )


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
