"""A session's exchanges along a time axis, one row each. Geometry only; idle time is cut out of the axis."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from pages.charts import Tick

_IDLE_S, _IDLE_PART = 5.0, 0.1
"""A time without a request is cut out if it is longer than this and than this part of the busy time."""
_CUT_PART, _CUTS_PART = 0.03, 0.3
"""How much of the axis a cut takes, and all of them together at most."""
_TICKS = 3
_LEAST = 0.4
"""The width of the shortest bar."""
_HALVINGS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallText:
    """What stands beside a bar. `says`: how the exchange ended, for the colour `tone`."""

    number: int
    at: str
    arm: str
    model: str
    took: str
    cost: str
    says: str
    tools: str
    tokens: str
    feedback: str
    tone: Literal["", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class TimedText:
    """An exchange from UTC second `at`: the seconds to its first token, None without one, and to its end."""

    at: float
    ttft_s: float | None
    latency_s: float
    text: WaterfallText


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallRow:
    """One exchange: its bar from `x`, in percent of the axis. The first `wait` of `width` is the time until
    the first token. `idle`: the time before it that the axis leaves out, in words, or ""."""

    x: float
    width: float
    wait: float
    idle: str
    text: WaterfallText


@dataclass(frozen=True, slots=True, kw_only=True)
class Waterfall:
    """Rows in their order, and the ticks of the axis, whose places are percent."""

    rows: tuple[WaterfallRow, ...]
    ticks: tuple[Tick, ...]


Words = Callable[[float], str]


def waterfall(exchanges: Sequence[TimedText], *, clock: Words, length: Words) -> Waterfall:
    """The drawing of at least one exchange. `clock` says a UTC second, `length` a number of seconds."""
    axis = _Axis([(each.at, each.at + each.latency_s) for each in exchanges])
    return Waterfall(
        rows=tuple(_row(each, axis, length) for each in exchanges), ticks=tuple(_ticks(axis, clock))
    )


def _row(exchange: TimedText, axis: "_Axis", length: Words) -> WaterfallRow:
    x, end = axis.place(exchange.at), axis.place(exchange.at + exchange.latency_s)
    width = max(_LEAST, end - x)
    first = exchange.latency_s if exchange.ttft_s is None else min(exchange.ttft_s, exchange.latency_s)
    wait = axis.place(exchange.at + first) - x if exchange.ttft_s is not None else 0.0
    idle = next((begin - end for end, begin in axis.cuts if begin == exchange.at), None)
    return WaterfallRow(
        x=round(min(x, 100.0 - width), 2),
        width=round(width, 2),
        wait=round(min(wait, width), 2),
        idle="" if idle is None else length(idle),
        text=exchange.text,
    )


def _ticks(axis: "_Axis", clock: Words) -> Iterator[Tick]:
    for number in range(_TICKS + 1):
        anchor = "start" if number == 0 else "end" if number == _TICKS else "middle"
        place = 100.0 * number / _TICKS
        yield Tick(at=place, anchor=anchor, text=clock(axis.moment(place)))


class _Axis:
    """Places of moments in percent. `cuts`: (begin, end) of the times that are cut out, in UTC seconds."""

    def __init__(self, spans: Sequence[tuple[float, float]]) -> None:
        busy = _united(spans)
        self._start = busy[0][0]
        total = sum(end - begin for begin, end in busy)
        least = max(_IDLE_S, _IDLE_PART * total)
        gaps = [(end, begin) for (_, end), (begin, _) in pairwise(busy)]
        self.cuts = [(begin, end) for begin, end in gaps if end - begin > least]
        kept = busy[-1][1] - self._start - sum(end - begin for begin, end in self.cuts)
        self._cut = min(_CUT_PART, _CUTS_PART / max(1, len(self.cuts))) * kept
        self._whole = (kept + self._cut * len(self.cuts)) or 1.0

    def place(self, moment: float) -> float:
        """Where the moment is."""
        kept = moment - self._start
        for begin, end in self.cuts:
            kept -= max(0.0, min(moment, end) - begin) * (1 - self._cut / (end - begin))
        return 100.0 * kept / self._whole

    def moment(self, place: float) -> float:
        """The moment at a place; within a cut any of its moments."""
        low, high = self._start, self._start + self._whole + sum(end - begin for begin, end in self.cuts)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.place(middle) < place else (low, middle)
        return low


def _united(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The times in which at least one of these lasts, in order."""
    found: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((begin, end))
    return found
