"""Replaces a top-level value in a JSON text and leaves every other byte unchanged. Not a JSON parser.

The caller has already decoded the body, so it is valid JSON and has the key at its top level. If `"key":`
occurs once, its value is replaced directly. Otherwise, for example when a tool's schema has the key too, a
parser gives the length of each top-level value. Scanning the text by its strings and brackets takes twenty
times as long, and is only done for short texts that the parser cannot resolve.
"""

import json
import re
from types import GenericAlias
from typing import Any, NamedTuple

import msgspec

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""Possessive, because an image is a string of megabytes: backtracking would cost seconds, and 144 bytes of
memory per byte."""
_TOKEN = re.compile(_STRING[:-1] + rb'(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
_LABEL = re.compile(rb"\s*+,?\s*+(" + _STRING + rb")\s*+:\s*+", re.DOTALL)
_END = re.compile(rb"\s*+}\s*+\Z")
_SCALAR = re.compile(_STRING + rb'|[^\s,}\]\[{"]+', re.DOTALL)
_PLAIN = re.compile(rb'\s*:\s*("[^"\\]*"|[^\s,}\]\[{"]+)')
MOST_WALKED = 64 * 1024
"""Bytes; scanning so many takes about ten milliseconds."""
MOST_MEMBERS = 1000
_BACKSLASH = ord("\\")


class TooIntricate(ValueError):
    """Finding the key in this text would take too long."""


_Name = type("_Name", (str,), {"__slots__": ()})  # a statement would make a class that mypyc cannot compile
_COUNTED: Any = GenericAlias(dict, (_Name, msgspec.Raw))
"""An object whose members' names are shown to `dec_hook`, each as it is read."""


def members_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level members; of a repeated one the last. Stops at the first beyond MOST_MEMBERS.

    Raises TooIntricate, msgspec.DecodeError, UnicodeDecodeError.
    """
    count = 0

    def counted(kind: type[str], name: str) -> str:
        nonlocal count
        count += 1
        if count > MOST_MEMBERS:
            raise TooIntricate(f"it has more than {MOST_MEMBERS} members")
        return kind(name)

    try:
        found: dict[str, msgspec.Raw] = msgspec.json.decode(body, type=_COUNTED, dec_hook=counted)
    except msgspec.ValidationError as problem:
        if isinstance(problem.__cause__, TooIntricate):
            raise problem.__cause__ from problem
        raise
    return found


class MemberSpan(NamedTuple):
    """A member: its name, and the byte ranges, [start, end), of its name's text and its value."""

    name: str
    name_start: int
    name_end: int
    start: int
    end: int


def replace_value(body: bytes, key: str, value: bytes) -> bytes:
    """Replace the value of every top-level `key`. JSON allows repeated keys; the last one counts.

    May raise TooIntricate.
    """
    for start, end in reversed(value_spans(body, key)):
        body = body[:start] + value + body[end:]
    return body


def insert_first(body: bytes, key: str, value: bytes) -> bytes:
    """Insert `"key":value` as the first member of the top-level object, which must not be empty."""
    after_brace = body.index(b"{") + 1
    return body[:after_brace] + b'"' + key.encode() + b'":' + value + b"," + body[after_brace:]


def value_spans(body: bytes, key: str) -> list[tuple[int, int]]:
    """Return the byte ranges [start, end) of the values of a top-level key. May raise TooIntricate."""
    quoted_key = b'"' + key.encode() + b'"'
    at = body.find(quoted_key)
    once = at > 0 and body[at - 1] != _BACKSLASH and body.find(quoted_key, at + 1) < 0
    if once and b"\\u00" not in body and (plain := _PLAIN.match(body, at + len(quoted_key))):
        return [plain.span(1)]  # the common case
    return [(span.start, span.end) for span in member_spans(body) if span.name == key]


def member_spans(body: bytes) -> list[MemberSpan]:
    """Return every member of the top-level object, in order, repeated or not. May raise TooIntricate."""
    spans = _parsed_spans(body)
    if spans is not None:
        return spans
    if len(body) > MOST_WALKED:
        raise TooIntricate(f"a member is repeated in its {len(body)} bytes")
    return _walked_spans(body)


def _parsed_spans(body: bytes) -> list[MemberSpan] | None:
    """Return the span of every top-level member; None when a name is repeated, which a parser hides."""
    try:
        members = members_of(body)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a name that is not UTF-8
        return None
    spans: list[MemberSpan] = []
    at = body.index(b"{") + 1
    for name, value in members.items():
        label = _LABEL.match(body, at)
        if label is None or not body.startswith(bytes(value), label.end()):
            return None
        at = label.end() + len(value)
        spans.append(MemberSpan(name, label.start(1), label.end(1), label.end(), at))
    return spans if _END.match(body, at) else None


def _walked_spans(body: bytes) -> list[MemberSpan]:
    spans: list[MemberSpan] = []
    at = body.index(b"{") + 1
    while (label := _LABEL.match(body, at)) is not None:
        at = _value_end(body, label.end())
        spans.append(MemberSpan(_decoded(label.group(1)), label.start(1), label.end(1), label.end(), at))
    return spans


def _decoded(quoted: bytes) -> str:
    """Decode a JSON string. The body may contain bytes that are not UTF-8."""
    name: str = json.loads(quoted.decode("utf-8", "replace"))
    return name


def _value_end(body: bytes, start: int) -> int:
    if scalar := _SCALAR.match(body, start):
        return scalar.end()
    depth = 0
    for token in _TOKEN.finditer(body, start):
        if token.group() in (b"{", b"["):
            depth += 1
        elif token.group() in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return token.end()
    raise ValueError("the value does not end: the body is not valid JSON")
