"""The message cutter and the frame writer beside `websockets`, which is the oracle for both."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from proxy.network.websocket import (
    CLOSE,
    PIECE_BOUND,
    PING,
    TEXT,
    FrameReader,
    MessageCutter,
    WholeMessage,
    frame,
    masked,
)
from tests.effort import examples
from tests.proxy.test_realtime_frames import conversations, whole, wire


def cut(data: bytes, *, sizes: list[int]) -> tuple[list[WholeMessage], MessageCutter]:
    """The pieces of bytes that come in reads of these sizes, over and over."""
    cutter, found, at, turn = MessageCutter(), [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        found += cutter.feed(data[at : at + size])
        at, turn = at + size, turn + 1
    return found, cutter


@settings(max_examples=examples(60), deadline=None)
@given(conversations(), st.booleans(), st.lists(st.integers(1, 9000), min_size=1, max_size=5))
def test_every_message_comes_whole_with_all_its_bytes(
    frames: list[Frame], mask: bool, sizes: list[int]
) -> None:
    data = wire(frames, mask=mask)
    found, cutter = cut(data, sizes=sizes)
    assert [(piece.opcode, piece.data) for piece in found] == [
        (each.opcode, each.data) for each in whole(frames)
    ]
    assert not cutter.lost
    assert sorted(b"".join(piece.raw for piece in found)) == sorted(data)


@settings(max_examples=examples(60), deadline=None)
@given(conversations(), st.booleans())
def test_what_is_forwarded_says_the_same_to_another_reader(frames: list[Frame], mask: bool) -> None:
    found, _ = cut(wire(frames, mask=mask), sizes=[1000])
    again, cutter = cut(b"".join(piece.raw for piece in found), sizes=[7])
    assert [(piece.opcode, piece.data) for piece in again] == [(piece.opcode, piece.data) for piece in found]
    assert not cutter.lost


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("to_provider", [True, False])
def test_a_written_frame_is_one_message_to_a_library(size: int, to_provider: bool) -> None:
    reader = Protocol(Side.SERVER if to_provider else Side.CLIENT, state=State.OPEN, max_size=None)
    reader.receive_data(frame(b"x" * size, to_provider=to_provider))
    (event,) = reader.events_received()
    assert isinstance(event, Frame)
    assert (event.opcode, bytes(event.data), event.fin) == (Opcode.TEXT, b"x" * size, True)
    assert reader.parser_exc is None


def test_a_mask_is_new_every_time_and_taken_away_by_itself() -> None:
    first, second = frame(b"hello", to_provider=True), frame(b"hello", to_provider=True)
    assert first != second
    assert masked(masked(b"hello", b"abcd"), b"abcd") == b"hello"


@pytest.mark.parametrize(
    "data",
    [
        Frame(Opcode.CONT, b"goes on without a beginning").serialize(mask=True),
        Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True)
        + Frame(Opcode.TEXT, b"b").serialize(mask=True),
        b"\x81\xff" + (PIECE_BOUND + 1).to_bytes(8, "big") + b"mask",
    ],
    ids=["a continuation", "two beginnings", "too large"],  # the masks are new in every process
)
def test_what_is_no_message_or_too_large_is_lost(data: bytes) -> None:
    found, cutter = cut(data, sizes=[len(data)])
    assert (found, cutter.lost) == ([], True)
    assert cutter.feed(Frame(Opcode.TEXT, b"more").serialize(mask=True)) == []


def test_a_control_frame_does_not_wait_for_the_message_around_it() -> None:
    cutter = MessageCutter()
    begun = Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True)
    ping = Frame(Opcode.PING, b"?").serialize(mask=True)
    assert [piece.opcode for piece in cutter.feed(begun + ping)] == [PING]
    (text,) = cutter.feed(Frame(Opcode.CONT, b"b").serialize(mask=True))
    assert (text.opcode, text.data) == (TEXT, b"ab")
    (close,) = cutter.feed(Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=True))
    assert (close.opcode, close.data[:2]) == (CLOSE, b"\x03\xe8")


def test_frames_without_a_payload_count_too() -> None:
    frames = FrameReader(bound=1000, keeps=True)
    head = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)
    frames.feed(Frame(Opcode.TEXT, b"a", fin=False).serialize(mask=True))
    for _ in range(1000):
        frames.feed(head)
    assert frames.lost and len(frames._raw) <= 1000 + len(head)
