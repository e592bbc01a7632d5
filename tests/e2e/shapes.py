"""What a response shape is: the bytes a provider writes, when, and what must come of them.

The body is known by construction, not by parsing: each byte on the wire is marked as body or framing, so that
wherever the wire is cut, it is known how much of the body the provider has written by then.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

Part = tuple[bytes, bool]
"""Bytes on the wire, and whether they are body."""

Write = tuple[Part, ...]
"""What the provider writes at once."""

Ask = Literal[
    "chat", "chat-stream", "completions", "embeddings", "responses", "responses-stream", "messages",
    "messages-stream", "generate", "generate-sse", "generate-array", "models", "head", "delete", "file",
]  # fmt: skip
"""The request that gets the response."""

OK = b"HTTP/1.1 200 OK\r\n"
JSON = OK + b"Content-Type: application/json\r\n"
SSE = OK + b"Content-Type: text/event-stream; charset=utf-8\r\n"

HELD = 64 << 10
"""The contract's bound of a candidate's stream head."""

_BLANK = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """One response. `head` is the final one; `end` what the provider does after the last write; `broken` what
    the caller must see.

    `finish` stands in the event with the last non-null finish_reason, `extra` is the chunk that only callers
    who asked for usage get. `outcome` and what follows is what the record must say; `outcome` None: nothing.
    """

    name: str
    ask: Ask
    head: bytes
    writes: tuple[Write, ...]
    end: Literal["stays", "closes", "resets"] = "stays"
    broken: bool = False
    finish: bytes = b""
    extra: bytes = b""
    outcome: str | None = "ok"
    error_type: str | None = None
    usage: bool = False
    first_token: bool = False
    uncovered: bool = False
    """A candidate that gives this answer is covered by the baseline, so that it is not relayed."""

    @property
    def body(self) -> bytes:
        """The body as far as it is on the wire."""
        return b"".join(data for write in self.writes for data, is_body in write if is_body)

    @property
    def plain_events(self) -> bool:
        """Canary can read its events as they come."""
        head = self.head.lower()
        return b"text/event-stream" in head and b"content-encoding" not in head

    def named(self, name: str, **changes: Any) -> "Shape":
        """The same with another name and other declarations."""
        return replace(self, name=name, **changes)

    def each_byte(self) -> "Shape":
        """The same, every byte a write of its own."""
        writes = tuple(
            ((data[at : at + 1], is_body),)
            for write in self.writes
            for data, is_body in write
            for at in range(len(data))
        )
        return self.named(f"{self.name}-byte-by-byte", writes=writes)

    def at_once(self) -> "Shape":
        """The same in one write."""
        return self.named(f"{self.name}-in-one-write", writes=(sum(self.writes, ()),))

    def cut_within(self, mark: bytes, name: str) -> "Shape":
        """The same, with a write ending in the middle of each occurrence of the mark in the body or in the
        framing."""
        writes: list[Write] = []
        for write in self.writes:
            parts: list[Part] = []
            for data, is_body in write:
                *halves, rest = _halves(data, mark)
                for half in halves:
                    writes.append((*parts, (half, is_body)))
                    parts = []
                parts.append((rest, is_body))
            writes.append(tuple(parts))
        assert len(writes) > len(self.writes), f"{mark!r} does not occur"
        return self.named(f"{self.name}-{name}", writes=tuple(writes))


def _halves(data: bytes, mark: bytes) -> Iterator[bytes]:
    start = 0
    for found in re.finditer(re.escape(mark), data):
        middle = found.start() + len(mark) // 2
        yield data[start:middle]
        start = middle
    yield data[start:]


def sized(name: str, ask: Ask, head: bytes, *pieces: bytes, missing: int = 0, **more: Any) -> Shape:
    """With a Content-Length (`missing`: so much more than there is), a write for each piece."""
    length = sum(map(len, pieces)) + missing
    whole = head + b"Content-Length: %d\r\n\r\n" % length
    first, *others = pieces or (b"",)
    writes = (((whole, False), (first, True)), *(((piece, True),) for piece in others))
    return Shape(name=name, ask=ask, head=whole, writes=writes, **more)


def chunked(
    name: str,
    ask: Ask,
    head: bytes,
    *pieces: bytes,
    size: str = "%x",
    extension: bytes = b"",
    last: bytes = b"0\r\n\r\n",
    **more: Any,
) -> Shape:
    """In chunks, the head and each chunk a write of its own. `size` is a chunk size's format, `last` the
    final chunk with its trailers."""
    whole = head + b"Transfer-Encoding: chunked\r\n\r\n"
    writes: list[Write] = [((whole, False),)]
    for piece in pieces:
        before = (size % len(piece)).encode() + extension + b"\r\n"
        writes.append(((before, False), (piece, True), (b"\r\n", False)))
    if last:
        writes.append(((last, False),))
    return Shape(name=name, ask=ask, head=whole, writes=tuple(writes), **more)


def unframed(name: str, ask: Ask, head: bytes, *pieces: bytes, **more: Any) -> Shape:
    """Ended by the end of the connection, the head and each piece a write of its own."""
    writes = (((head + b"\r\n", False),), *(((piece, True),) for piece in pieces))
    return Shape(name=name, ask=ask, head=head + b"\r\n", writes=writes, **{"end": "closes", **more})


def after_interim(shape: Shape, name: str, *interims: bytes) -> Shape:
    """The same after 1xx responses, each a write of its own."""
    writes = (*(((interim + b"\r\n\r\n", False),) for interim in interims), *shape.writes)
    return shape.named(name, writes=writes)


class Due:
    """What a caller must have got of a shape's body at any moment, as the contract says it. `held`: a covered
    candidate's, `stripped`: canary asked for usage on its own account."""

    def __init__(self, shape: Shape, *, held: bool, stripped: bool) -> None:
        body = shape.body
        self._ends = [blank.end() for blank in _BLANK.finditer(body)]
        self._released_at = self._release(shape, body) if held else 0
        self._extra = len(body)
        self._finished_at = len(body) + 1
        self._left_out = b""
        if stripped and shape.plain_events and shape.finish:
            at = body.index(shape.finish)
            self._finished_at = next(end for end in self._ends if end > at)
            self._left_out = shape.extra
            self._extra = body.index(shape.extra) + len(shape.extra)
        self.whole = body.replace(self._left_out, b"", 1)

    def size(self, written: int) -> int | None:
        """How much must be in when so much of the body is written; None: it is held, or may be."""
        if self._released_at is None or written < self._released_at:
            return None
        if written < self._finished_at:
            return written
        events = self._ends[bisect_right(self._ends, written) - 1]
        return events - len(self._left_out) * (events >= self._extra)

    def _release(self, shape: Shape, body: bytes) -> int | None:
        """A candidate's stream waits for its first complete event, a document (and what canary cannot read)
        for its end."""
        if not shape.plain_events:
            return None
        start = 0
        for end in self._ends:
            if re.search(rb"(?:^|\n)data:", body[start:end]):
                return min(end, HELD)
            start = end
        return None
