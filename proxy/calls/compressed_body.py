"""Unpacks request bodies that their callers compress (`content-encoding`): they are read as others are.

    the body                                         is
    is gzip, deflate, br or zstd, or two of them     read; sent on as it came, or plain if an arm changes it
    unpacks to more than a body may have             refused with 413, as soon as that is known
    is broken, cut off, or goes on after its end     refused with 400
    has another coding, or more than two             refused with 415

A body has one gzip member or one zstd frame, and nothing after it: whoever reads it next reads the same.
A body that is large, packed or not, is unpacked in a thread, and few at a time. Bodies that pass through
unread are not unpacked.
"""

import asyncio
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from proxy.calls.refusal import Refused
from proxy.providers.headers import Headers

ENCODING = b"content-encoding"
ON_LOOP = 1 << 20
"""Unpacked bytes up to which a body is unpacked on the event loop."""
_PACKED_ON_LOOP = 64 << 10
_PIECE = 256 << 10
_MOST_CODINGS = 2
_WINDOW_LOG = 23
"""zstd's window is limited to 8 MiB in HTTP (RFC 9659)."""

Unpack = Callable[[Iterable[bytes]], Iterator[bytes]]
"""Takes the packed pieces and gives the unpacked ones, each within `_PIECE` or little over."""


class CompressedBody(msgspec.Struct, frozen=True):
    """A body as it came, `packed`, and as it is read, `plain`."""

    packed: bytes
    plain: bytes


class _Broken(Exception):
    """The bytes are not of their coding, are cut off, or more of them follow the end."""


class _TooLarge(Exception):
    """More came out than a body may have."""


class BodyUnpacker:
    """Unpacks the bodies of one worker, each to at most `bound` bytes.

    At most two large ones are unpacked at a time, so that a flood of them takes neither the memory nor the
    threads of other requests.
    """

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._large = asyncio.Semaphore(2)

    async def unpacked(self, packed: bytes, headers: Headers, hold: Callable[[int], None]) -> bytes:
        """The body as its caller wrote it; `packed` itself where nothing is to be unpacked. `hold` counts the
        bytes that are held. Raises Refused (400, 413, 415, and what `hold` raises)."""
        codings = codings_of(headers)
        if not (packed and codings):
            return packed
        pieces: Iterator[bytes] = iter([packed])
        for unpack in reversed(_unpacks(codings)):
            pieces = _within(self._bound, unpack(pieces))
        try:
            return await self._joined(pieces, hold, on_loop=0 if len(packed) > _PACKED_ON_LOOP else ON_LOOP)
        except _TooLarge:
            message = f"the request body is over {self._bound >> 20} MiB once it is unpacked"
            raise Refused(413, message, "caller_too_large") from None
        except _Broken:
            named = b", ".join(codings).decode()
            message = f"the request body is not whole {named}, as its content-encoding says"
            raise Refused(400, message, "caller_rejected") from None

    async def _joined(self, pieces: Iterator[bytes], hold: Callable[[int], None], *, on_loop: int) -> bytes:
        """All pieces, those after the first `on_loop` bytes from a thread."""
        parts: list[bytes] = []
        while on_loop > 0 and (piece := next(pieces, None)) is not None:
            hold(len(piece))
            parts.append(piece)
            on_loop -= len(piece)
        if on_loop <= 0:
            async with self._large:
                while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
                    hold(len(piece))
                    parts.append(piece)
        return b"".join(parts)


def codings_of(headers: Headers) -> list[bytes]:
    """The content codings of a request, in the order in which they were applied, of all its headers."""
    given = b",".join([value for name, value in headers if name == ENCODING])
    codings = [coding.strip().lower() for coding in given.split(b",")]
    return [coding for coding in codings if coding not in (b"", b"identity")]


def without_coding(headers: Headers) -> Headers:
    """The headers of a body that is sent plain."""
    return [header for header in headers if header[0] != ENCODING]


def _unpacks(codings: Sequence[bytes]) -> list[Unpack]:
    """One for each coding. Raises Refused (415)."""
    known = [_UNPACKS[coding] for coding in codings if coding in _UNPACKS]
    if len(known) == len(codings) <= _MOST_CODINGS:
        return known
    named = b", ".join(codings)[:100].decode("latin-1")
    message = f"content-encoding {named!r} is not read; send the body plain, or as gzip, deflate, br or zstd"
    raise Refused(415, message, "caller_rejected")


def _within(bound: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > bound:
            raise _TooLarge
        yield piece


def _zlib(bits: int) -> Unpack:
    def unpack(packed: Iterable[bytes]) -> Iterator[bytes]:
        inflate = zlib.decompressobj(bits)
        for piece in _cut(packed):
            rest = piece
            while rest:
                try:
                    yield inflate.decompress(rest, _PIECE)
                except zlib.error:
                    raise _Broken from None
                if inflate.unused_data:
                    raise _Broken
                rest = inflate.unconsumed_tail
        if not inflate.eof:
            raise _Broken

    return unpack


def _brotli(packed: Iterable[bytes]) -> Iterator[bytes]:
    import brotli

    inflate = brotli.Decompressor()
    for piece in _cut(packed):
        try:
            yield inflate.process(piece, output_buffer_limit=_PIECE)
            while not inflate.can_accept_more_data():
                yield inflate.process(b"", output_buffer_limit=_PIECE)
        except brotli.error:
            raise _Broken from None
    if not inflate.is_finished():
        raise _Broken


def _zstd(packed: Iterable[bytes]) -> Iterator[bytes]:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    inflate = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
    for piece in _cut(packed):
        try:
            yield inflate.decompress(piece, _PIECE)
            while not (inflate.needs_input or inflate.eof):
                yield inflate.decompress(b"", _PIECE)
        except (zstd.ZstdError, EOFError):
            raise _Broken from None
        if inflate.unused_data:
            raise _Broken
    if not inflate.eof:
        raise _Broken


def _cut(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces in parts that are quick to copy."""
    for piece in pieces:
        for at in range(0, len(piece), _PIECE):
            yield piece[at : at + _PIECE]


_UNPACKS: dict[bytes, Unpack] = {
    b"gzip": _zlib(31),
    b"x-gzip": _zlib(31),
    b"deflate": _zlib(15),
    b"br": _brotli,
    b"zstd": _zstd,
}
