"""Readers that follow a copy of an answer while it is relayed, and their choice.

`sse` reads streams of server-sent events, `aws_event_stream` those in Amazon's frames. Content codings
(RFC 9110 §8.4.1) are decoded within bounds; br and zstd are imported with the first such answer.
"""

import sys
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

from msgspec.structs import replace

from proxy.answers.aws_event_stream import CONTENT_TYPE as EVENT_FRAMES
from proxy.answers.aws_event_stream import EventStreamReader, StreamForm
from proxy.answers.recorder import AnswerRecorder
from proxy.answers.sse import ERROR_BOUND, SseReader
from proxy.dialects.operation import (
    AnswerSummary,
    CollectedOutput,
    EventReader,
    Operation,
    OutputForm,
    Texts,
    collect,
)
from records.outcome import ErrorType, Usage

CHUNK_BOUND = 4 << 20
MOST_CODINGS = 2
_WINDOW_LOG = 23
"""zstd's window is limited to 8 MiB in HTTP (RFC 9659); br's window is at most 16 MiB, gzip's 32 KiB."""

Unpack = Callable[[bytes], bytes]
"""Takes the next packed bytes and returns the unpacked ones. Unusable once it has raised Unpackable."""


class Unpackable(Exception):
    """Bytes that cannot be unpacked, that unpack to more than the bound, or that follow the packed end."""


def unpackers(encoding: bytes) -> list[Unpack] | None:
    """Return one unpacker per coding of a content-encoding, in the order in which they were applied; None
    when a coding is unknown or there are more than two."""
    codings = [coding.strip() for coding in encoding.split(b",")]
    makers = [_MAKERS.get(coding) for coding in codings if coding != b"identity"]
    if len(makers) > MOST_CODINGS:
        return None
    return [make() for make in makers if make is not None] if None not in makers else None


def _zlib(bits: int) -> Unpack:
    inflate = zlib.decompressobj(bits)

    def unpack(data: bytes) -> bytes:
        try:
            plain = inflate.decompress(data, CHUNK_BOUND)
        except zlib.error as problem:
            raise Unpackable from problem
        if inflate.unconsumed_tail or inflate.unused_data:
            raise Unpackable
        return plain

    return unpack


def _brotli() -> Unpack:
    import brotli

    inflate = brotli.Decompressor()

    def unpack(data: bytes) -> bytes:
        try:
            plain: bytes = inflate.process(data, output_buffer_limit=CHUNK_BOUND)
        except brotli.error as problem:
            raise Unpackable from problem
        if not inflate.can_accept_more_data():
            raise Unpackable
        return plain

    return unpack


def _zstd() -> Unpack:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    inflate = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})

    def unpack(data: bytes) -> bytes:
        if not data:
            return b""
        try:
            plain = inflate.decompress(data, CHUNK_BOUND)
        except (zstd.ZstdError, EOFError) as problem:
            raise Unpackable from problem
        if inflate.unused_data or not (inflate.needs_input or inflate.eof):
            raise Unpackable
        return plain

    return unpack


_MAKERS: dict[bytes, Callable[[], Unpack]] = {
    b"gzip": lambda: _zlib(31),
    b"x-gzip": lambda: _zlib(31),
    b"deflate": lambda: _zlib(15),
    b"br": _brotli,
    b"zstd": _zstd,
}


JSON_BOUND = 4 << 20
JSON_TAIL = 64 << 10
_MOST_TRIES = 8
_BEFORE_A_KEY = b",{ \t\r\n"
_PLAIN = (b"", b"identity")


class Reader(Protocol):
    @property
    def seen(self) -> AnswerSummary:
        """What the answer says, as far as it has been read."""
        ...

    def feed(self, data: bytes, now: float) -> bytes:
        """Take bytes read at `now` and return the bytes that may go out now."""
        ...

    def finish(self) -> tuple[bytes, ErrorType | None]:
        """End cleanly; return the bytes still to go out and the answer's error, if any."""
        ...


class BlindReader:
    """Reads nothing: for pass-through answers and unknown encodings. `wrong`: error from the head."""

    __slots__ = ("_wrong", "seen")

    def __init__(self, *, stream: bool = False, wrong: ErrorType | None = None) -> None:
        self.seen = AnswerSummary(has_event=stream)
        self._wrong: ErrorType | None = wrong

    def feed(self, data: bytes, now: float) -> bytes:
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        return b"", self._wrong


class ErrorReader:
    """Copies the first bytes of an error's body, and reads nothing else."""

    __slots__ = ("seen",)

    def __init__(self) -> None:
        self.seen = AnswerSummary()

    def feed(self, data: bytes, now: float) -> bytes:
        seen = self.seen
        if len(seen.error) < ERROR_BOUND:
            seen.error = (seen.error + data)[:ERROR_BOUND]
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        return b"", None


_UNREAD = AnswerSummary()


