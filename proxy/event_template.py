"""Knows by its bytes alone an event that differs from one before it only in what the model says.

Most events of a stream are such, and to decode each would cost twice what all else does here.
"""

import re
from typing import NamedTuple

MOST_TEXTS = 2
_QUOTE, _BACKSLASH, _LINE_END = b'"\\\n'


class EventTemplate(NamedTuple):
    """What is the same in such events: all that stands around their texts, of which there are one or two."""

    head: bytes
    middle: bytes
    tail: bytes

    def fits(self, events: bytes) -> bool:
        """True for one event or several, each the same JSON but for its texts (or no JSON, which says nothing
        either).

        The texts have no quote or backslash, so they end where they ended; no line end, so nor does an event.
        """
        head, middle, tail = self
        if events[: len(head)] != head or events[-len(tail) :] != tail or len(events) < len(head) + len(tail):
            return False
        said = events[len(head) : -len(tail)]
        if middle:
            each = said.split(tail + head)
            if any(texts.count(middle) != 1 for texts in each):
                return False
            said = b"".join(each).replace(middle, b"")
        elif _LINE_END in said:
            said = said.replace(tail + head, b"")
        return _QUOTE not in said and _BACKSLASH not in said and _LINE_END not in said


def text_members(*names: str) -> re.Pattern[bytes]:
    """Finds members of these names whose value is a string of simple characters; its group is the text."""
    return re.compile(b'"(?:%s)": ?"([^"\\\\\n]*)"' % "|".join(names).encode())


def form_of(event: bytes, texts: re.Pattern[bytes]) -> EventTemplate | None:
    """The form of an event that is JSON; None where there is a backslash (so each quote begins or ends a
    string), or no text or too many."""
    places = [place.span(1) for place in texts.finditer(event)]
    if _BACKSLASH in event or not 1 <= len(places) <= MOST_TEXTS:
        return None
    (start, first_end), (last_start, end) = places[0], places[-1]
    return EventTemplate(event[:start], event[first_end:last_start] if len(places) > 1 else b"", event[end:])
