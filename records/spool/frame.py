"""The spool's frame format: `length u32 LE | crc32 u32 LE | payload`. Bytes to records and back, no I/O.

A payload begins with three bytes, a mark and the record's kind; then follows the record in MessagePack, of an
outcome its values without their names.
"""

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import msgspec

from records.outcome import Feedback, Heartbeat, InFlight, Outcome, Record

MAX_PAYLOAD = 1 << 20
"""Bytes. A larger record is refused on writing and treated as corruption on reading."""

HEADER = struct.Struct("<II")

MARK = b"\xc12"
"""No MessagePack begins with its first byte. The second is the format's version."""

_KINDS: dict[type[Record], bytes] = {
    Outcome: MARK + b"o",
    Heartbeat: MARK + b"h",
    Feedback: MARK + b"f",
    InFlight: MARK + b"i",
}
_BEGIN = len(MARK) + 1
_START_OF_PAYLOAD = re.compile(rb"\xc12[ohfi]")
_ENCODER = msgspec.msgpack.Encoder()
_Decode = Callable[[memoryview], Record]
_DECODERS: dict[bytes, _Decode] = {
    kind: msgspec.msgpack.Decoder(record).decode for record, kind in _KINDS.items()
}


def encode(record: Record) -> bytes:
    """Encode a record as one frame. Raises ValueError when the record is too large."""
    payload = _KINDS[type(record)] + _ENCODER.encode(record)
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a record of {len(payload)} bytes is over the spool's limit of {MAX_PAYLOAD}")
    return HEADER.pack(len(payload), crc32(payload)) + payload


@dataclass(frozen=True, slots=True)
class BadRange:
    """A range [start, end) of the scanned bytes without a readable frame."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class FrameScan:
    """The result of a scan: records in order, unreadable ranges, the offset to continue the next scan from,
    and whether the rest may be a frame that is still being written (`torn`)."""

    records: list[Record]
    bad: list[BadRange]
    end: int
    torn: bool


def scan(data: bytes, *, limit: int, final: bool) -> FrameScan:
    """Read up to `limit` frames from `data`, resynchronising after damage.

    `final`: no bytes will follow, so an incomplete frame at the end counts as damage, not as torn.
    """
    view = memoryview(data)
    size, at = len(data), 0
    records: list[Record] = []
    bad: list[BadRange] = []
    while True:
        at = _read_on(data, view, at, records, limit)
        if len(records) >= limit or at >= size:
            return FrameScan(records, bad, at, torn=False)
        resume_at = _end_of_frame(data, view, at) or _next_frame(data, view, at + 1)
        if resume_at is None:
            if not final:
                return FrameScan(records, bad, at, torn=True)
            resume_at = size
        bad.append(BadRange(at, resume_at))
        at = resume_at


def _read_on(data: bytes, view: memoryview, at: int, records: list[Record], limit: int) -> int:
    """Append the records of the frames from `at` on, and return the offset of the first unreadable one."""
    while len(records) < limit and (end := _end_of_frame(data, view, at)) is not None:
        start = at + HEADER.size
        decode = _DECODERS.get(data[start : start + _BEGIN])
        if decode is None:  # of a kind that this version does not know
            break
        try:
            records.append(decode(view[start + _BEGIN : end]))
        except msgspec.DecodeError:
            break
        at = end
    return at


def _end_of_frame(data: bytes, view: memoryview, at: int) -> int | None:
    """Return the end of the frame at `at`, or None when the frame is incomplete or its checksum is wrong."""
    start = at + HEADER.size
    if start > len(data):
        return None
    length, checksum = HEADER.unpack_from(data, at)
    end: int = start + length
    if end > len(data) or not 0 < length <= MAX_PAYLOAD or crc32(view[start:end]) != checksum:
        return None
    return end


def _next_frame(data: bytes, view: memoryview, after: int) -> int | None:
    """Return the offset of the first complete, CRC-valid frame at or after `after`."""
    for match in _START_OF_PAYLOAD.finditer(data, after + HEADER.size):
        at = match.start() - HEADER.size
        if _end_of_frame(data, view, at) is not None:
            return at
    return None
