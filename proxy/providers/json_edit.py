"""Changes a request's JSON and leaves every other byte as it came: nothing is serialised anew.

The caller has already decoded the body, so it is valid JSON. For one top-level value: if `"key":` occurs
once, its value is replaced directly. Otherwise, for example when a tool's schema has the key too, a parser
gives the length of each top-level value. Scanning the text by its strings and brackets takes twenty times as
long, and is only done for short texts that the parser cannot resolve.

For the changes of an arm's `request:` (`adapted`): only the objects with changes are cut into their members.
Of a member that stands twice there, the last stays, which is the one that counts.
"""

import json
import re
from types import GenericAlias
from typing import Any, NamedTuple

import msgspec

from routing.canary import RequestChanges

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


class TooIntricateJson(ValueError):
    """Finding the key in this text would take too long."""


_Name = type("_Name", (str,), {"__slots__": ()})  # a statement would make a class that mypyc cannot compile
_COUNTED: Any = GenericAlias(dict, (_Name, msgspec.Raw))
"""An object whose members' names are shown to `dec_hook`, each as it is read."""


def members_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The top-level members; of a repeated one the last. Stops at the first beyond MOST_MEMBERS.

    Raises TooIntricateJson, msgspec.DecodeError, UnicodeDecodeError.
    """
    count = 0

    def counted(kind: type[str], name: str) -> str:
        nonlocal count
        count += 1
        if count > MOST_MEMBERS:
            raise TooIntricateJson(f"it has more than {MOST_MEMBERS} members")
        return kind(name)

    try:
        found: dict[str, msgspec.Raw] = msgspec.json.decode(body, type=_COUNTED, dec_hook=counted)
    except msgspec.ValidationError as problem:
        if isinstance(problem.__cause__, TooIntricateJson):
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

    May raise TooIntricateJson.
    """
    for start, end in reversed(value_spans(body, key)):
        body = body[:start] + value + body[end:]
    return body


def insert_first(body: bytes, key: str, value: bytes) -> bytes:
    """Insert `"key":value` as the first member of the top-level object, which must not be empty."""
    after_brace = body.index(b"{") + 1
    return body[:after_brace] + b'"' + key.encode() + b'":' + value + b"," + body[after_brace:]


def value_spans(body: bytes, key: str) -> list[tuple[int, int]]:
    """Return the byte ranges [start, end) of the values of a top-level key. May raise TooIntricateJson."""
    quoted_key = b'"' + key.encode() + b'"'
    at = body.find(quoted_key)
    once = at > 0 and body[at - 1] != _BACKSLASH and body.find(quoted_key, at + 1) < 0
    if once and b"\\u00" not in body and (plain := _PLAIN.match(body, at + len(quoted_key))):
        return [plain.span(1)]  # the common case
    return [(span.start, span.end) for span in member_spans(body) if span.name == key]


def member_spans(body: bytes) -> list[MemberSpan]:
    """Return every member of the top-level object, in order, repeated or not. May raise TooIntricateJson."""
    spans = _parsed_spans(body)
    if spans is not None:
        return spans
    if len(body) > MOST_WALKED:
        raise TooIntricateJson(f"a member is repeated in its {len(body)} bytes")
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


_Text = bytes | memoryview


def adapted(body: bytes, changes: RequestChanges) -> bytes | None:
    """Return the JSON object `body` with the changes, in the order rename, remove, set, default.

    None when they change nothing, and when they cannot be made: what a dot leads into is not an object, or
    finding the members would take too long.
    """
    try:
        request = _Members(body)
        for name, new_name in changes.rename:
            _rename(request, name, new_name)
        for name in changes.remove:
            _take(request, name)
        for name, value in changes.set:
            _put(request, name, value.encode(), replace=True)
        for name, value in changes.default:
            _put(request, name, value.encode(), replace=False)
    except (_NotAnObject, TooIntricateJson):
        return None
    result = b"".join(request.pieces())
    return result if result != body else None


class _NotAnObject(ValueError):
    """A dot leads into a value that has no members."""


