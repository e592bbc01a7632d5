"""Follows a streamed answer as it is relayed: first token, usage, in-stream errors, its end.

Bytes go out as they came. Only where the proxy itself asked for usage (`strip`), what follows the finishing
event goes out by whole events, so that the extra usage chunk can be dropped.
"""

import re

from proxy.dialects.operation import Events
from records.outcome import ErrorType, Usage

EVENT_BOUND = 4 << 20
_EVENT_END = re.compile(rb"\n\r?\n")
"""Lines end in LF or CRLF; the standard's bare CR, which no provider sends, would slow the search 30-fold."""
_BEFORE_END = 2
"""So many bytes of an event's end may have come without its last one."""
_EMPTY_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class StreamReader:
    """Splits a copy of an SSE stream into events and shows them to the dialect."""

    __slots__ = ("_begun", "_events", "_holding", "_lost", "_strip", "first_token_at", "has_event")

    def __init__(self, events: Events, *, strip: bool = False) -> None:
        self.first_token_at: float | None = None
        self.has_event = False
        self._events = events
        self._strip = strip
        self._holding = False
        self._lost = False
        self._begun = bytearray()

    @property
    def usage(self) -> Usage | None:
        return self._events.usage

    @property
    def done(self) -> bool:
        return self._events.done

    @property
    def failed(self) -> bool:
        return self._events.failed

    def feed(self, data: bytes, now: float) -> bytes:
        """Take bytes as read at `now`; return what may go out now.

        Each event's end is looked for where it can be; the event that has begun, if any, goes on with `data`.
        """
        before = len(self._begun)
        search_from = max(before - _BEFORE_END, 0)
        if before:
            self._begun += data
            if _EVENT_END.search(self._begun, search_from) is None:
                return self._go_on(data)
            text = bytes(self._begun)
        else:
            text = data
        start, gone, out = 0, 0 if self._holding else before, []
        for boundary in _EVENT_END.finditer(text, search_from):
            end = boundary.end()
            if not self._take(text[start:end], now):
                out.append(text[gone:start])
                gone = end
            start = end
        self._begun = bytearray(text[start:])
        if not self._strip:
            return data
        out.append(text[gone : start if self._holding else len(text)])
        return b"".join(out)

    def finish(self) -> tuple[bytes, ErrorType | None]:
        """The provider ended the stream cleanly: what was held, and what was wrong with it, if anything.

        An event that lacks nothing but the blank line after it is read like any other.
        """
        rest, holding = bytes(self._begun), self._holding
        self._begun.clear()
        wanted = self._take(rest, None)
        held = rest if holding and wanted else b""
        if self.failed:
            return held, "provider_stream_error"
        if self._lost:
            return held, None
        if not self.has_event:
            return held, "provider_malformed"
        return held, None if self.done else "provider_truncated"

    def _go_on(self, data: bytes) -> bytes:
        """No event ends in `data`. One that is too long to keep is not read, nor held."""
        if len(self._begun) <= EVENT_BOUND:
            return b"" if self._holding else data
        out = bytes(self._begun) if self._holding else data
        self._begun.clear()
        self._lost, self._holding, self._strip = True, False, False
        return out

    def _take(self, event: bytes, now: float | None) -> bool:
        """Read one event; False when it is the usage chunk that nobody asked for."""
        name, data = _fields(event)
        if not data:
            return True
        self.has_event = True
        before = self._events.usage
        self._events.take(name, data)
        if self.first_token_at is None and self._events.token:
            self.first_token_at = now
        extra = self._holding and self.usage is not before and _EMPTY_CHOICES.search(data) is not None
        self._holding = self._strip and self._events.finished
        return not extra


def _fields(event: bytes) -> tuple[bytes, bytes]:
    """The `event` name and the joined `data` of one SSE event (WHATWG HTML, section 9.2.6)."""
    name, data = b"", []
    for line in event.splitlines():
        if line.startswith(b"data:"):
            data.append(line[6:] if line[5:6] == b" " else line[5:])
        elif line.startswith(b"event:"):
            name = line[6:].strip()
    return name, b"\n".join(data)
