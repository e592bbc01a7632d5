"""The single exchanges of a world, in the segments that rolling would make of them: all of them, as columns.

What is the same for all exchanges here differs in few values elsewhere. What nobody could compress is random:
serials, signatures, request ids, times and costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from records.store import Store
from records.store.segment_writer import ROWS, write
from records.store.segments.arrow import SCHEMA, TYPES, build
from records.store.segments.columns import HOUR_S

_ID_BYTES, _ID_CHARACTERS = 69, 92
"""Of an id with a unit and a canary's name of eleven letters."""

_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", dtype=np.uint8)
_SAME: Mapping[str, Any] = {
    "canary": "support-nov", "run": 1, "phase": 0, "reason": "cohort", "provider": "openai", "api": "openai",
    "operation": "chat", "model_requested": "gpt-4o", "stream": True, "mirror": False,
    "cached_input_tokens": 0, "cache_write_tokens": 0, "reasoning_tokens": 0, "usage_estimated": False,
    "finish": "stop", "faults": "", "output_check": "", "adapted": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCells:
    """A day's rows of unit totals with exchanges, (m,) each, and the durations of these, (n,), row by row.

    `unit` has 16 bytes for each, `named` the id of the row's first exchange where feedback names it, else "".
    """

    unit: np.ndarray
    candidate: np.ndarray
    category: pa.Array
    tags: pa.Array
    session: pa.Array
    named: np.ndarray
    size: np.ndarray
    failed: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    cost: np.ndarray
    latency_s: np.ndarray
    ttft_s: np.ndarray


def write_segments(store: Store, cells: DayCells, share: float, rng: np.random.Generator) -> None:
    """Write the day's exchanges, each hour's in segments of 200,000 at most."""
    at = _times(cells, rng)
    order = np.argsort(at, kind="stable")
    hours = (at[order] // HOUR_S).astype(np.int64)
    for hour in np.unique(hours).tolist():
        begin, end = np.searchsorted(hours, [hour, hour + 1]).tolist()
        for first in range(begin, end, ROWS):
            table = _table(cells, at, order[first : min(first + ROWS, end)], share, rng)
            write(store, build([table]), lambda _connection: None)


def _times(cells: DayCells, rng: np.random.Generator) -> np.ndarray:
    """The first of a row's exchanges is at its begin, the last at its end, the others between them."""
    part = rng.random(cells.size.sum())
    last = np.cumsum(cells.size) - 1
    part[last] = 1.0
    part[last - cells.size + 1] = 0.0
    at = np.repeat(cells.begin, cells.size) + part * np.repeat(cells.end - cells.begin, cells.size)
    return np.floor(at * 1e6) / 1e6


def _table(
    cells: DayCells, at: np.ndarray, own: np.ndarray, share: float, rng: np.random.Generator
) -> pa.Table:
    """The exchanges with these numbers."""
    last = np.cumsum(cells.size)
    cell = np.searchsorted(last, own, side="right")
    place = own - (last[cell] - cells.size[cell])
    candidate, n = cells.candidate[cell], len(own)
    failed = place >= (cells.size - cells.failed)[cell]
    arm = pc.if_else(pa.array(candidate), "candidate", "baseline")
    latency, cost = pa.array(cells.latency_s[own]), pa.array(cells.cost[cell] / cells.size[cell])
    columns = {
        **{name: pa.repeat(pa.scalar(value, SCHEMA.field(name).type), n) for name, value in _SAME.items()},
        "exchange_id": _ids(cells, at[own], cell, place, rng),
        "at": pa.array(np.rint(at[own] * 1e6).astype(np.int64)).cast(TYPES["time"]),
        "share": pa.repeat(share, n),
        "arm": arm,
        "served_by": arm,
        "unit": _hex(cells.unit[cell]),
        "session": cells.session.take(pa.array(cell)),
        "category": cells.category.take(pa.array(cell)),
        "tags": cells.tags.take(pa.array(cell)),
        "request_id": pc.binary_join_element_wise("req-", _hex(_random(n, 8, rng)), ""),
        "model": pc.if_else(pa.array(candidate), "b", "a"),
        "status": pc.if_else(pa.array(failed), 500, 200),
        "outcome": pc.if_else(pa.array(failed), "error", "ok"),
        "error_type": pc.if_else(pa.array(failed), "provider_5xx", pa.scalar(None, pa.string())),
        "latency_s": latency,
        "ttft_s": pa.array(cells.ttft_s[own]),
        "ttfb_s": pa.array(cells.ttft_s[own] * rng.random(n)),
        "overhead_s": pa.array(rng.gamma(4, 1e-4, size=n)),
        "input_tokens": pa.array(rng.integers(200, 4000, size=n)),
        "output_tokens": pa.array(rng.integers(20, 900, size=n)),
        "cost_usd": cost,
        "attempts": _attempts(arm, latency, cost),
    }
    return pa.table([columns.get(each.name, pa.nulls(n, each.type)) for each in SCHEMA], schema=SCHEMA)


def _attempts(arm: Any, latency: Any, cost: Any) -> Any:
    begin = ',"provider":"openai","model":"gpt-4o-2024-08-06","status":200,"error_type":null,"latency_s":'
    parts = (
        '[{"arm":"',
        arm,
        '"' + begin,
        latency.cast(pa.string()),
        ',"cost_usd":',
        cost.cast(pa.string()),
        "}]",
    )
    return pc.binary_join_element_wise(*parts, "")


def _ids(
    cells: DayCells, at: np.ndarray, cell: np.ndarray, place: np.ndarray, rng: np.random.Generator
) -> pa.Array:
    """Ids as `records.facts.exchange_id` makes them, with random signatures. Those with feedback are real."""
    raw = _random(len(at), _ID_BYTES, rng)
    raw[:, 0], raw[:, 1] = 1, 2 + cells.candidate[cell]
    raw[:, 2:10] = (at * 1e6).astype(">u8").view(np.uint8).reshape(-1, 8)
    raw[:, 10:18] = np.frombuffer(bytes([0, 0, 0, 1, 0, 0, 0, 0]), dtype=np.uint8)
    raw[:, 26:42] = cells.unit[cell]
    raw[:, 42:53] = np.frombuffer(b"support-nov", dtype=np.uint8)
    text = _base64(raw)
    for row in np.flatnonzero((place == 0) & (cells.named[cell] != "")).tolist():
        text[row] = np.frombuffer(cells.named[cell[row]].encode(), dtype=np.uint8)
    return _texts(text)


def _base64(raw: np.ndarray) -> np.ndarray:
    """The characters, (n, 92), of (n, 69) bytes."""
    one, two, three = (raw[:, start::3] for start in range(3))
    text = np.empty((len(raw), _ID_CHARACTERS), dtype=np.uint8)
    text[:, 0::4] = _BASE64[one >> 2]
    text[:, 1::4] = _BASE64[(one & 3) << 4 | two >> 4]
    text[:, 2::4] = _BASE64[(two & 15) << 2 | three >> 6]
    text[:, 3::4] = _BASE64[three & 63]
    return text


def _hex(raw: np.ndarray) -> pa.Array:
    """The hex digits of (n, k) bytes."""
    digits = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
    text = np.stack([digits[raw >> 4], digits[raw & 15]], axis=2)
    return _texts(text.reshape(len(raw), -1))


def _texts(characters: np.ndarray) -> pa.Array:
    """An array of n texts of (n, k) ASCII characters."""
    n, width = characters.shape
    ends = pa.py_buffer((np.arange(n + 1, dtype=np.int32) * width).tobytes())
    return pa.Array.from_buffers(pa.string(), n, [None, ends, pa.py_buffer(characters.tobytes())])


def _random(rows: int, width: int, rng: np.random.Generator) -> np.ndarray:
    return np.frombuffer(rng.bytes(rows * width), dtype=np.uint8).reshape(rows, width).copy()
