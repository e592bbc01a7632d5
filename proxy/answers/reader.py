"""Readers that follow a copy of an answer while it is relayed, and their choice.

`sse` reads streams of server-sent events, `aws_event_stream` those in Amazon's frames. Content codings
(RFC 9110 §8.4.1) are decoded within bounds; br and zstd are imported with the first such answer.
"""

import sys
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Literal, Protocol

from proxy.answers.aws_event_stream import CONTENT_TYPE as EVENT_FRAMES
from proxy.answers.aws_event_stream import EventStreamReader
from proxy.answers.sse import ERROR_BOUND, StreamReader
from proxy.dialects.answer import AnswerFacts, CollectedOutput
from proxy.dialects.operation import Events, Operation, OutputForm, Texts, collect
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
    """Follows one answer."""

    @property
    def usage(self) -> Usage | None: ...
    @property
    def first_token_at(self) -> float | None: ...
    @property
    def model(self) -> str:
        """The model that the answer names; empty when it names none, or has not been read."""
        ...

    @property
    def answer(self) -> AnswerFacts | None:
        """What the answer looks like; None when it has not been read."""
        ...

    @property
    def error(self) -> bytes:
        """What the provider said when it refused or failed, bounded; empty when it did not."""
        ...

    @property
    def done(self) -> bool:
        """The answer is complete, whatever the connection does next."""
        ...

    @property
    def has_event(self) -> bool:
        """A stream's first complete event has arrived, or the reader will never see one."""
        ...

    @property
    def failed(self) -> bool:
        """The provider reported an error inside its answer."""
        ...

    def feed(self, data: bytes, now: float) -> bytes:
        """Take bytes read at `now` and return the bytes that may go out now."""
        ...

    def finish(self) -> tuple[bytes, ErrorType | None]:
        """End cleanly; return the bytes still to go out and the answer's error, if any."""
        ...


class Blind:
    """Reads nothing: for pass-through answers and unknown encodings. `wrong`: error from the head."""

    __slots__ = (
        "_wrong",
        "answer",
        "done",
        "error",
        "failed",
        "first_token_at",
        "has_event",
        "model",
        "usage",
    )

    def __init__(self, *, stream: bool = False, wrong: ErrorType | None = None) -> None:
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.model = ""
        self.answer: AnswerFacts | None = None
        self.error = b""
        self.done = self.failed = False
        self.has_event = stream
        self._wrong: ErrorType | None = wrong

    def feed(self, data: bytes, now: float) -> bytes:
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        return b"", self._wrong


