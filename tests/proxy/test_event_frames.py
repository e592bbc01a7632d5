"""Amazon's event stream frames, compared with botocore's reader, and whatever else arrives in their place."""

import struct
from itertools import pairwise

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from proxy.answers.aws_event_stream import EventFrame, EventFrameCutter
from tests.servers.event_frames import chunk, error, event, exception, frame, header

STREAM = (
    event("messageStart", {"role": "assistant"})
    + event("contentBlockDelta", {"delta": {"text": "Grüß dich"}, "contentBlockIndex": 0})
    + chunk({"type": "message_stop"})
    + exception("throttlingException", "Too many requests")
    + error("internal", "Grüße")
)
Cuts = st.lists(st.integers(0, len(STREAM)), max_size=8)
OTHER_HEADERS = (
    header(":event-type", "chunk")
    + b"\x04true\x00\x05false\x01\x04byte\x02\x07\x05short\x03\x00\x07\x03int\x04\x00\x00\x00\x07"
    + b"\x04long\x05"
    + struct.pack("!q", 7)
    + b"\x05bytes\x06\x00\x02hi\x04time\x08"
    + struct.pack("!q", 7)
    + b"\x04uuid\x09"
    + bytes(16)
    + header(":message-type", "event")
)


def fed(data: bytes, cuts: list[int]) -> tuple[list[EventFrame], EventFrameCutter]:
    frames = EventFrameCutter()
    found: list[EventFrame] = []
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        found += frames.take(data[start:end])
    return found, frames


def oracle(data: bytes) -> list[tuple[str, bytes]]:
    """What botocore reads: the frames' names and payloads."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    names = (":event-type", ":exception-type", ":error-code")
    return [
        (next(message.headers[name] for name in names if name in message.headers), message.payload)
        for message in buffer
    ]


@given(cuts=Cuts)
def test_frames_are_those_of_botocore_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    found, frames = fed(STREAM, cuts)
    assert [(each.name.decode(), each.payload) for each in found[:-1]] == oracle(STREAM)[:-1]
    assert [each.is_event for each in found] == [True, True, True, False, False]
    assert found[-1] == EventFrame(False, b"internal", '{"message":"Grüße"}'.encode())
    assert not frames.broken
    assert not frames.within


def test_headers_of_every_type_are_passed_over() -> None:
    data = frame(OTHER_HEADERS, b"{}")
    assert fed(data, [])[0] == [EventFrame(True, b"chunk", b"{}")]
    assert oracle(data) == [("chunk", b"{}")]


@given(cuts=Cuts, at=st.integers(0, len(STREAM) - 1), bit=st.integers(0, 7))
def test_one_wrong_bit_breaks_the_stream(cuts: list[int], at: int, bit: int) -> None:
    data = bytearray(STREAM)
    data[at] ^= 1 << bit
    found, frames = fed(bytes(data), cuts)
    assert frames.broken
    assert found == fed(STREAM, [])[0][: len(found)]
    assert frames.take(STREAM) == []


@pytest.mark.parametrize(
    "headers",
    [b"\x05ab", b"\x01a\x63", b"\x01a\x07\x00\x09bc", b"\x01a\x04\x00"],
    ids=["cut name", "unknown type", "cut text", "cut number"],
)
def test_headers_that_do_not_fit_break_the_stream(headers: bytes) -> None:
    assert fed(frame(headers, b"{}"), [])[1].broken


@given(st.binary(max_size=64))
def test_other_bytes_are_no_frames(data: bytes) -> None:
    found, frames = fed(data, [])
    assert not found
    assert frames.broken or len(data) < 12


def test_a_begun_frame_is_told_apart_from_a_whole_one() -> None:
    assert fed(STREAM[:-1], [])[1].within
    assert fed(STREAM[:5], [])[1].within
    assert not fed(b"", [])[1].within
