"""Reads a copy of an answer while it is relayed: which reader it gets, and the plain ones. Streams: `sse`."""

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
        """The answer is whole as far as its reader can use it, whatever the connection does next."""
        ...

    @property
    def has_event(self) -> bool:
        """A first complete event has come (streams), or none will ever be seen."""
        ...

    @property
    def failed(self) -> bool:
        """The provider reported an error inside its answer."""
        ...

    def feed(self, data: bytes, now: float) -> bytes:
        """Take bytes as read; return what may go out now."""
        ...

    def finish(self) -> tuple[bytes, ErrorType | None]:
        """The provider's clean end: what is still to go out, and what was wrong with the answer, if any."""
        ...


class Blind:
    """Reads nothing: errors, pass-through answers, encodings we do not know. `wrong`: what its head says."""

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
    """Keeps a bounded copy of a JSON answer and reads it once, at its end. Of one beyond the bound only the
    end is kept, and only its usage is read there: where all known providers write it."""

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
    """The usage in the end of a JSON answer whose beginning is not known; None where it does not stand there.

    No text that a model says, and no member of an inner object, passes for it. A quote after one of
    `_BEFORE_A_KEY` is not escaped, and letters follow it, so a string begins there; and from a key to the end
    of the answer, with a `{` before it, is a JSON object only for a member of the answer itself.
    """
    text = tail.rstrip().removesuffix(b"]")  # of an array of answers, the last one
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
    """Shows a reader the unpacked copy of an answer; what goes out stays packed.

    The reading ends, with its usage unknown and nothing to complain of, where the bytes are `Unpackable`.
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
"""Takes a reader, and whether it reads a stream of events."""


def reader_for(
    operation: Operation,
    *,
    status: int,
    content_type: bytes,
    encoding: bytes,
    strip: bool,
    around: Around | None = None,
) -> Reader:
    """The reader for an answer with this head; errors and operations that carry no model are not read. A
    redirect is no answer of a model: it leads to a gateway's page for logging in, say.

    `around` puts another one around it, which is fed the answer's unpacked bytes.
    """
    if status >= 300 or not operation.canary:
        moved = operation.canary and status < 400
        return Blind(wrong="provider_malformed" if moved else None)
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
