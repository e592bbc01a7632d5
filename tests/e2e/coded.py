"""Bodies in content codings, piece by piece, each piece readable as soon as it is there.

Brotli and Zstandard have no encoder in the standard library: theirs are stored, which is as valid.
"""

import zlib
from collections.abc import Sequence
from typing import Literal

Coding = Literal["gzip", "deflate", "raw deflate", "br", "zstd"]

_ZLIB_BITS = {"gzip": 31, "deflate": 15, "raw deflate": -15}


def coded(coding: Coding, pieces: Sequence[bytes]) -> tuple[bytes, ...]:
    """The pieces in this coding, with its end as a last piece."""
    if coding == "br":
        return (*_brotli(pieces), b"\x03")
    if coding == "zstd":
        return _zstd(pieces)
    deflate = zlib.compressobj(wbits=_ZLIB_BITS[coding])
    out = [deflate.compress(piece) + deflate.flush(zlib.Z_SYNC_FLUSH) for piece in pieces]
    return (*out, deflate.flush())


def _brotli(pieces: Sequence[bytes]) -> list[bytes]:
    """Uncompressed meta-blocks of at most 64 KiB after the window's size, 16 bits (RFC 7932 §9)."""
    out = []
    for number, piece in enumerate(pieces):
        assert 0 < len(piece) <= 1 << 16
        # ISLAST 0, MNIBBLES 00 (four), MLEN - 1 in 16 bits, ISUNCOMPRESSED 1; before the first, WBITS 0.
        bits = ((len(piece) - 1) << 3 | 1 << 19) << (number == 0)
        out.append(bits.to_bytes(3, "little") + piece)
    return out


def _zstd(pieces: Sequence[bytes]) -> tuple[bytes, ...]:
    """One frame of raw blocks, an empty one as the last (RFC 8878 §3.1.1); no size, no checksum."""
    start = b"\x28\xb5\x2f\xfd\x00\x58"  # the magic number, no options, a window of 2 MiB
    blocks = [(len(piece) << 3).to_bytes(3, "little") + piece for piece in pieces]
    return (start + blocks[0], *blocks[1:], (1).to_bytes(3, "little"))
