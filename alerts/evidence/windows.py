"""Sliding windows: counts, means and quantiles of the last W seconds in bounded memory. Not evidence.

Times are CLOCK_MONOTONIC seconds. A window is divided into slices and covers between `span_s` and one slice
more. Quantiles come from logarithmic bins, within 1 % of their value. The count of values over the bound is
exact.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, exp, log, sqrt

from common.interval import Z

SLICES = 30
_GAMMA = 1.02
_LOG_GAMMA = log(_GAMMA)
_SMALLEST = 1e-6


@dataclass(slots=True)
class Slice:
    """One slice's sums. `bins` counts values by their logarithm."""

    count: int = 0
    over: int = 0
    total: float = 0.0
    bins: dict[int, int] = field(default_factory=dict)

    def add(self, values: Sequence[float], *, over: bool, binned: bool) -> None:
        """Add values, as `Window.add_all` does."""
        self.count += len(values)
        self.total += sum(values)
        if over:
            self.over += len(values)
        if binned:
            bins = self.bins
            for value in values:
                place = ceil(log(value if value > _SMALLEST else _SMALLEST) / _LOG_GAMMA)
                bins[place] = bins.get(place, 0) + 1

    def merge(self, part: "Slice") -> None:
        """Add another slice's sums."""
        self.count += part.count
        self.over += part.over
        self.total += part.total
        for place, count in part.bins.items():
            self.bins[place] = self.bins.get(place, 0) + count

    def quantile(self, q: float) -> float | None:
        """`Window.quantile` for this slice alone."""
        return _quantile(self.bins, q)

    def bounds(self, q: float) -> tuple[float | None, float | None]:
        """The quantile's 95 % interval by order statistics, as if values were independent. An end outside the
        observed values is None."""
        binned = sum(self.bins.values())
        reach = Z * sqrt(binned * q * (1.0 - q))
        low, high = binned * q - reach, binned * q + reach + 1.0
        return (
            _quantile(self.bins, low / binned) if low >= 1.0 else None,
            _quantile(self.bins, high / binned) if binned and high <= binned else None,
        )


@dataclass(slots=True)
class Window:
    """Values of the last `span_s` seconds (None: since the start). Only `binned` windows have quantiles."""

    span_s: float | None
    binned: bool = False
    slices: dict[int, Slice] = field(default_factory=dict)

    def add(self, at: float, value: float, *, over: bool = False) -> None:
        """Add a value observed at `at`, in any order. `over` marks it as over the caller's bound."""
        self.add_all([(at, value)], over=over)

    def add_all(self, observed: Iterable[tuple[float, float]], *, over: bool = False) -> dict[int, Slice]:
        """Add values that were observed, in any order: (at, value). `over` marks all of them. Returns the
        slices, by number, that are forgotten from now on."""
        span_s = self.span_s
        by_slice: dict[int, list[float]] = {}
        for at, value in observed:
            index = 0 if span_s is None else int(at * SLICES / span_s)
            values = by_slice.get(index)
            if values is None:
                values = by_slice[index] = []
            values.append(value)
        forgotten: dict[int, Slice] = {}
        for index, values in by_slice.items():
            part = self.slices.get(index)
            if part is None:
                part = self.slices[index] = Slice()
                forgotten |= self._forget(index)
            part.add(values, over=over, binned=self.binned)
        return forgotten

    def _forget(self, newest: int) -> dict[int, Slice]:
        old = [index for index in self.slices if index < newest - 2 * SLICES]
        return {index: self.slices.pop(index) for index in old}

    def _live(self, now: float) -> Iterator[Slice]:
        if self.span_s is None:
            return iter(list(self.slices.values()))
        oldest = int((now - self.span_s) * SLICES / self.span_s)
        return (part for index, part in self.slices.items() if index >= oldest)

    def count(self, now: float) -> int:
        """The number of values."""
        return sum(part.count for part in self._live(now))

    def over(self, now: float) -> int:
        """The number of values over their bound."""
        return sum(part.over for part in self._live(now))

    def share_over(self, now: float) -> float | None:
        """The share of values over their bound, in [0, 1]; None without values."""
        count = self.count(now)
        return self.over(now) / count if count else None

    def mean(self, now: float) -> float | None:
        """The mean, in the values' unit; None without values."""
        count = self.count(now)
        return sum(part.total for part in self._live(now)) / count if count else None

    def quantile(self, q: float, now: float) -> float | None:
        """The inverted-CDF quantile within 1 %, in the values' unit; None without values or `binned`."""
        return self.whole(now).quantile(q)

    def whole(self, now: float) -> Slice:
        """The sum of the live slices."""
        merged = Slice()
        for part in self._live(now):
            merged.merge(part)
        return merged

    def course(self, now: float) -> list[Slice]:
        """The slices, oldest first, with empty ones for times without values."""
        if self.span_s is None:
            return list(self.slices.values())
        newest = int(now * SLICES / self.span_s)
        return [self.slices.get(newest - back, Slice()) for back in reversed(range(SLICES))]


def _quantile(bins: Mapping[int, int], q: float) -> float | None:
    rank = q * sum(bins.values())
    for place in sorted(bins):
        rank -= bins[place]
        if rank <= 1e-9:
            return 2.0 * exp(place * _LOG_GAMMA) / (_GAMMA + 1.0)
    return None