class ErrorReader:
    """Copies the first bytes of an error's body, and reads nothing else."""

    __slots__ = ("answer", "done", "error", "failed", "first_token_at", "has_event", "model", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.model = ""
        self.answer: AnswerFacts | None = None
        self.error = b""
        self.done = self.failed = self.has_event = False

    def feed(self, data: bytes, now: float) -> bytes:
        if len(self.error) < ERROR_BOUND:
            self.error = (self.error + data)[:ERROR_BOUND]
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        return b"", None


class JsonReader:
    """Copies a JSON answer and reads it at its end.

    Of an answer over JSON_BOUND only the last bytes are copied and only the usage is read, which all known
    providers write at the end. `output` collects what a model wrote, None when that is not to be judged.
    `counted`: the usage in the answer's head, for a body without.
    """

    __slots__ = (
        "_counted", "_operation", "_output", "_parts", "_size", "answer", "done", "error", "failed",
        "first_token_at", "has_event", "model", "usage",
    )  # fmt: skip

    def __init__(
        self, operation: Operation, output: CollectedOutput | None = None, counted: Usage | None = None
    ) -> None:
        self._counted = counted
        self.model = ""
        self.answer: AnswerFacts | None = None
        self.error = b""
        self._output = output
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.done = self.failed = self.has_event = False
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
        self.done = True
        text = b"".join(self._parts)
        self._parts.clear()
        if self._operation.read_json is None:
            return b"", None
        if self._size > JSON_BOUND:
            self.usage = usage_at_end(text, self._operation) or self._counted
            return b"", None
        reading = self._operation.read_json(text)
        self.usage, self.model = reading.usage or self._counted, reading.model
        self.failed, self.answer = reading.failed, reading.answer
        if reading.failed:
            self.error = text[:ERROR_BOUND]
        elif self._output is not None and self._operation.output is not None:
            collect(self._operation.output.read, self._output, text)
        if not reading.valid:
            return b"", "provider_malformed"
        return b"", "provider_stream_error" if reading.failed else None


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


class Unpacked:
    """Feeds a reader the decompressed copy of an answer; the caller gets the original bytes.

    At bytes that are `Unpackable` the reading ends without an error and with unknown usage.
    """

    __slots__ = ("_lost", "_reader", "_unpack")

    def __init__(self, reader: Reader, unpack: Unpack) -> None:
        self._reader = reader
        self._unpack = unpack
        self._lost = False

    @property
    def usage(self) -> Usage | None:
        return None if self._lost else self._reader.usage

    @property
    def model(self) -> str:
        return "" if self._lost else self._reader.model

    @property
    def answer(self) -> AnswerFacts | None:
        return None if self._lost else self._reader.answer

    @property
    def error(self) -> bytes:
        return self._reader.error

    @property
    def first_token_at(self) -> float | None:
        return self._reader.first_token_at

    @property
    def done(self) -> bool:
        return self._reader.done

    @property
    def has_event(self) -> bool:
        return self._lost or self._reader.has_event

    @property
    def failed(self) -> bool:
        return self._reader.failed

    def feed(self, data: bytes, now: float) -> bytes:
        if not self._lost:
            self._show(data, now)
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        return b"", None if self._lost else self._reader.finish()[1]

    def _show(self, data: bytes, now: float) -> None:
        try:
            self._reader.feed(self._unpack(data), now)
        except Unpackable:
            self._lost = True


StreamForm = Literal["sse", "frames"]
"""Server-sent events, or Amazon's frames."""

Around = Callable[[Reader, StreamForm | None], Reader]
"""Wraps a reader; the second argument is the form of the stream that it reads, None for a whole answer."""


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
    around: Around | None = None,
    output: CollectedOutput | None = None,
    counted: Usage | None = None,
) -> Reader:
    """Choose the reader for an answer with this head.

    Operations without a model are not read, and of errors only what the provider says. A redirect counts as
    `provider_malformed`, because it is not a model's answer but leads, for example, to a gateway's login
    page. `around` wraps the reader, so that the wrapper is fed the decompressed bytes. `output` collects what
    the model writes; then every event of a stream is decoded. `counted` is the usage in the head.
    """
    if not operation.canary or 300 <= status < 400:
        return Blind(wrong="provider_malformed" if operation.canary else None)
    form = stream_form(content_type[:_TYPE_BOUND]) if operation.events is not None and status < 300 else None
    reader: Reader
    if status >= 300:
        reader = ErrorReader()
    elif form is None or operation.events is None:
        reader = JsonReader(operation, output, counted)
    else:
        events = _collecting(operation, operation.events(), output)
        reader = StreamReader(events, strip=strip) if form == "sse" else EventStreamReader(events)
    if around is not None and status < 300:
        reader = around(reader, form)
    if encoding in _PLAIN:
        return reader
    unpacks = unpackers(encoding)
    if unpacks is None:
        return Blind(stream=form is not None)
    for unpack in unpacks:
        reader = Unpacked(reader, unpack)
    return reader


def _collecting(operation: Operation, events: Events, output: CollectedOutput | None) -> Events:
    """The events' reader, which also collects the model's output if that is to be judged."""
    if output is None or operation.output is None:
        return events
    return CollectingEvents(events, output, operation.output)


class CollectingEvents:
    """Wraps `events`. It has no texts that may be skipped, since all of them are wanted."""

    texts: Texts = None

    __slots__ = ("_events", "_form", "_output")

    def __init__(self, events: Events, output: CollectedOutput, form: OutputForm) -> None:
        self._events = events
        self._output = output
        self._form = form

    @property
    def token(self) -> bool:
        return self._events.token

    @property
    def done(self) -> bool:
        return self._events.done

    @property
    def failed(self) -> bool:
        return self._events.failed

    @property
    def finished(self) -> bool:
        return self._events.finished

    @property
    def model(self) -> str:
        return self._events.model

    @property
    def answer(self) -> AnswerFacts | None:
        return self._events.answer

    @property
    def usage(self) -> Usage | None:
        return self._events.usage

    def take(self, name: bytes, data: bytes) -> bool:
        self._events.take(name, data)
        if not self._output.lost:
            collect(self._form.take, self._output, data)
        return False