class JsonReader:
    """Copies a JSON answer and reads it at its end.

    Of an answer over JSON_BOUND only the last bytes are copied and only the usage is read, which all known
    providers write at the end. `output` collects what a model wrote, None when that is not to be judged.
    `counted`: the usage in the answer's head, for a body without.
    """

    __slots__ = ("_counted", "_operation", "_output", "_parts", "_size", "seen")

    def __init__(
        self, operation: Operation, output: CollectedOutput | None = None, counted: Usage | None = None
    ) -> None:
        self.seen = _UNREAD
        self._counted = counted
        self._output = output
        self._operation = operation
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes, now: float) -> bytes:
        self._size += len(data)
        self._parts.append(data)
        if self._size > JSON_BOUND:
            self._parts = [b"".join(self._parts)[-JSON_TAIL:]]
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        text, operation = b"".join(self._parts), self._operation
        self._parts.clear()
        if operation.read_json is None or self._size > JSON_BOUND:
            counts = None if operation.read_json is None else usage_at_end(text, operation) or self._counted
            self.seen = AnswerSummary(done=True, usage=counts)
            return b"", None
        self.seen = seen = operation.read_json(text)
        seen.done, seen.usage = True, seen.usage or self._counted
        if seen.failed:
            seen.error = text[:ERROR_BOUND]
        elif self._output is not None and operation.output is not None:
            collect(operation.output.read, self._output, text)
        if not seen.valid:
            return b"", "provider_malformed"
        return b"", "provider_stream_error" if seen.failed else None


def usage_at_end(tail: bytes, operation: Operation) -> Usage | None:
    """Find the usage in the last bytes of a JSON answer; None when it is not there.

    Neither a model's text nor a member of an inner object can be mistaken for it. A quote after one of
    `_BEFORE_A_KEY` is not escaped and letters follow it, so a string begins there. And `{` followed by the
    bytes from a key to the answer's end is a JSON object only when the key is a member of the answer itself.
    """
    text = tail.rstrip().removesuffix(b"]")  # the last answer of an array
    at = len(text)
    for _ in range(_MOST_TRIES):
        at = text.rfind(operation.usage_key, 0, at)
        if at < 1 or operation.read_json is None:
            return None
        if text[at - 1] in _BEFORE_A_KEY:
            reading = operation.read_json(b"{" + text[at:])
            if reading.valid:
                return reading.usage
    return None


class DecompressedReader:
    """Feeds a reader, and a recorder where there is one, the decompressed copy of an answer.

    The caller gets the original bytes. At bytes that are `Unpackable` the reading ends without an error and
    with unknown usage. `unpacks` stand in the order in which the codings were applied.
    """

    __slots__ = ("_lost", "_reader", "_recorder", "_unpacks")

    def __init__(self, reader: Reader, unpacks: Sequence[Unpack], recorder: AnswerRecorder | None) -> None:
        self._reader = reader
        self._unpacks = unpacks
        self._recorder = recorder
        self._lost: AnswerSummary | None = None  # what remains known once the reading has ended

    @property
    def seen(self) -> AnswerSummary:
        return self._lost or self._reader.seen

    def feed(self, data: bytes, now: float) -> bytes:
        if self._lost is not None:
            return data
        plain = data
        try:
            for unpack in reversed(self._unpacks):
                plain = unpack(plain)
        except Unpackable:
            self._lost = replace(self._reader.seen, usage=None, model="", answer=None, has_event=True)
            return data
        if self._recorder is not None:
            self._recorder.record(plain)
        out = self._reader.feed(plain, now)
        return data if self._unpacks else out

    def finish(self) -> tuple[bytes, ErrorType | None]:
        if self._lost is not None:
            return b"", None
        rest, wrong = self._reader.finish()
        return b"" if self._unpacks else rest, wrong


_TYPE_BOUND = 64
"""Bytes of a content-type that tell a stream; no longer one is kept."""


@lru_cache(256)
def stream_form(content_type: bytes) -> StreamForm | None:
    """The form of a stream with this content type; None for a whole answer."""
    if content_type.startswith(b"text/event-stream"):
        return "sse"
    return "frames" if content_type.startswith(EVENT_FRAMES) else None


def reader_for(
    operation: Operation,
    *,
    status: int,
    content_type: bytes,
    encoding: bytes,
    strip: bool,
    recorder: AnswerRecorder | None = None,
    output: CollectedOutput | None = None,
    counted: Usage | None = None,
) -> Reader:
    """Choose the reader for an answer with this head.

    Operations without a model are not read, and of errors only what the provider says. A redirect counts as
    `provider_malformed`, because it is not a model's answer but leads, for example, to a gateway's login
    page. `recorder` gets the decompressed bytes. `output` collects what the model writes; then every event of
    a stream is decoded. `counted` is the usage in the head.
    """
    if not operation.canary or 300 <= status < 400:
        return BlindReader(wrong="provider_malformed" if operation.canary else None)
    form = stream_form(content_type[:_TYPE_BOUND]) if operation.events is not None and status < 300 else None
    reader: Reader
    if status >= 300:
        reader = ErrorReader()
    elif form is None or operation.events is None:
        reader = JsonReader(operation, output, counted)
    else:
        events = operation.events()
        if output is not None and operation.output is not None:
            events = OutputCollector(events, output, operation.output)
        reader = SseReader(events, strip=strip) if form == "sse" else EventStreamReader(events)
    if status >= 300:
        recorder = None
    elif recorder is not None:
        recorder.begin(form, operation.output)
    unpacks = [] if encoding in _PLAIN else unpackers(encoding)
    if unpacks is None:
        return BlindReader(stream=form is not None)
    return DecompressedReader(reader, unpacks, recorder) if unpacks or recorder is not None else reader


class OutputCollector:
    """Wraps `events` and collects the model's output, of which no texts may be skipped."""

    texts: Texts = None

    __slots__ = ("_events", "_form", "_output", "seen")

    def __init__(self, events: EventReader, output: CollectedOutput, form: OutputForm) -> None:
        self.seen = events.seen
        self._events = events
        self._output = output
        self._form = form

    def take(self, name: bytes, data: bytes) -> bool:
        self._events.take(name, data)
        if not self._output.lost:
            collect(self._form.take, self._output, data)
        return False
