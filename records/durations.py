"""Durations as two bytes each: 0.1 ms to 10,000 s on a scale of logarithms, to 0.015 % of what was measured.

A cell of `unit_days` keeps its latencies so, appended one after the other: quantiles over many cells need no
exchange to be read again.
"""

import math
from array import array
from collections.abc import Iterable
from sys import byteorder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHORTEST_S, LONGEST_S = 1e-4, 1e4
_TOP = 65534
_PER_E = _TOP / math.log(LONGEST_S / SHORTEST_S)
_log = math.log


def pack(seconds: Iterable[float]) -> bytes:
    """One little-endian uint16 a value. What lies outside the scale is put at its end."""
    codes = array("H", [_code(value) for value in seconds])
    if byteorder == "big":
        codes.byteswap()
    return codes.tobytes()


def unpack(packed: bytes) -> "NDArray[np.float64]":
    """The seconds, in the order they were packed: float64 (n,)."""
    import numpy as np  # only reports need it, and what writes shall start fast

    codes = np.frombuffer(packed, dtype="<u2").astype(np.float64)
    return SHORTEST_S * np.exp((codes - 1.0) / _PER_E)


def _code(seconds: float) -> int:
    if not seconds > SHORTEST_S:  # NaN too
        return 1
    if seconds >= LONGEST_S:
        return _TOP + 1
    return 1 + round(_log(seconds / SHORTEST_S) * _PER_E)
