"""Puts an arm's own prompt and tool descriptions in place of the caller's, in a request's JSON.

`find` is replaced wherever it stands in the text of the system, developer, `instructions` or
`systemInstruction`, and in a completion's `prompt`, however its characters are escaped there. All other bytes
stay. The shape of the body tells the API:

    system, instructions, system_instruction, systemInstruction   a text, parts, or an object with `parts`
    messages, input       of role system or developer: `content`, a text or parts
    prompt                a text or a list of texts; an object names a stored prompt

Of a member that stands twice the last counts. The body is valid JSON, since its facts were read.

Most requests have the system text of the one before, or `find` once, written as most libraries write it. Then
two regular expressions tell what stands around, and nothing is parsed. Every other request is cut into its
parts.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from common.text import UNREADABLE
from proxy.providers.json_edit import MemberSpan, TooIntricateJson, member_spans
from routing.canary import Arm

Span = tuple[int, int]
"""The bytes [start, end) of a body."""

_SYSTEM = ("system", "instructions", "system_instruction", "systemInstruction")
_ROWS = ("messages", "input")
_ROLES = ("system", "developer")
_MOST_OBJECTS, _MOST_READ = 500_000, 20_000
"""Objects of one list, which are read in thirty milliseconds; and those that are cut into their members, in a
tenth of a second. A body with more goes as it came."""
_GROUPS = ("functionDeclarations", "function_declarations", "tools")
_INNER = ("function", "custom", "toolSpec")
_DEEPEST_GROUP = 4


class ArmTexts:
    """An arm's texts: `put` in place of `find`, "" for no prompt of its own, and the tools' descriptions."""

    def __init__(self, find: str = "", put: str = "", tools: Mapping[str, str] | None = None) -> None:
        self.find, self.put, self.tools = find, put, dict(tools or {})
        self._needle, self._put = _quoted(find)[1:-1], _quoted(put)[1:-1]
        self._anchor = self._needle[:_ANCHOR_BYTES]
        self._tools = {name: _quoted(text) for name, text in self.tools.items()}
        self._last: tuple[bytes, list[Span]] | None = None

    def places(self, body: bytes) -> list[Span]:
        """Where `find` stands in this body's system texts; empty where it does not."""
        if not self.find:
            return []
        if self._last is not None and (found := self._again(body, *self._last)):
            return found
        if found := self._at_first_sight(body):
            return found
        try:
            texts = _Request(body).system_texts()
            having = [(text, places) for text in texts if (places := self._places_in(body, text))]
        except (*UNREADABLE, TooIntricateJson):
            return []
        if len(having) == 1:
            (start, end), places = having[0]
            self._last = body[start:end], [(first - start, last - start) for first, last in places]
        return [place for _, places in having for place in places]

    def _places_in(self, body: bytes, text: Span) -> list[Span]:
        return list(_places_in(body, text, self.find, self._needle))

    def _again(self, body: bytes, text: bytes, places: list[Span]) -> list[Span]:
        """The places if the body has the system text of the last one, as most have; else none."""
        start = body.find(text[:_ANCHOR_BYTES])
        if start < 0 or not body.startswith(text, start):
            return []
        if not self._is_alone(body, start, start + len(text)):
            return []
        return [(first + start, last + start) for first, last in places]

    def _at_first_sight(self, body: bytes) -> list[Span]:
        """The only place, if a look at what is around it is enough; else none."""
        needle, first = self._needle, body.find(self._anchor)
        last = first + len(needle)
        if first < 0 or not body.startswith(needle, first):
            return []
        start, end = body.rfind(b'"', 0, first), body.find(b'"', last) + 1
        if start < 0 or _has_other_escapes(body, start, first) or _has_other_escapes(body, last, end):
            return []
        if body[start - 1] == _BACKSLASH or body[end - 2] == _BACKSLASH or not _begins(body, start, first):
            return []
        if body.find(self._anchor, last, end) >= 0 or not self._is_alone(body, start, end):
            return []
        return [(first, last)]

    def _is_alone(self, body: bytes, start: int, end: int) -> bool:
        """True if the JSON string here is a system text, and the text stands nowhere else: nothing around is
        written in another way than the shortest."""
        if start > _NEAR or len(body) - end > _NEAR or (tail := _tail_behind(body[: start + 1])) is None:
            return False
        if body.find(self._anchor, 0, start) >= 0 or body.find(self._anchor, end) >= 0:
            return False
        return not _has_other_escapes(body, end, len(body)) and tail.fullmatch(body, end) is not None

    def edited(self, body: bytes, places: list[Span]) -> bytes | None:
        """The body with the prompt at these places, and the tools' descriptions; None where it stays."""
        if len(places) == 1 and not self._tools:  # most requests
            start, end = places[0]
            return b"".join((body[:start], self._put, body[end:]))
        edits = sorted([*((start, end, self._put) for start, end in places), *self._described(body)])
        if not edits:
            return None
        pieces, at = list[bytes](), 0
        for start, end, text in edits:
            pieces += (body[at:start], text)
            at = end
        pieces.append(body[at:])
        return b"".join(pieces)

    def _described(self, body: bytes) -> Iterator[tuple[int, int, bytes]]:
        """What the tools' descriptions are replaced with."""
        if not self._tools:
            return
        try:
            for found, name in list(_Request(body).tools()):
                text = self._tools.get(name)
                if text is None:
                    continue
                described = found.get("description")
                if described is not None:
                    yield described.start, described.end, text
                else:
                    begin = found["name"].name_start
                    yield begin, begin, b'"description":' + text + b","
        except (*UNREADABLE, TooIntricateJson):
            return


