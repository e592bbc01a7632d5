"""Inflates a copy of compressed WebSocket messages (permessage-deflate, RFC 7692), bounded."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

_MESSAGE_END = b"\x00\x00\xff\xff"
"""The bytes that a sender omits at the end of each message (RFC 7692 §7.2.1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deflate:
    """The compression of one direction. `fresh`: each message is compressed without earlier context."""

    fresh: bool


def agreed(headers: Sequence[tuple[bytes, bytes]]) -> tuple[Deflate | None, Deflate | None]:
    """Return the compression negotiated in a 101: (caller's direction, provider's direction)."""
    for name, value in headers:
        if name != b"sec-websocket-extensions":
            continue
        for extension in value.lower().split(b","):
            kind, *parameters = (part.strip() for part in extension.split(b";"))
            if kind == b"permessage-deflate":
                return (
                    Deflate(fresh=b"client_no_context_takeover" in parameters),
                    Deflate(fresh=b"server_no_context_takeover" in parameters),
                )
    return None, None


class Inflater:
    """Inflates one direction. After a skipped message, messages that may refer to it are skipped too."""

    __slots__ = ("_bound", "_fresh", "_inflate", "_lost")

    def __init__(self, deflate: Deflate, bound: int) -> None:
        self._bound = bound
        self._fresh = deflate.fresh
        self._lost = False
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)

    def message(self, data: bytes | None) -> bytes | None:
        """Inflate a message; None when it is over the bound, does not inflate, or `data` is None."""
        plain = None if data is None or self._lost else self._inflated(data)
        if self._fresh:
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        elif plain is None or self._inflate.eof:
            self._lost = True
        return plain

    def _inflated(self, data: bytes) -> bytes | None:
        try:
            plain = self._inflate.decompress(data + _MESSAGE_END, self._bound + 1)
        except zlib.error:
            return None
        return plain if len(plain) <= self._bound and not self._inflate.unconsumed_tail else None
