"""The distribution of latencies in both arms, from the same values as the quantiles."""

from typing import Literal

import numpy as np

from report.details import TimeSpread
from report.sample import Sample, Values
from report.statistics.types import Floats, Ints

BINS = 36
_OUTER = 0.002
"""The share of an arm's values that may lie beyond either outer edge."""


def spreads(sample: Sample) -> tuple[TimeSpread, ...]:
    """The spreads of latency and time to first token, if they were read and both arms have values."""
    names: tuple[Literal["latency", "ttft"], ...] = ("latency", "ttft")
    found = (_spread(name, sample, sample.values[name]) for name in names if name in sample.values)
    return tuple(spread for spread in found if spread is not None)


def _spread(name: Literal["latency", "ttft"], sample: Sample, values: Values) -> TimeSpread | None:
    if len(values.row) == 0:
        return None
    heights = values.heights(sample.candidate[values.row].astype(np.int64), 2)
    edges = _edges(values.scale, heights)
    if edges is None:
        return None
    place = np.clip(np.searchsorted(edges, values.scale, side="right") - 1, 0, BINS - 1)
    counts = [np.bincount(place, weights=arm, minlength=BINS) for arm in heights]
    baseline, candidate = (tuple(np.round(count / count.sum(), 5).tolist()) for count in counts)
    return TimeSpread(
        of=name,
        edges_s=tuple(edges.tolist()),
        baseline=baseline,
        candidate=candidate,
        baseline_requests=int(heights[0].sum()),
        candidate_requests=int(heights[1].sum()),
    )


def _edges(scale: Floats, heights: Ints) -> Floats | None:
    """(BINS + 1,) log-spaced edges in seconds, of four digits; None without values in both arms that differ
    in these."""
    if not heights.any(axis=1).all():
        return None
    parts = np.cumsum(heights, axis=1) / heights.sum(axis=1, keepdims=True)
    ends = [
        float(scale[min(int(np.searchsorted(part, level)), len(scale) - 1)])
        for part in parts
        for level in (_OUTER, 1 - _OUTER)
    ]
    low, high = max(min(ends), 1e-4), max(ends)
    if not low < high < np.inf:
        return None
    edges = np.asarray([float(f"{edge:.4g}") for edge in np.geomspace(low, high, BINS + 1).tolist()])
    return edges if edges[-1] > edges[0] else None