def texts_of(arm: Arm, texts: Mapping[str, str]) -> ArmTexts | None:
    """An arm's texts, from all of them by digest; None for an arm without any of its own."""
    tools = {name: texts[digest] for name, digest in arm.tools if digest in texts}
    prompt = arm.prompt
    if prompt is None or prompt.find not in texts or prompt.put not in texts:
        return ArmTexts(tools=tools) if tools else None
    return ArmTexts(texts[prompt.find], texts[prompt.put], tools)


def _quoted(text: str) -> bytes:
    """A text as JSON in its shortest form: without an escape that is not needed."""
    return json.dumps(text, ensure_ascii=False).encode()


_S = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_W = rb"[ \t\r\n]*+"


def _value(depth: int) -> bytes:
    """A value of valid JSON, nested up to this depth."""
    nested = rb"[\[{](?:[^\"\[\]{}]++|" + _S + rb")*+[\]}]"
    for _ in range(depth):
        nested = rb"[\[{](?:[^\"\[\]{}]++|" + _S + rb"|" + nested + rb")*+[\]}]"
    return rb"(?:" + _S + rb'|[^\s,"\[\]{}]++|' + nested + rb")"


_V = _value(7)
_MEMBER = _S + _W + rb":" + _W + _V + _W
_OPEN_OBJECT = rb"\{" + _W + rb"(?:" + _MEMBER + rb"," + _W + rb")*+"
_OPEN_LIST = rb"\[" + _W + rb"(?:" + _V + _W + rb"," + _W + rb")*+"
_COLON = rb'"' + _W + rb":" + _W
_PART = _OPEN_OBJECT + rb'"text' + _COLON + rb'(?P<%b>")'
_STRING = rb'(?P<%b>")'


def _text(name: bytes) -> bytes:
    """The beginning of a text, or of a list of parts."""
    return rb"(?:" + _STRING % (b"string_" + name) + rb"|" + _OPEN_LIST + _PART % (b"list_" + name) + rb")"


_ROLE = rb'"role' + _COLON + rb'"(?:' + "|".join(_ROLES).encode() + rb')"' + _W + rb"," + _W
_NO_ROLE = rb'(?:(?!"role")' + _MEMBER + rb"," + _W + rb")*+"
_HEAD = re.compile(
    _W
    + _OPEN_OBJECT
    + rb'"(?:'
    + rb"(?P<row>" + "|".join(_ROWS).encode() + rb")" + _COLON + _OPEN_LIST
    + rb"\{" + _W + _NO_ROLE + _ROLE + _NO_ROLE + rb'"content' + _COLON + _text(b"row")
    + rb"|(?P<top>" + "|".join(_SYSTEM).encode() + rb")" + _COLON
    + rb"(?:" + _text(b"top")
    + rb"|" + _OPEN_OBJECT + rb'"parts' + _COLON + _OPEN_LIST + _PART % b"object_top" + rb")"
    + rb")",
    re.DOTALL,
)  # fmt: skip
"""From a body's begin into a system text, behind its first quote."""

_NEAR = 2048
"""Bytes before and behind the text that regular expressions read. They take longer than a parser for more."""


@lru_cache(256)
def _tail_behind(head: bytes) -> re.Pattern[bytes] | None:
    """What must follow a string up to the body's end, if this is a body up to a system text's first quote, in
    the shortest spelling; else None."""
    found = _HEAD.fullmatch(head)
    if found is None or found.lastgroup is None or _has_other_escapes(head, 0, len(head)):
        return None
    return _tail((found["row"] or found["top"]).decode(), found.lastgroup)


