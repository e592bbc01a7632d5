"""Two overlaid distributions of a time on a logarithmic scale. Geometry only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pages.charts.curve import Tick
from pages.words.figures import amount
from verdict.details import TimeSpread

WIDTH, HEIGHT = 400.0, 180.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 4.0, 396.0, 8.0, 150.0
_NAMES = {"latency": "Latency, whole answer", "ttft": "Time to first token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityPlot:
    """SVG paths in WIDTH × HEIGHT, closed along the bottom. `medians`: (baseline, candidate)."""

    title: str
    baseline: str
    candidate: str
    medians: tuple[Tick, Tick]
    seconds: tuple[Tick, ...]
    says: str
    alternative: str


def density_plot(spread: TimeSpread) -> DensityPlot:
    """The plot of one spread."""
    low, high = math.log(spread.edges_s[0]), math.log(spread.edges_s[-1])

    def x(seconds: float) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (math.log(seconds) - low) / (high - low), 1)

    tallest = max(*spread.baseline, *spread.candidate)
    middles = [math.sqrt(a * b) for a, b in zip(spread.edges_s, spread.edges_s[1:], strict=False)]

    def path(shares: Sequence[float]) -> str:
        tops = [
            f"{x(seconds)} {round(_BOTTOM - (_BOTTOM - _TOP) * share / tallest, 1)}"
            for seconds, share in zip(middles, shares, strict=True)
        ]
        return f"M{_LEFT} {_BOTTOM} L{' L'.join(tops)} L{_RIGHT} {_BOTTOM}Z"

    halves = [_median(spread, shares) for shares in (spread.baseline, spread.candidate)]
    words = [amount(half, "s") for half in halves]
    name = _NAMES[spread.of]
    return DensityPlot(
        title=name,
        baseline=path(spread.baseline),
        candidate=path(spread.candidate),
        medians=(
            Tick(at=x(halves[0]), anchor="middle", text=words[0]),
            Tick(at=x(halves[1]), anchor="middle", text=words[1]),
        ),
        seconds=tuple(Tick(at=x(time), anchor="middle", text=_plain(time)) for time in _round_times(spread)),
        says=f"Median: {words[1]} on the candidate, {words[0]} on the current model.",
        alternative=f"{name}: median {words[0]} on the current model, {words[1]} on the candidate",
    )


def _median(spread: TimeSpread, shares: Sequence[float]) -> float:
    """The median, interpolated within its bin on the logarithm."""
    so_far, half = 0.0, sum(shares) / 2
    for share, begin, end in zip(shares, spread.edges_s, spread.edges_s[1:], strict=False):
        if so_far + share >= half and share > 0:
            return math.exp(math.log(begin) + math.log(end / begin) * (half - so_far) / share)
        so_far += share
    return spread.edges_s[-1]


def _round_times(spread: TimeSpread) -> list[float]:
    """1, 2 and 5 times the powers of ten within the plot; only the powers if there are many."""
    first, last = spread.edges_s[0], spread.edges_s[-1]
    air = (last / first) ** 0.04
    found = [
        float(f"{digit}e{power}")
        for power in range(-4, 5)
        for digit in (1, 2, 5)
        if first * air <= float(f"{digit}e{power}") <= last / air
    ]
    tens = [seconds for seconds in found if f"{seconds:e}".startswith("1.0")]
    return tens if len(found) > 7 else found


def _plain(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 0.1 else f"{1000 * seconds:g} ms"
