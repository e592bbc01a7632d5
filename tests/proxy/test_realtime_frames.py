"""The frame reader beside `websockets`, which is the oracle for what the bytes mean."""

import random
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from proxy.network.websocket import (
    BINARY,
    CLOSE,
    MESSAGE_BOUND,
    NO_CODE,
    PING,
    TEXT,
    FrameReader,
    Message,
    agreed,
)
from tests.effort import examples

TEXTS = st.binary(max_size=300) | st.integers(60_000, 70_000).map(lambda size: b"x" * size)


@st.composite
def conversations(draw: st.DrawFn) -> list[Frame]:
    """Messages, some in fragments, with control frames between these."""
    frames: list[Frame] = []
    for _ in range(draw(st.integers(0, 6))):
        pieces = draw(st.lists(TEXTS, min_size=1, max_size=4))
        opcode = draw(st.sampled_from([Opcode.TEXT, Opcode.BINARY]))
        for number, piece in enumerate(pieces):
            if draw(st.booleans()):
                control = draw(st.sampled_from([Opcode.PING, Opcode.PONG]))
                frames.append(Frame(control, draw(st.binary(max_size=125))))
            last = number == len(pieces) - 1
            frames.append(Frame(Opcode.CONT if number else opcode, piece, fin=last))
    if draw(st.booleans()):
        frames.append(Frame(Opcode.CLOSE, Close(draw(st.sampled_from([1000, 1001, 3000])), "so").serialize()))
    return frames


def wire(frames: list[Frame], *, mask: bool, deflate: PerMessageDeflate | None = None) -> bytes:
    extensions = [deflate] if deflate is not None else []
    return b"".join(frame.serialize(mask=mask, extensions=extensions) for frame in frames)


def whole(frames: list[Frame]) -> list[Message]:
    """What the frames say, by the oracle's own frame objects."""
    messages, parts, opcode = [], b"", 0
    for frame in frames:
        if frame.opcode >= Opcode.CLOSE:
            messages.append(Message(frame.opcode, bytes(frame.data)))
            continue
        opcode = opcode if frame.opcode is Opcode.CONT else frame.opcode
        parts += bytes(frame.data)
        if frame.fin:
            messages.append(Message(opcode, parts))
            parts = b""
    return messages


def cut(data: bytes, seed: int) -> Iterator[bytes]:
    """The same bytes in pieces, many of them small."""
    chance = random.Random(seed)
    while data:
        size = chance.choice([1, 2, 3, 7, 100, 5000, 65536])
        yield data[:size]
        data = data[size:]


def read(reader: FrameReader, data: bytes, seed: int = 0) -> list[Message]:
    return [message for piece in cut(data, seed) for message in reader.feed(piece)]


@given(conversations(), st.booleans(), st.integers(0, 1000))
@settings(max_examples=examples(200), deadline=None)
def test_messages_are_read_however_the_bytes_are_cut(frames: list[Frame], mask: bool, seed: int) -> None:
    reader = FrameReader()
    assert read(reader, wire(frames, mask=mask), seed) == whole(frames)
    assert not reader.lost and not reader.unread
    closed = bool(frames) and frames[-1].opcode is Opcode.CLOSE
    assert (reader.close_code is not None) == closed


@given(conversations(), st.booleans(), st.booleans(), st.integers(9, 15))
@settings(max_examples=examples(200), deadline=None)
def test_compressed_messages_are_read_from_an_inflated_copy(
    frames: list[Frame], mask: bool, fresh: bool, window: int
) -> None:
    reader = FrameReader(fresh)
    sender = PerMessageDeflate(False, fresh, 15, window)
    assert read(reader, wire(frames, mask=mask, deflate=sender)) == whole(frames)


ANY_FRAME = st.tuples(
    st.sampled_from([0, 1, 2, 3, 7, 9, 10, 11, 15]), st.booleans(), st.integers(0, 130) | st.just(70_000)
)


@given(st.lists(ANY_FRAME, max_size=8))
@settings(max_examples=examples(500), deadline=None)
def test_the_reading_ends_where_the_oracle_fails_the_connection(raw: list[tuple[int, bool, int]]) -> None:
    oracle, reader = Protocol(Side.CLIENT, max_size=None), FrameReader()
    oracle.state = State.OPEN
    for opcode, fin, size in raw:
        length = bytes([size]) if size < 126 else b"\x7f" + size.to_bytes(8, "big")
        frame = bytes([opcode | fin << 7]) + length + b"x" * size
        oracle.receive_data(frame)
        reader.feed(frame)
        assert reader.lost == (oracle.parser_exc is not None)