@lru_cache(64)
def _tail(key: str, nest: str) -> re.Pattern[bytes]:
    """From behind a system text to a body's end, which has none of the members that led there a second
    time."""
    rest_of_list = rb"(?:," + _W + _V + _W + rb")*+\]" + _W
    pattern = _W
    if not nest.startswith("string"):
        pattern += _rest_of_object("text") + rest_of_list
    if nest.startswith("object"):
        pattern += _rest_of_object("parts")
    if nest.endswith("row"):
        pattern += _rest_of_object("role", "content") + rest_of_list
    return re.compile(pattern + _rest_of_object(key), re.DOTALL)


def _rest_of_object(*names: str) -> bytes:
    """The other members of an object, none of these names, and its end."""
    others = rb'(?!"(?:' + "|".join(names).encode() + rb')")'
    return rb"(?:," + _W + others + _MEMBER + rb")*+\}" + _W


_ANCHOR_BYTES = 64
"""What is searched first: the search for a longer one prepares itself for longer than it takes."""


def _has_other_escapes(body: bytes, start: int, end: int) -> bool:
    """True where a character may be written in another way than the shortest."""
    return body.find(b"\\u", start, end) >= 0 or body.find(b"\\/", start, end) >= 0


class _Row(msgspec.Struct):
    role: Any = None


