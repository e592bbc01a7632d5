"""A metric's bar: its interval against the acceptable and the ideal bound. Geometry only."""

from collections.abc import Callable
from dataclasses import dataclass

from report.document import MetricLine
from report.rubric import parse_bound
from report.wording import amount, unit_of

WIDTH = 320.0
_LEFT, _RIGHT = 10.0, 310.0
_AIR = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BarLabel:
    """A text under the bar at x, anchored to stay inside."""

    x: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Places in [0, WIDTH]. Zones are (x, width) on the better side of each bound. None is not drawn."""

    acceptable_zone: tuple[float, float]
    ideal_zone: tuple[float, float]
    acceptable: BarLabel
    ideal: BarLabel
    low: float | None
    high: float | None
    open_low: bool
    open_high: bool
    candidate: float | None
    baseline: float | None
    alternative: str


def bar(line: MetricLine) -> Bar | None:
    """A metric's bar; None for a relative bound without a baseline value."""
    bounds = parse_bound(line.acceptable), parse_bound(line.ideal)
    if bounds[0].relative and line.baseline is None:
        return None
    acceptable, ideal = (bound.at(line.baseline or 0.0) for bound in bounds)
    low, high, known = _interval(line, relative=bounds[0].relative)
    shown = [acceptable, ideal, line.candidate, line.baseline, low, high]
    place = _scale([number for number in shown if number is not None])
    up = bounds[0].higher_is_better
    return Bar(
        acceptable_zone=_zone(place(acceptable), up=up),
        ideal_zone=_zone(place(ideal), up=up),
        acceptable=_label(line, "acceptable", acceptable, place(acceptable)),
        ideal=_label(line, "ideal", ideal, place(ideal)),
        low=(_LEFT if low is None else place(low)) if known else None,
        high=(_RIGHT if high is None else place(high)) if known else None,
        open_low=known and low is None,
        open_high=known and high is None,
        candidate=None if line.candidate is None else place(line.candidate),
        baseline=None if line.baseline is None else place(line.baseline),
        alternative=_alternative(line, acceptable, ideal),
    )


def _interval(line: MetricLine, *, relative: bool) -> tuple[float | None, float | None, bool]:
    """The interval on which the bound is judged: the candidate's own, or baseline plus difference."""
    if not relative:
        low, high = line.candidate_interval
        return low, high, low is not None or high is not None
    found, start = line.difference, line.baseline or 0.0
    known = found.p_value is not None
    low, high = (None if end is None else start + end for end in (found.low, found.high))
    return low, high, known


def _scale(shown: list[float]) -> Callable[[float], float]:
    """A function from the metric's unit to a place, with margins."""
    low, high = min(shown), max(shown)
    width = (high - low) or max(abs(high), 1.0)

    def place(number: float) -> float:
        part = _AIR + (1 - 2 * _AIR) * (number - low) / width
        return round(_LEFT + (_RIGHT - _LEFT) * part, 1)

    return place


def _zone(x: float, *, up: bool) -> tuple[float, float]:
    return (x, round(WIDTH - x, 1)) if up else (0.0, x)


def _label(line: MetricLine, word: str, number: float, x: float) -> BarLabel:
    anchor = "start" if x < WIDTH / 3 else "end" if x > 2 * WIDTH / 3 else "middle"
    return BarLabel(x=x, anchor=anchor, text=f"{word} {_shown(line, number)}")


def _alternative(line: MetricLine, acceptable: float, ideal: float) -> str:
    low, high = line.candidate_interval
    return (
        f"candidate {_shown(line, line.candidate)}, interval {_shown(line, low)} to {_shown(line, high)}, "
        f"baseline {_shown(line, line.baseline)}, acceptable {_shown(line, acceptable)}, "
        f"ideal {_shown(line, ideal)}"
    )


def _shown(line: MetricLine, number: float | None) -> str:
    return amount(number, unit_of(line.metric, line.acceptable))
