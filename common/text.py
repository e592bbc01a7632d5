"""Text from callers, providers and models, made safe for terminals, pages, files and spreadsheets. Pure.

A terminal obeys C0 and C1 control characters (ECMA-48: ESC, and U+009B alone begins a command), and
bidirectional controls (UAX 9) make text read as what it is not. Both are shown as JSON writes them,
`\\u009b`, so that JSON keeps its meaning.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""msgspec's errors for bytes that are not UTF-8, not of the expected shape, or nested too deeply."""

_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]|\r(?!\n)"
)
_MARKUP = re.compile(r"(<textarea\b[^<]*</textarea>|<[^<>]*>)", re.IGNORECASE)
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""The beginning of a cell that a spreadsheet may run (OWASP, CSV injection), behind apostrophes or not."""


def readable(decode: Callable[[bytes], T], data: bytes) -> T | None:
    """What a decoder makes of these bytes; None where they are of another shape."""
    try:
        return decode(data)
    except UNREADABLE:
        return None


def visible(text: str) -> str:
    """Write out control characters but tabs and line ends, and bidirectional controls."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def visible_document(value: Any) -> Any:
    """A JSON document with every text `visible`."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(name): visible_document(each) for name, each in value.items()}
    return [visible_document(each) for each in value] if isinstance(value, list | tuple) else value


def visible_page(html: str) -> str:
    """An HTML page whose shown text is `visible`. What its forms send back stays as it is."""
    if not _UNSEEN.search(html):
        return html
    parts = _MARKUP.split(html)
    return "".join([part if place % 2 else visible(part) for place, part in enumerate(parts)])


def cell(text: str) -> str:
    """The text as a cell of a CSV: an apostrophe stands before what a spreadsheet would run as a formula."""
    if text[:1].isalnum() and text.isascii() and text.isprintable():
        return text  # most cells
    shown = visible(text)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def from_cell(text: str) -> str:
    """The text of a cell that `cell` or a spreadsheet's user has written."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