_decode_rows = msgspec.json.Decoder(list[_Row]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_BETWEEN = re.compile(rb"\s*+,?\s*+")
_OBJECT, _LIST, _QUOTE, _BACKSLASH = ord("{"), ord("["), ord('"'), ord("\\")


class _Request:
    """One body, cut as far as its system texts and tools need. Methods raise UNREADABLE, and TooIntricateJson
    for a body that would take long."""

    def __init__(self, body: bytes) -> None:
        self._body, self._left = body, _MOST_READ

    def system_texts(self) -> Iterator[Span]:
        """The JSON strings of the system texts, in the body's order."""
        for each in sorted(self._members((0, len(self._body))).values(), key=lambda span: span.start):
            value = each.start, each.end
            if each.name in _SYSTEM:
                yield from self._of_system(value)
            elif each.name in _ROWS:
                yield from self._of_rows(value)
            elif each.name == "prompt":
                yield from self._of_completion(value)

    def tools(self) -> Iterator[tuple[dict[str, MemberSpan], str]]:
        """The members of each declared tool, and its name."""
        members = self._members((0, len(self._body)))
        listed = [members.get(name) for name in ("tools", "functions")]
        config = members.get("toolConfig")
        if config is not None and self._begins_with(config) == _OBJECT:
            listed.append(self._members((config.start, config.end)).get("tools"))
        for each in listed:
            if each is not None:
                yield from self._tools_in((each.start, each.end))

    def _of_system(self, value: Span) -> Iterator[Span]:
        if self._body[value[0]] == _OBJECT and (parts := self._members(value).get("parts")):
            value = parts.start, parts.end
        yield from self._of_content(value)

    def _of_rows(self, value: Span) -> Iterator[Span]:
        """The texts of the messages of the system."""
        if self._body[value[0]] != _LIST:
            return
        of_system = [isinstance(row.role, str) and row.role in _ROLES for row in self._objects(value)]
        if not any(of_system):
            return
        for wanted, row in zip(of_system, self._items(value), strict=True):
            if wanted and (content := self._members(row).get("content")) is not None:
                yield from self._of_content((content.start, content.end))

    def _of_content(self, value: Span) -> Iterator[Span]:
        """A text alone, or those of the parts in a list, or of a part alone."""
        first = self._body[value[0]]
        if first == _QUOTE:
            yield value
        elif first == _OBJECT:
            text = self._members(value).get("text")
            if text is not None and self._begins_with(text) == _QUOTE:
                yield text.start, text.end
        elif first == _LIST and self._objects(value):
            for part in self._items(value):
                yield from self._of_content(part)

    def _of_completion(self, value: Span) -> Iterator[Span]:
        """A text, or those of a list of texts."""
        if self._body[value[0]] == _QUOTE:
            yield value
        elif self._body[value[0]] == _LIST and self._body[value[0] + 1 : value[1]].lstrip()[:1] == b'"':
            if self._body.count(b'"', *value) > 2 * _MOST_OBJECTS:
                raise TooIntricateJson(f"a list has more than {_MOST_OBJECTS} texts")
            for item in self._items(value):
                self._read_one()
                if self._body[item[0]] == _QUOTE:
                    yield item

    def _tools_in(self, value: Span, depth: int = 0) -> Iterator[tuple[dict[str, MemberSpan], str]]:
        """The tools in a list of them, or in a group. Some are an object in a member."""
        if self._body[value[0]] == _LIST and depth < _DEEPEST_GROUP and self._objects(value):
            for item in self._items(value):
                yield from self._tools_in(item, depth + 1)
        elif self._body[value[0]] == _OBJECT:
            members = self._members(value)
            for group in _GROUPS:
                if (nested := members.get(group)) is not None:
                    yield from self._tools_in((nested.start, nested.end), depth + 1)
            for inner in _INNER:
                if (one := members.get(inner)) is not None and self._begins_with(one) == _OBJECT:
                    members = self._members((one.start, one.end))
                    break
            named = members.get("name")
            if named is not None and self._begins_with(named) == _QUOTE:
                yield members, _decoded(self._body[named.start : named.end])

    def _begins_with(self, member: MemberSpan) -> int:
        return self._body[member.start]

    def _read_one(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise TooIntricateJson(f"it has more than {_MOST_READ} objects that may hold a text")

    def _members(self, value: Span) -> dict[str, MemberSpan]:
        """The members of an object by name, of a repeated one the last, with their places in the body."""
        self._read_one()
        start, end = value
        found = member_spans(self._body if (start, end) == (0, len(self._body)) else self._body[start:end])
        if not start:
            return {each.name: each for each in found}
        return {
            each.name: MemberSpan(
                each.name,
                each.name_start + start,
                each.name_end + start,
                each.start + start,
                each.end + start,
            )
            for each in found
        }

    def _objects(self, value: Span) -> list[_Row]:
        """The items of a list; none unless all are objects."""
        raw = self._body[value[0] : value[1]]
        if raw.count(b"{") > _MOST_OBJECTS:
            raise TooIntricateJson(f"a list has more than {_MOST_OBJECTS} objects")
        try:
            return _decode_rows(raw)
        except msgspec.ValidationError:
            return []

    def _items(self, value: Span) -> Iterator[Span]:
        """The items of a list."""
        at = value[0] + 1
        for item in _decode_list(self._body[value[0] : value[1]]):
            between = _BETWEEN.match(self._body, at)
            start = at if between is None else between.end()
            at = start + len(item)
            yield start, at


def _decoded(quoted: bytes) -> str:
    """The text of a JSON string. Raises UnicodeDecodeError."""
    found: str = json.loads(quoted.decode(), strict=False)
    return found


_CHARACTER = re.compile(
    rb"[^\\\x80-\xff]|[\xc2-\xf4][\x80-\xbf]++"
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]"
)
"""One character of a decoded string."""
_FIRST_HALF = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")


def _places_in(body: bytes, text: Span, find: str, needle: bytes) -> Iterator[Span]:
    """Where `find` stands in this JSON string, from its begin, none overlapping another."""
    start, end = text[0] + 1, text[1] - 1
    if not _has_other_escapes(body, start, end):
        yield from _plain_places(body, start, end, needle)
        return
    decoded = _decoded(body[text[0] : text[1]])
    place, before, at = decoded.find(find), 0, start
    while place >= 0:
        begin = _forward(body, at, place - before)
        before = place + len(find)
        at = _forward(body, begin, len(find))
        yield begin, at
        place = decoded.find(find, before)


def _plain_places(body: bytes, start: int, end: int, needle: bytes) -> Iterator[Span]:
    """The same where each character is written in one way only."""
    at = body.find(needle, start, end)
    while at >= 0:
        if not _begins(body, start, at):  # it begins inside an escape
            at = body.find(needle, at + 1, end)
            continue
        start = at + len(needle)
        yield at, start
        at = body.find(needle, start, end)


def _forward(body: bytes, at: int, characters: int) -> int:
    """The place so many characters after this one in a JSON string. Each takes a byte or more."""
    while characters:
        end = _between_characters(body, at, at + characters)
        if end <= at:
            one = _CHARACTER.match(body, at)
            if one is None:
                raise TooIntricateJson("a string is not UTF-8")
            at, characters = one.end(), characters - 1
        else:
            characters -= len(_decoded(b'"%b"' % body[at:end]))
            at = end
    return at


def _between_characters(body: bytes, start: int, end: int) -> int:
    """The last place up to `end` that is inside no character of a JSON string. One begins at `start`."""
    while end > start and body[end] & 0xC0 == 0x80:  # inside UTF-8
        end -= 1
    last = body.rfind(b"\\", max(start, end - 5), end)
    if last >= 0 and _begins(body, start, last) and (last == end - 1 or body[last + 1] == ord("u")):
        end = last
    half = _FIRST_HALF.match(body, max(start, end - 6), end)  # of a character that two escapes make
    return half.start() if half is not None and _begins(body, start, half.start()) else end


def _begins(body: bytes, start: int, place: int) -> bool:
    """True if a character begins at this ASCII byte: no backslash escapes it."""
    size = 16
    while True:
        ahead = body[max(start, place - size) : place]
        run = len(ahead) - len(ahead.rstrip(b"\\"))
        if run < len(ahead) or place - size <= start:
            return run % 2 == 0
        size *= 8
