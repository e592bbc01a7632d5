"""Decodes content codings (RFC 9110 §8.4.1) of a copy of an answer, within bounds.

The br and zstd libraries are imported when the first such answer arrives.
"""

import sys
import zlib
from collections.abc import Callable

CHUNK_BOUND = 4 << 20
MOST_CODINGS = 2
_WINDOW_LOG = 23
"""zstd's window is limited to 8 MiB in HTTP (RFC 9659); br's window is at most 16 MiB, gzip's 32 KiB."""

Unpack = Callable[[bytes], bytes]
"""Takes the next packed bytes and returns the unpacked ones. Unusable once it has raised Unpackable."""


class Unpackable(Exception):
    """Bytes that cannot be unpacked, that unpack to more than the bound, or that follow the packed end."""


def unpackers(encoding: bytes) -> list[Unpack] | None:
    """Return one unpacker per coding of a content-encoding, in the order in which they were applied; None
    when a coding is unknown or there are more than two."""
    codings = [coding.strip() for coding in encoding.split(b",")]
    makers = [_MAKERS.get(coding) for coding in codings if coding != b"identity"]
    if len(makers) > MOST_CODINGS:
        return None
    return [make() for make in makers if make is not None] if None not in makers else None


def _zlib(bits: int) -> Unpack:
    inflate = zlib.decompressobj(bits)

    def unpack(data: bytes) -> bytes:
        try:
            plain = inflate.decompress(data, CHUNK_BOUND)
        except zlib.error as problem:
            raise Unpackable from problem
        if inflate.unconsumed_tail or inflate.unused_data:
            raise Unpackable
        return plain

    return unpack


def _brotli() -> Unpack:
    import brotli

    inflate = brotli.Decompressor()

    def unpack(data: bytes) -> bytes:
        try:
            plain: bytes = inflate.process(data, output_buffer_limit=CHUNK_BOUND)
        except brotli.error as problem:
            raise Unpackable from problem
        if not inflate.can_accept_more_data():
            raise Unpackable
        return plain

    return unpack


def _zstd() -> Unpack:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    inflate = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})

    def unpack(data: bytes) -> bytes:
        if not data:
            return b""
        try:
            plain = inflate.decompress(data, CHUNK_BOUND)
        except (zstd.ZstdError, EOFError) as problem:
            raise Unpackable from problem
        if inflate.unused_data or not (inflate.needs_input or inflate.eof):
            raise Unpackable
        return plain

    return unpack


_MAKERS: dict[bytes, Callable[[], Unpack]] = {
    b"gzip": lambda: _zlib(31),
    b"x-gzip": lambda: _zlib(31),
    b"deflate": lambda: _zlib(15),
    b"br": _brotli,
    b"zstd": _zstd,
}