class _Member:
    """One member, with the white space in it. `members` are those of its value once the value was opened."""

    def __init__(self, name: _Text, value: _Text) -> None:
        self.before: _Text = b""
        self.name = name
        self.colon: _Text = b":"
        self.value = value
        self.after: _Text = b""
        self.members: _Members | None = None

    @property
    def is_object(self) -> bool:
        return self.members is not None or self.value[:1] == b"{"

    def opened(self) -> "_Members":
        """Return the members of the value. Raises _NotAnObject, TooIntricateJson."""
        if self.members is None:
            if not self.is_object:
                raise _NotAnObject
            self.members = _Members(bytes(self.value))
        return self.members

    def value_pieces(self) -> list[_Text]:
        return self.members.pieces() if self.members is not None else [self.value]


class _Members:
    """An object's members, by name. Raises TooIntricateJson."""

    def __init__(self, text: bytes) -> None:
        view, begin, spans = memoryview(text), text.index(b"{") + 1, member_spans(text)
        self._before = view[:begin]
        self._by_name: dict[str, _Member] = {}
        for number, span in enumerate(spans, start=1):
            end = span.end if number == len(spans) else text.index(b",", span.end)
            self._by_name.pop(span.name, None)  # the last one stays where it stands
            self._by_name[span.name] = _cut(view, begin, span, end)
            begin = end + 1
        self._after = view[spans[-1].end if spans else begin :]

    def get(self, name: str) -> _Member | None:
        return self._by_name.get(name)

    def remove(self, name: str) -> None:
        del self._by_name[name]

    def add(self, name: str, value: bytes) -> _Member:
        member = self._by_name[name] = _Member(msgspec.json.encode(name), value)
        return member

    def rename(self, name: str, new_name: str) -> None:
        """Rename a member where it stands. Where there is one of the new name, that one stays alone."""
        if name not in self._by_name or name == new_name:
            return
        if new_name in self._by_name:
            self.remove(name)
            return
        self._by_name[name].name = msgspec.json.encode(new_name)
        self._by_name = {new_name if each == name else each: one for each, one in self._by_name.items()}

    def pieces(self) -> list[_Text]:
        """The text with all changes."""
        inside: list[_Text] = []
        for one in self._by_name.values():
            inside += (b",", one.before, one.name, one.colon, *one.value_pieces(), one.after)
        return [self._before, *inside[1:], self._after]


def _cut(text: memoryview, begin: int, span: MemberSpan, end: int) -> _Member:
    member = _Member(text[span.name_start : span.name_end], text[span.start : span.end])
    member.before = text[begin : span.name_start]
    member.colon = text[span.name_end : span.start]
    member.after = text[span.end : end]
    return member


def _rename(request: _Members, name: str, new_name: str) -> None:
    """Rename a member, or move it to another level."""
    (outer, last), (new_outer, new_last) = _split(name), _split(new_name)
    if outer != new_outer:
        if (value := _take(request, name)) is not None:
            _put(request, new_name, value, replace=False)
    elif (level := _level(request, outer)) is not None:
        level.rename(last, new_last)


def _take(request: _Members, name: str) -> bytes | None:
    """Remove a member and return its value; None when there is no such member."""
    outer, last = _split(name)
    level = _level(request, outer)
    if level is None or (member := level.get(last)) is None:
        return None
    level.remove(last)
    return b"".join(member.value_pieces())


def _put(request: _Members, name: str, value: bytes, *, replace: bool) -> None:
    """Add a member, or with `replace` give it this value. Makes its outer object where that is missing."""
    outer, last = _split(name)
    level = (request.get(outer) or request.add(outer, b"{}")).opened() if outer else request
    if (member := level.get(last)) is None:
        level.add(last, value)
    elif replace:
        member.value, member.members = value, None


def _level(request: _Members, outer: str) -> _Members | None:
    """The object of this name, or for "" the request; None when there is none."""
    if not outer:
        return request
    member = request.get(outer)
    return member.opened() if member is not None and member.is_object else None


def _split(name: str) -> tuple[str, str]:
    """A member's outer object, "" at the top, and its name there."""
    outer, _, last = name.rpartition(".")
    return outer, last
