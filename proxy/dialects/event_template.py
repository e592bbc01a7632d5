"""Recognises, by bytes alone, a stream event that differs from an earlier event only in the model's text.

Most events of a stream do, and decoding each of them would cost twice as much as all other work per event.
"""

import re
from typing import NamedTuple

MOST_TEXTS = 2
_QUOTE, _BACKSLASH, _LINE_END = b'"\\\n'


class EventTemplate(NamedTuple):
    """The constant bytes of such events: those before, between and after their one or two texts."""

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


def text_members(*names: str) -> re.Pattern[bytes]:
    """Match members with these names whose value is a string without escapes; group 1 is the text."""
    return re.compile(b'"(?:%s)": ?"([^"\\\\\n]*)"' % "|".join(names).encode())


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
