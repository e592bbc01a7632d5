"""A metric's bar: its interval against the acceptable and the ideal bound. Geometry only."""

from collections.abc import Callable
from dataclasses import dataclass

from pages.words.figures import amount, ends_in_words
from verdict.decision.document import MetricLine
from verdict.decision.plan_course import Ends, look_ends
from verdict.terms.measures import unit_of
from verdict.terms.rubric import parse_bound

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
class Stretch:
    """An interval from place to place; an open end reaches the edge."""

    low: float
    high: float
    open_low: bool
    open_high: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """Places in [0, WIDTH]. Zones are (x, width) on the better side of each bound. None is not drawn.

    With a plan, `decides` is what its looks leave possible (None: no look yet) and `live` the interval that
    may be read any time. Without one, `live` decides.
    """

    acceptable_zone: tuple[float, float]
    ideal_zone: tuple[float, float]
    acceptable: BarLabel
    ideal: BarLabel
    planned: bool
    decides: Stretch | None
    live: Stretch | None
    candidate: float | None
    baseline: float | None
    alternative: str


def bar(line: MetricLine) -> Bar | None:
    """A metric's bar; None for a relative bound without a baseline value."""
    bounds = parse_bound(line.acceptable), parse_bound(line.ideal)
    if bounds[0].relative and line.baseline is None:
        return None
    acceptable, ideal = (bound.at(line.baseline or 0.0) for bound in bounds)
    live, decides = _interval(line, relative=bounds[0].relative), _decides(line)
    shown = [acceptable, ideal, line.candidate, line.baseline, *(live or ()), *(decides or ())]
    place = _scale([number for number in shown if number is not None])
    up = bounds[0].higher_is_better
    return Bar(
        acceptable_zone=_zone(place(acceptable), up=up),
        ideal_zone=_zone(place(ideal), up=up),
        acceptable=_label(line, "acceptable", acceptable, place(acceptable)),
        ideal=_label(line, "ideal", ideal, place(ideal)),
        planned=line.look is not None,
        decides=_stretch(decides, place),
        live=_stretch(live, place),
        candidate=None if line.candidate is None else place(line.candidate),
        baseline=None if line.baseline is None else place(line.baseline),
        alternative=_alternative(line, acceptable, ideal),
    )


def _interval(line: MetricLine, *, relative: bool) -> Ends | None:
    """The confidence sequence: the candidate's own, or baseline plus difference. None if unknown."""
    if not relative:
        return None if line.candidate_interval == (None, None) else line.candidate_interval
    found, start = line.difference, line.baseline or 0.0
    if found.p_value is None:
        return None
    low, high = (None if end is None else start + end for end in (found.low, found.high))
    return low, high


def _decides(line: MetricLine) -> Ends | None:
    """What the looks leave possible; None before the first, or without enough users."""
    ends = look_ends(line)
    return None if ends == (None, None) else ends


def _stretch(ends: Ends | None, place: Callable[[float], float]) -> Stretch | None:
    if ends is None:
        return None
    low, high = ends
    return Stretch(
        low=_LEFT if low is None else place(low),
        high=_RIGHT if high is None else place(high),
        open_low=low is None,
        open_high=high is None,
    )


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
    looks = "" if line.look is None else f"{_looks(line)}, any-time "
    return (
        f"candidate {_shown(line, line.candidate)}, {looks}interval {_shown(line, low)} to "
        f"{_shown(line, high)}, "
        f"baseline {_shown(line, line.baseline)}, acceptable {_shown(line, acceptable)}, "
        f"ideal {_shown(line, ideal)}"
    )


def _looks(line: MetricLine) -> str:
    ends = _decides(line)
    if line.look is None or line.look.day is None or ends is None:
        return "nothing ruled out by a look"
    possible = ends_in_words(ends, unit_of(line.metric, line.acceptable))
    return f"as of the look of day {line.look.day} {possible}"


def _shown(line: MetricLine, number: float | None) -> str:
    return amount(number, unit_of(line.metric, line.acceptable))
