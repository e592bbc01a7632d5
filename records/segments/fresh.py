"""Outcomes that no segment has yet: a batch as one value, in MessagePack, compressed."""

import sys
from collections.abc import Sequence

import msgspec

from records.outcome import Outcome

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL = 1
_FORMAT = b"1"
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(list[Outcome]).decode


def pack(outcomes: Sequence[Outcome]) -> bytes:
    """The batch as bytes, about 240 for each outcome (docs/performance.md)."""
    return _FORMAT + zstd.compress(_ENCODE(outcomes), _LEVEL)


def unpack(packed: bytes) -> list[Outcome]:
    """The batch again. Raises ValueError for bytes of a later version."""
    if packed[:1] != _FORMAT:
        raise ValueError("these outcomes were stored by a newer canary: start the newer version")
    return _DECODE(zstd.decompress(packed[1:]))
