"""Follows a streamed answer while it is relayed: first token, usage, in-stream errors, end.

Bytes go out unchanged. If the proxy asked for usage itself (`strip`), bytes after the finishing event go out
in whole events, so that the extra usage chunk can be dropped.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from proxy.dialects.operation import EventReader
from records.outcome import ErrorType

MOST_TEXTS = 2
_QUOTE, _BACKSLASH, _LINE_END = b'"\\\n'


class EventTemplate(NamedTuple):
    """Recognises, by bytes alone, an event that differs from an earlier one only in the model's text.

    Most events of a stream do, and decoding each would cost twice as much as all other work per event.
    These are their constant bytes: those before, between and after their one or two texts.
    """

    head: bytes
    middle: bytes
    tail: bytes

    def fits(self, events: bytes) -> bool:
        """True when `events` is one or more events that equal the template except for their texts.

        A text has no quote or backslash, so it ends where the template expects, and no line end, so the event
        does too. Bytes that are not valid JSON may match; such an event would change nothing either.
        """
        head, middle, tail = self
        if events[: len(head)] != head or events[-len(tail) :] != tail or len(events) < len(head) + len(tail):
            return False
        texts = events[len(head) : -len(tail)]
        if middle:
            by_event = texts.split(tail + head)
            if any(pair.count(middle) != 1 for pair in by_event):
                return False
            texts = b"".join(by_event).replace(middle, b"")
        elif _LINE_END in texts:
            texts = texts.replace(tail + head, b"")
        return _QUOTE not in texts and _BACKSLASH not in texts and _LINE_END not in texts


def template_of(event: bytes, texts: re.Pattern[bytes]) -> EventTemplate | None:
    """Derive the template of a JSON event; None when it has no text, more than two, or a backslash.

    Without a backslash every quote begins or ends a string.
    """
    if _BACKSLASH in event:
        return None
    spans = [match.span(1) for match in texts.finditer(event)]
    if not 1 <= len(spans) <= MOST_TEXTS:
        return None
    (start, first_end), (last_start, end) = spans[0], spans[-1]
    return EventTemplate(event[:start], event[first_end:last_start] if len(spans) > 1 else b"", event[end:])


EVENT_BOUND = 4 << 20
ERROR_BOUND = 16 << 10
"""Bytes of an error that are kept for the provider's words."""
_MOST_TEMPLATES = 8
"""After so many templates, a stream's events are too varied to learn more."""
_EVENT_END = re.compile(rb"\n\r?\n")
"""Lines end in LF or CRLF. A bare CR, which the standard allows and no provider sends, would make the search
30 times slower, so it counts as part of its line."""
_BEFORE_END = 2
"""Bytes of an event's end that may have arrived before its last byte."""
_CR = ord("\r")
_EMPTY_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


class SseReader:
    """Splits a copy of an SSE stream into events and feeds them to the dialect."""

    __slots__ = (
        "_begun",
        "_events",
        "_holding",
        "_lost",
        "_only_text",
        "_strip",
        "_template",
        "_templates",
        "seen",
    )

    def __init__(self, events: EventReader, *, strip: bool = False) -> None:
        self.seen = events.seen
        self._events = events
        self._strip = strip
        self._holding = False
        self._lost = False
        self._only_text = False  # the last event had only text
        self._begun = bytearray()
        self._template: EventTemplate | None = None
        self._templates = 0

    def feed(self, data: bytes, now: float) -> bytes:
        """Take bytes read at `now` and return the bytes that may go out now. Usually they are one event."""
        if not self._begun and not self._holding:
            if self._template is not None and self._template.fits(data):
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
        """End the stream cleanly; return the held bytes and the stream's error, if any.

        A last event without its blank line counts like any other.
        """
        rest = bytes(self._begun)
        held = rest if self._holding else b""
        self._begun.clear()
        for name, payload, _ in _events(rest + b"\n\n"):
            if payload and not self._take(name, payload, None):
                held = b""
        seen = self.seen
        if seen.failed:
            return held, "provider_stream_error"
        if self._lost:
            return held, None
        if not seen.has_event:
            return held, "provider_malformed"
        return held, None if seen.done else "provider_truncated"

    def _follow(self, data: bytes, now: float) -> bytes:
        """Take any bytes. They continue the event that has begun, if there is one."""
        before = len(self._begun)
        search_from = max(before - _BEFORE_END, 0)
        if before:
            self._begun += data
            if _EVENT_END.search(self._begun, search_from) is None:
                return self._go_on(data)
            text = bytes(self._begun)
        else:
            text = data
        if self._template is not None and not self._holding:
            end = text.rfind(b"\n\n") + 2
            if self._template.fits(text[:end]) and _CR not in text[end:]:  # it may end an event
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
        """Continue an event that does not end in `data`; beyond EVENT_BOUND it is neither read nor held."""
        if len(self._begun) <= EVENT_BOUND:
            return b"" if self._holding else data
        out = bytes(self._begun) if self._holding else data
        self._begun.clear()
        self._lost, self._holding, self._strip = True, False, False
        return out

    def _take(self, name: bytes, data: bytes, now: float | None) -> bool:
        """Read one event. False when it is the usage chunk that the caller did not ask for."""
        if not self._holding:
            self._show(name, data, now)
            return True
        before = self.seen.usage
        self._show(name, data, now)
        return self.seen.usage is before or _EMPTY_CHOICES.search(data) is None

    def _show(self, name: bytes, data: bytes, now: float | None) -> None:
        seen = self.seen
        seen.has_event = True
        self._only_text = self._events.take(name, data)
        if seen.failed and not seen.error:
            seen.error = data[:ERROR_BOUND]
        if seen.first_token_at is None and seen.token:
            seen.first_token_at = now
        if self._strip:
            self._holding = seen.finished

    def _learn(self, event: bytes) -> None:
        """Learn the template of the last event if that event changed nothing but text."""
        texts = self._events.texts
        if texts is None or not self._only_text or self._templates >= _MOST_TEMPLATES:
            return
        template = template_of(event, texts)
        if template is not None:
            self._template = template
            self._templates += 1


def _events(text: bytes) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield the complete events in a text: name, joined data, end offset (WHATWG HTML, section 9.2.6).

    An empty line without an event before it yields an event without data.
    """
    lines = text.split(b"\n")
    lines.pop()  # the rest is an incomplete line
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