@given(st.binary(max_size=300))
@settings(max_examples=examples(300), deadline=None)
def test_no_bytes_break_the_reader(data: bytes) -> None:
    one, other = FrameReader(False), FrameReader(False)
    assert one.feed(data) == read(other, data)
    assert (one.lost, one.unread, one.close_code) == (other.lost, other.unread, other.close_code)


@pytest.mark.parametrize(
    "bad",
    [
        b"\x83\x00",
        b"\x8b\x00",
        b"\x80\x01x",
        b"\x01\x01a\x81\x01b",
        b"\x09\x00",
        b"\x89\x7e\x00\x7e" + b"x" * 126,
    ],
    ids=["opcode-3", "opcode-11", "continues-nothing", "message-in-message", "ping-in-parts", "long-ping"],
)
def test_what_breaks_the_protocol_ends_the_reading(bad: bytes) -> None:
    reader = FrameReader()
    assert [message.opcode for message in read(reader, bad + b"\x81\x01z")] in ([], [TEXT])
    assert reader.lost
    assert reader.feed(b"\x81\x01z") == []


@pytest.mark.parametrize("mask", [False, True])
def test_a_message_over_the_bound_passes_unread_and_the_next_is_read(mask: bool) -> None:
    large = [Frame(Opcode.TEXT, b"x" * 600_000, fin=False), Frame(Opcode.PING, b"!"),
             Frame(Opcode.CONT, b"x" * 600_000)]  # fmt: skip
    reader = FrameReader()
    frames = [*large, Frame(Opcode.TEXT, b"next"), Frame(Opcode.BINARY, b"x" * MESSAGE_BOUND)]
    assert read(reader, wire(frames, mask=mask)) == [
        Message(PING, b"!"),
        Message(TEXT, None),
        Message(TEXT, b"next"),
        Message(BINARY, b"x" * MESSAGE_BOUND),
    ]
    assert reader.unread and not reader.lost


def test_a_frame_that_announces_too_much_is_not_kept_as_it_comes() -> None:
    reader = FrameReader(bound=1000)
    reader.feed(b"\x81\x7f" + (1 << 40).to_bytes(8, "big"))
    for _ in range(100):
        assert reader.feed(b"x" * 65536) == []
    assert reader._parts is None


@pytest.mark.parametrize("fresh", [False, True])
def test_a_message_that_inflates_beyond_the_bound_takes_those_with_it_that_may_refer_to_it(
    fresh: bool,
) -> None:
    sender = PerMessageDeflate(False, fresh, 15, 15)
    frames = [
        Frame(Opcode.TEXT, b"x" * 50_000_000),
        Frame(Opcode.TEXT, b"next"),
        Frame(Opcode.CLOSE, b"\x03\xe8"),
    ]
    reader = FrameReader(fresh)
    found = read(reader, wire(frames, mask=False, deflate=sender))
    assert found == [
        Message(TEXT, None),
        Message(TEXT, b"next" if fresh else None),
        Message(CLOSE, b"\x03\xe8"),
    ]
    assert (reader.close_code, reader.lost, reader.unread) == (1000, False, True)


def test_what_does_not_inflate_is_unread() -> None:
    reader = FrameReader(True)
    good = zlib.compressobj(wbits=-15)
    data = (good.compress(b"good") + good.flush(zlib.Z_SYNC_FLUSH))[:-4]
    assert reader.feed(b"\xc1\x03\xff\xff\xff") == [Message(TEXT, None)]
    assert reader.feed(bytes([0xC1, len(data)]) + data) == [Message(TEXT, b"good")]


def test_an_extension_that_is_not_known_leaves_its_messages_unread() -> None:
    reader = FrameReader()
    assert reader.feed(b"\xc1\x01a\xa1\x01b\x81\x01c") == [
        Message(TEXT, None), Message(TEXT, None), Message(TEXT, b"c")
    ]  # fmt: skip


def test_a_close_frame_may_have_no_code() -> None:
    reader = FrameReader()
    assert reader.feed(b"\x88\x00\x88\x02\x03\xe8") == [Message(CLOSE, b""), Message(CLOSE, b"\x03\xe8")]
    assert reader.close_code == NO_CODE


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"permessage-deflate", (False, False)),
        (b"permessage-deflate; server_no_context_takeover", (False, True)),
        (b"Permessage-Deflate;client_no_context_takeover ; client_max_window_bits=12",
         (True, False)),
        (b"x-other, permessage-deflate", (False, False)),
        (b"x-other", (None, None)),
        (b"", (None, None)),
    ],
)  # fmt: skip
def test_the_handshake_says_how_each_direction_is_compressed(
    value: bytes, expected: tuple[bool | None, bool | None]
) -> None:
    assert agreed([(b"upgrade", b"websocket"), (b"sec-websocket-extensions", value)]) == expected
    assert agreed([(b"upgrade", b"websocket")]) == (None, None)
