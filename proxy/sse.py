"""Follows a streamed answer as it is relayed: first token, usage, in-stream errors, its end.

Bytes go out as they came. Only where the proxy itself asked for usage (`strip`), what follows the finishing
event goes out by whole events, so that the extra usage chunk can be dropped.
"""

import re
from collections.abc import Iterator

from proxy.dialects.operation import Events
from proxy.event_template import EventTemplate, form_of
from records.outcome import ErrorType, Usage

EVENT_BOUND = 4 << 20
_MOST_FORMS = 8
"""A stream whose events take ever new forms is not searched for them any longer."""
_EVENT_END = re.compile(rb"\n\r?\n")
"""Lines end in LF or CRLF. The standard's bare CR, which no provider sends, would slow the search 30-fold; it
is part of its line."""
_BEFORE_END = 2
"""So many bytes of an event's end may have come without its last one."""
_CR = ord("\r")
_EMPTY_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class StreamReader:
    """Splits a copy of an SSE stream into events and shows them to the dialect."""

    __slots__ = (
        "_begun",
        "_events",
        "_form",
        "_forms",
        "_holding",
        "_lost",
        "_only_text",
        "_strip",
        "first_token_at",
        "has_event",
    )

    def __init__(self, events: Events, *, strip: bool = False) -> None:
        self.first_token_at: float | None = None
        self.has_event = False
        self._events = events
        self._strip = strip
        self._holding = False
        self._lost = False
        self._only_text = False  # of the last event: it said nothing new but text
        self._begun = bytearray()
        self._form: EventTemplate | None = None
        self._forms = 0

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
        """Take bytes as read at `now`; return what may go out now. Most often they are one whole event."""
        if not self._begun and not self._holding:
            if self._form is not None and self._form.fits(data):
                return data
            line, _, rest = data.partition(b"\n")
            name = b""
            if line[:6] == b"event:":
                name = line[6:].strip()
                line, _, rest = rest.partition(b"\n")
            if line[:6] == b"data: " and (rest == b"\n" or rest == b"\r\n"):
                payload = line[6:] if line[-1] != _CR else line[6:-1]
                if payload:
                    self._show(name, payload, now)
                    self._learn(data)
                    return data
        return self._follow(data, now)

    def finish(self) -> tuple[bytes, ErrorType | None]:
        """The provider ended the stream cleanly: what was held, and what was wrong with it, if anything.

        An event that lacks nothing but the blank line after it is read like any other.
        """
        rest = bytes(self._begun)
        held = rest if self._holding else b""
        self._begun.clear()
        for name, payload, _ in _events(rest + b"\n\n"):
            if payload and not self._take(name, payload, None):
                held = b""
        if self.failed:
            return held, "provider_stream_error"
        if self._lost:
            return held, None
        if not self.has_event:
            return held, "provider_malformed"
        return held, None if self.done else "provider_truncated"

    def _follow(self, data: bytes, now: float) -> bytes:
        """Any bytes. An event's end is looked for where it can be; one that has begun goes on with `data`."""
        before = len(self._begun)
        search_from = max(before - _BEFORE_END, 0)
        if before:
            self._begun += data
            if _EVENT_END.search(self._begun, search_from) is None:
                return self._go_on(data)
            text = bytes(self._begun)
        else:
            text = data
        if self._form is not None and not self._holding:
            end = text.rfind(b"\n\n") + 2
            if self._form.fits(text[:end]) and _CR not in text[end:]:  # it may end an event
                self._begun = bytearray(text[end:])
                return data
        last, start, gone, out = 0, 0, 0 if self._holding else before, []
        for name, payload, end in _events(text):
            if payload and not self._take(name, payload, now):
                out.append(text[gone:start])
                gone = end
            last, start = start, end
        if start:
            self._learn(text[last:start])
        self._begun = bytearray(text[start:])
        if not self._strip:
            return data
        out.append(text[gone : start if self._holding else len(text)])
        return b"".join(out)

    def _go_on(self, data: bytes) -> bytes:
        """No event ends in `data`. One that is too long to keep is not read, nor held."""
        if len(self._begun) <= EVENT_BOUND:
            return b"" if self._holding else data
        out = bytes(self._begun) if self._holding else data
        self._begun.clear()
        self._lost, self._holding, self._strip = True, False, False
        return out

    def _take(self, name: bytes, data: bytes, now: float | None) -> bool:
        """Read one event; False when it is the usage chunk that nobody asked for."""
        if not self._holding:
            self._show(name, data, now)
            return True
        before = self._events.usage
        self._show(name, data, now)
        return self._events.usage is before or _EMPTY_CHOICES.search(data) is None

    def _show(self, name: bytes, data: bytes, now: float | None) -> None:
        self.has_event = True
        events = self._events
        self._only_text = events.take(name, data)
        if self.first_token_at is None and events.token:
            self.first_token_at = now
        if self._strip:
            self._holding = events.finished

    def _learn(self, event: bytes) -> None:
        """The last event: if it changed nothing, nor will any of its form."""
        texts = self._events.texts
        if texts is None or not self._only_text or self._forms >= _MOST_FORMS:
            return
        form = form_of(event, texts)
        if form is not None:
            self._form = form
            self._forms += 1


def _events(text: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """The whole events in a text: `event` name, joined `data`, place of the end (WHATWG HTML, section 9.2.6).
    An empty line that ends nothing is an event without data."""
    lines = text.split(b"\n")
    lines.pop()  # what follows the last line end is no line yet
    end, name = 0, b""
    data: list[bytes] = []
    for line in lines:
        end += len(line) + 1
        if not line or line == b"\r":
            yield name, data[0] if len(data) == 1 else b"\n".join(data), end
            name, data = b"", []
        elif line[:6] == b"data: ":
            data.append(line[6:] if line[-1] != _CR else line[6:-1])
        elif line[:5] == b"data:":
            data.append(line[5:].removesuffix(b"\r"))
        elif line[:6] == b"event:":
            name = line[6:].strip()
