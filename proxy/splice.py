"""Replaces a top-level value in a JSON text and leaves every other byte alone. Not a JSON parser.

The caller has decoded the body before, so it is valid JSON, and the key stands at its top level. Where
`"key":` stands at most once in the text, nothing else is looked at; otherwise (the key stands in a tool's
schema too, say) the text is walked by its strings and brackets.
"""

import json
import re

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
"""Possessive, for an image is megabytes of one string: being able to go back costs 144 bytes for each of its
bytes, and seconds."""
_TOKEN = re.compile(_STRING + rb"|[{}\[\]]", re.DOTALL)
_COLON = re.compile(rb"\s*:\s*")
_SCALAR = re.compile(_STRING + rb'|[^\s,}\]\[{"]+', re.DOTALL)
_PLAIN = re.compile(rb'\s*:\s*("[^"\\]*"|[^\s,}\]\[{"]+)')
_BACKSLASH = ord("\\")
_ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")
"""Only so could the key be spelt in another way than by its own letters."""


def replace_value(body: bytes, key: str, value: bytes) -> bytes:
    """The body with the value of each top-level `key` replaced (JSON allows repeats; the last one counts)."""
    for start, end in reversed(value_spans(body, key)):
        body = body[:start] + value + body[end:]
    return body


def insert_first(body: bytes, key: str, value: bytes) -> bytes:
    """The body with `"key":value` as the first member of its top-level, non-empty object."""
    after_brace = body.index(b"{") + 1
    return body[:after_brace] + b'"' + key.encode() + b'":' + value + b"," + body[after_brace:]


def value_spans(body: bytes, key: str) -> list[tuple[int, int]]:
    """Byte ranges [start, end) of the values of a top-level key."""
    quoted_key = b'"' + key.encode() + b'"'
    at = body.find(quoted_key)
    once = at > 0 and body[at - 1] != _BACKSLASH and body.find(quoted_key, at + 1) < 0
    if once and b"\\u00" not in body and (plain := _PLAIN.match(body, at + len(quoted_key))):
        return [plain.span(1)]  # as nearly every body has it
    starts = _starts_anywhere(body, quoted_key)
    if len(starts) > 1 or (b"\\u00" in body and _ESCAPED_LETTER.search(body)):
        starts = _starts_at_top(body, key)
    return [(start, _value_end(body, start)) for start in starts]


def _starts_anywhere(body: bytes, quoted_key: bytes) -> list[int]:
    """Where the values of a key stand that is spelt by its own letters, at whatever depth."""
    starts, at = [], body.find(quoted_key)
    while at >= 0:
        colon = _COLON.match(body, at + len(quoted_key))
        # A quote that a backslash escapes is text inside a string, not the start of a key.
        if colon and body[at - 1 : at] != b"\\":
            starts.append(colon.end())
        at = body.find(quoted_key, at + 1)
    return starts


def _starts_at_top(body: bytes, key: str) -> list[int]:
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
    """True when a JSON string's text means the key. Not every byte of a body needs to be UTF-8."""
    spelt: str = json.loads(text.decode("utf-8", "replace"))
    return spelt == key


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
