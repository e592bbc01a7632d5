"""Follows a streamed answer in Amazon's event stream (`application/vnd.amazon.eventstream`) as it is relayed.

A frame is its length, its headers' length and a CRC of both; headers; payload; a CRC of everything before.
Bedrock streams so. botocore's reader takes four times as long for a frame, and an entry with a bearer key
needs no botocore. Bytes go out unchanged.
"""

import struct
from binascii import crc32
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from common.text import UNREADABLE
from proxy.answers.sse import ERROR_BOUND
from proxy.dialects.operation import EventReader
from records.outcome import ErrorType

FRAME_BOUND = 24 << 20
"""Bytes of the longest payload that the format allows."""
CONTENT_TYPE = b"application/vnd.amazon.eventstream"
StreamForm = Literal["sse", "frames"]
"""Server-sent events, or Amazon's frames."""

_PRELUDE = struct.Struct("!III")
_CRC = struct.Struct("!I")
_LENGTH = struct.Struct("!H")
_STRING, _BYTES = 7, 6
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Bytes of a header's value by its type: booleans, integers, a timestamp, a UUID."""


class EventFrame(NamedTuple):
    """One frame. `name`: the event's, the exception's or the error's. An error's payload is its message."""

    is_event: bool
    name: bytes
    payload: bytes


class EventFrameCutter:
    """Takes a stream's bytes and returns its whole frames. `broken`: the bytes are no such frames."""

    def __init__(self) -> None:
        self.broken = False
        self._begun = bytearray()
        self._wanted = 0  # bytes of the frame that has begun, as far as they are known

    @property
    def within(self) -> bool:
        """A frame has begun and is not complete."""
        return len(self._begun) > 0

    def take(self, data: bytes) -> list[EventFrame]:
        """Take the next bytes and return the frames that they complete."""
        if self.broken:
            return []
        if self._begun:
            self._begun += data
            if len(self._begun) < self._wanted:
                return []
            data = bytes(self._begun)
        return self._split(data)

    def _split(self, data: bytes) -> list[EventFrame]:
        start, frames = 0, []
        while (size := self._size(data, start)) and len(data) - start >= size:
            frame = _frame(data[start : start + size])
            if frame is None:
                self.broken = True
                break
            frames.append(frame)
            start += size
        self._begun = bytearray(data[start:])
        self._wanted = size
        return frames

    def _size(self, data: bytes, start: int) -> int:
        """The size of the frame that begins at `start`; 0 before its prelude is there, or when it is none."""
        if len(data) - start < _PRELUDE.size:
            return 0
        size, headers, checksum = _PRELUDE.unpack_from(data, start)
        if crc32(data[start : start + 8]) == checksum and headers + 16 <= size <= FRAME_BOUND:
            return int(size)
        self.broken = True
        return 0


def _frame(data: bytes) -> EventFrame | None:
    """Read one frame; None when its checksum or its headers are wrong."""
    end = len(data) - 4
    if crc32(data[:end]) != _CRC.unpack_from(data, end)[0]:
        return None
    payload_at = 12 + _PRELUDE.unpack_from(data)[1]
    raw = data[12:payload_at]
    head = _head(raw) if len(raw) <= _KEPT_BYTES else _read_head(raw)
    if head is None:
        return None
    return EventFrame(head.is_event, head.name, head.payload or data[payload_at:end])


_KEPT_BYTES = 1024
"""A frame's headers over this size are read each time, so that the cache is bounded in bytes."""


@lru_cache(maxsize=64)
def _head(raw: bytes) -> EventFrame | None:
    """Read a frame's headers as `_read_head`. Nearly all frames of a stream have the same ones."""
    return _read_head(raw)


def _read_head(raw: bytes) -> EventFrame | None:
    """Read a frame's headers; None when they are broken."""
    try:
        return _head_of(_headers(raw))
    except (struct.error, IndexError, KeyError):
        return None


def _head_of(headers: dict[bytes, bytes]) -> EventFrame:
    """The frame without its payload, unless that is an error's message, which stands in the headers."""
    kind = headers.get(b":message-type", b"event")
    if kind == b"event":
        return EventFrame(True, headers.get(b":event-type", b""), b"")
    if kind == b"exception":
        return EventFrame(False, headers.get(b":exception-type", b""), b"")
    message = headers.get(b":error-message", b"").decode("utf-8", "replace")
    return EventFrame(False, headers.get(b":error-code", b""), msgspec.json.encode({"message": message}))


def _headers(raw: bytes) -> dict[bytes, bytes]:
    """The headers with text. Raises struct.error, IndexError or KeyError when they are broken."""
    found, at = {}, 0
    while at < len(raw):
        name = raw[at + 1 : (at := at + 1 + raw[at])]
        kind, at = raw[at], at + 1
        if kind in (_STRING, _BYTES):
            size = _LENGTH.unpack_from(raw, at)[0]
            at += 2
            found[name] = raw[at : at + size]
        else:
            size = _SIZES[kind]
        at += size
    if at != len(raw):
        raise IndexError
    return found


class EventStreamReader:
    """Splits a copy of the stream into frames and feeds the events to the dialect.

    An exception's frame ends the stream with an error, whatever follows. So do bytes that are no frames.
    """

    def __init__(self, events: EventReader) -> None:
        self.seen = events.seen
        self._events = events
        self._frames = EventFrameCutter()
        self._malformed = False

    def feed(self, data: bytes, now: float) -> bytes:
        """Take bytes read at `now` and return them. Usually they are one frame."""
        for frame in self._frames.take(data):
            self._show(frame, now)
        if self._frames.broken and not self.seen.failed:
            self.seen.has_event = self.seen.failed = self._malformed = True
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        """End the stream cleanly; return no bytes and the stream's error, if any."""
        if self._malformed or not self.seen.has_event:
            return b"", "provider_malformed"
        if self.seen.failed:
            return b"", "provider_stream_error"
        return b"", None if self.seen.done and not self._frames.within else "provider_truncated"

    def _show(self, frame: EventFrame, now: float) -> None:
        seen = self.seen
        seen.has_event = True
        if not frame.is_event:
            seen.failed = True
            seen.error = seen.error or _said(frame)
            return
        self._events.take(frame.name, frame.payload)
        if seen.failed and not seen.error:
            seen.error = frame.payload[:ERROR_BOUND]
        if seen.first_token_at is None and seen.token:
            seen.first_token_at = now


class _Exception(msgspec.Struct, gc=False):
    message: Any = None
    originalMessage: Any = None  # noqa: N815 - Amazon's name


_decode_exception = msgspec.json.Decoder(_Exception).decode


def _said(frame: EventFrame) -> bytes:
    """The exception as an error's body: its type, and the model's own words where they were passed on."""
    try:
        told = _decode_exception(frame.payload)
    except UNREADABLE:
        told = _Exception()
    message = str(told.originalMessage or told.message or "")[:ERROR_BOUND]
    return msgspec.json.encode({"type": frame.name.decode("utf-8", "replace"), "message": message})
