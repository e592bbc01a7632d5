"""What the looks of a plan leave possible, as values of the metric instead of margins to its bound."""

from typing import Protocol, TypeAlias

from report.document import MetricLine
from report.measures import Unit, unit_of
from report.rubric import Bound, parse_bound

Ends: TypeAlias = tuple[float | None, float | None]
"""The lowest and the highest value; None if open."""

NOT_NEGATIVE = ("share", "s")


class Margins(Protocol):
    """The margin to the acceptable bound, 0 or more keeping it; None if open."""

    @property
    def low(self) -> float | None: ...
    @property
    def high(self) -> float | None: ...


def value_at(margin: float | None, bound: Bound, baseline: float | None) -> float | None:
    """The metric's value with this margin to its bound; None if open, or without a baseline to relate to."""
    if margin is None or (bound.relative and baseline is None):
        return None
    at = bound.at(baseline or 0.0)
    return at + margin if bound.higher_is_better else at - margin


def possible(margins: Margins, line: MetricLine) -> Ends:
    """The values of the line's metric within these margins, none that the metric cannot have."""
    bound, unit = parse_bound(line.acceptable), unit_of(line.metric, line.acceptable)
    ends = [value_at(end, bound, line.baseline) for end in (margins.low, margins.high)]
    low, high = ends if bound.higher_is_better else reversed(ends)
    return _inside(low, unit), _inside(high, unit)


def look_ends(line: MetricLine) -> Ends:
    """The values that the looks leave possible; both open without a look."""
    return (None, None) if line.look is None else possible(line.look, line)


def _inside(value: float | None, unit: Unit) -> float | None:
    if value is None or unit not in NOT_NEGATIVE:
        return value
    return max(0.0, min(value, 1.0) if unit == "share" else value)
