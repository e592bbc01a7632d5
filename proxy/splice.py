"""Replaces a top-level value in a JSON text and leaves every other byte unchanged. Not a JSON parser.

The caller has already decoded the body, so it is valid JSON and has the key at its top level. If `"key":`
occurs once, its value is replaced directly. Otherwise, for example when a tool's schema has the key too, a
parser gives the length of each top-level value. Scanning the text by its strings and brackets takes twenty
times as long, and is only done for short texts that the parser cannot resolve.
"""

import json
import re

import msgspec

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""Possessive, because an image is a string of megabytes: backtracking would cost seconds, and 144 bytes of
memory per byte."""
_TOKEN = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_MEMBER = re.compile(rb"\s*+,?\s*+" + _STRING + rb"\s*+:\s*+", re.DOTALL)
_END = re.compile(rb"\s*+}\s*+\Z")
_COLON = re.compile(rb"\s*:\s*")
_SCALAR = re.compile(_STRING + rb'|[^\s,}\]\[{"]+', re.DOTALL)
_PLAIN = re.compile(rb'\s*:\s*("[^"\\]*"|[^\s,}\]\[{"]+)')
MOST_WALKED = 64 * 1024
"""Bytes; scanning so many takes about ten milliseconds."""
MOST_MEMBERS = 1000
_BACKSLASH = ord("\\")

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class TooIntricate(ValueError):
    """Finding the key in this text would take too long."""


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
    return _spans_at_top(body, key)


def _spans_at_top(body: bytes, key: str) -> list[tuple[int, int]]:
    spans = _parsed_spans(body)
    if spans is not None:
        return [spans[key]] if key in spans else []
    if len(body) > MOST_WALKED:
        raise TooIntricate(f"a member is repeated in its {len(body)} bytes")
    return [(start, _value_end(body, start)) for start in _walked_starts(body, key)]


def _parsed_spans(body: bytes) -> dict[str, tuple[int, int]] | None:
    """Return the span of every top-level value; None when a key is repeated, which a parser hides."""
    try:
        members = _decode_members(body)
    except (msgspec.DecodeError, UnicodeDecodeError):  # a name that is not UTF-8
        return None
    if len(members) > MOST_MEMBERS:
        raise TooIntricate(f"it has {len(members)} members")
    spans, at = {}, body.index(b"{") + 1
    for name, value in members.items():
        label = _MEMBER.match(body, at)
        if label is None or body[label.end() : label.end() + len(value)] != bytes(value):
            return None
        at = label.end() + len(value)
        spans[name] = (label.end(), at)
    return spans if _END.match(body, at) else None


def _walked_starts(body: bytes, key: str) -> list[int]:
    depth, starts = 0, []
    for token in _TOKEN.finditer(body):
        text = token.group()
        if text in (b"{", b"["):
            depth += 1
        elif text in (b"}", b"]"):
            depth -= 1
        elif depth == 1 and (colon := _COLON.match(body, token.end())) and _spells(text, key):
            starts.append(colon.end())
    return starts


def _spells(text: bytes, key: str) -> bool:
    """True when the JSON string `text` decodes to the key. The body may contain bytes that are not UTF-8."""
    decoded: str = json.loads(text.decode("utf-8", "replace"))
    return decoded == key


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
