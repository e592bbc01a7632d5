"""Changes a request's JSON as an arm's `request:` says. All other bytes stay: nothing is serialised anew.

Only the objects with changes are cut into their members. Of a member that stands twice there, the last stays,
which is the one that counts.
"""

import msgspec

from proxy.splice import MemberSpan, TooIntricate, member_spans
from routing.request_changes import RequestChanges

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
    except (_NotAnObject, TooIntricate):
        return None
    result = b"".join(request.pieces())
    return result if result != body else None


class _NotAnObject(ValueError):
    """A dot leads into a value that has no members."""


class _Member:
    """One member, with the white space in it. `members` are those of its value once the value was opened."""

    __slots__ = ("after", "before", "colon", "members", "name", "value")

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
        """Return the members of the value. Raises _NotAnObject, TooIntricate."""
        if self.members is None:
            if not self.is_object:
                raise _NotAnObject
            self.members = _Members(bytes(self.value))
        return self.members

    def value_pieces(self) -> list[_Text]:
        return self.members.pieces() if self.members is not None else [self.value]


class _Members:
    """An object's members, by name. Raises TooIntricate."""

    __slots__ = ("_after", "_before", "_by_name")

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
        """Add a member at the end."""
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
