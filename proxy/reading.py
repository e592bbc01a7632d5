"""Reads a copy of an answer while it is relayed: which reader it gets, and the plain ones. Streams: `sse`."""

import zlib
from typing import Protocol

from proxy.dialects.operation import Operation
from proxy.sse import StreamReader
from records.outcome import ErrorType, Usage

JSON_BOUND = 4 << 20
_PLAIN = (b"", b"identity")
_ZLIB_BITS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


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
    """Reads nothing: errors, pass-through answers, encodings we do not know."""

    __slots__ = ("done", "failed", "first_token_at", "has_event", "usage")

    def __init__(self, *, stream: bool = False) -> None:
        self.usage: Usage | None = None
        self.first_token_at: float | None = None
        self.done = self.failed = False
        self.has_event = stream

    def feed(self, data: bytes, now: float) -> bytes:
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        return b"", None


class JsonReader:
    """Keeps a bounded copy of a JSON answer and reads it once, at its end."""

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
        if self._size <= JSON_BOUND:
            self._parts.append(data)
        else:
            self._parts.clear()
        return data

    def finish(self) -> tuple[bytes, ErrorType | None]:
        self.done = True
        if self._size > JSON_BOUND or self._operation.read_json is None:
            return b"", None
        reading = self._operation.read_json(b"".join(self._parts))
        self.usage, self.failed = reading.usage, reading.failed
        if not reading.valid:
            return b"", "provider_malformed"
        return b"", "provider_stream_error" if reading.failed else None


class Unzipped:
    """Shows a reader the decompressed copy of an answer; what goes out stays compressed.

    The reading ends, with its usage unknown and nothing to complain of, at a chunk that inflates beyond the
    bound, at bytes that do not inflate, and at bytes after the compressed end.
    """

    __slots__ = ("_inflate", "_lost", "_reader")

    def __init__(self, reader: Reader, bits: int) -> None:
        self._reader = reader
        self._inflate = zlib.decompressobj(bits)
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
            plain = self._inflate.decompress(data, JSON_BOUND)
        except zlib.error:
            self._lost = True
            return
        self._reader.feed(plain, now)
        self._lost = bool(self._inflate.unconsumed_tail or self._inflate.unused_data)


def reader_for(
    operation: Operation, *, status: int, content_type: bytes, encoding: bytes, strip: bool
) -> Reader:
    """The reader for an answer with this head; errors and operations that carry no model are not read."""
    if status >= 300 or not operation.canary:
        return Blind()
    events = operation.events if content_type.startswith(b"text/event-stream") else None
    bits = _ZLIB_BITS.get(encoding)
    if bits is None and encoding not in _PLAIN:
        return Blind(stream=events is not None)
    reader: Reader = JsonReader(operation) if events is None else StreamReader(events(), strip=strip)
    return reader if bits is None else Unzipped(reader, bits)
