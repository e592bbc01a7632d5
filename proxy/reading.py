"""Readers that follow a copy of an answer while it is relayed, and their choice. `sse` reads streams."""

from collections.abc import Callable
from typing import Protocol

from proxy.dialects.operation import Operation
from proxy.sse import StreamReader
from proxy.unpacking import Unpack, Unpackable, unpackers
from records.outcome import ErrorType, Usage

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
    """Reads nothing: for errors, pass-through answers and unknown encodings. `wrong`: error from the head."""

    __slots__ = ("_wrong", "done", "failed", "first_token_at", "has_event", "usage")

    def __init__(self, *, stream: bool = False, wrong: ErrorType | None = None) -> None:
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.done = self.failed = False
        self.has_event = stream
        self._wrong: ErrorType | None = wrong

    def feed(self, data: bytes, now: float) -> bytes:
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        return b"", self._wrong


class JsonReader:
    """Copies a JSON answer and reads it at its end.

    Of an answer over JSON_BOUND only the last bytes are copied and only the usage is read, which all known
    providers write at the end.
    """

    __slots__ = ("_operation", "_parts", "_size", "done", "failed", "first_token_at", "has_event", "usage")

    def __init__(self, operation: Operation) -> None:
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
            self.usage = usage_at_end(text, self._operation)
            return b"", None
        reading = self._operation.read_json(text)
        self.usage, self.failed = reading.usage, reading.failed
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


Around = Callable[[Reader, bool], Reader]
"""Wraps a reader; the second argument says whether it reads a stream of events."""


def reader_for(
    operation: Operation,
    *,
    status: int,
    content_type: bytes,
    encoding: bytes,
    strip: bool,
    around: Around | None = None,
) -> Reader:
    """Choose the reader for an answer with this head.

    Errors and operations without a model are not read. A redirect counts as `provider_malformed`, because it
    is not a model's answer but leads, for example, to a gateway's login page. `around` wraps the reader, so
    that the wrapper is fed the decompressed bytes.
    """
    if status >= 300 or not operation.canary:
        redirected = operation.canary and status < 400
        return Blind(wrong="provider_malformed" if redirected else None)
    events = operation.events if content_type.startswith(b"text/event-stream") else None
    reader: Reader = JsonReader(operation) if events is None else StreamReader(events(), strip=strip)
    if around is not None:
        reader = around(reader, events is not None)
    if encoding in _PLAIN:
        return reader
    unpacks = unpackers(encoding)
    if unpacks is None:
        return Blind(stream=events is not None)
    for unpack in unpacks:
        reader = Unpacked(reader, unpack)
    return reader
