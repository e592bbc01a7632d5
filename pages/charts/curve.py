"""A metric over time as a curve with its band. Geometry only."""

from dataclasses import dataclass
from datetime import date

from pages.words.figures import between, signed, title, users_of
from verdict.decision.document import MetricLine, Report
from verdict.details import MetricCourse
from verdict.terms.measures import unit_of
from verdict.terms.rubric import parse_bound

WIDTH, HEIGHT = 340.0, 170.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 4.0, 336.0, 10.0, 146.0
_AIR = 0.14
_WIDEST = 5.0
"""The drawn range, in half-widths of the last interval to either side: early intervals are far wider."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A text at a place along an axis."""

    at: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """SVG paths in WIDTH × HEIGHT. `zero` is the height of equal arms. `good` marks the better side."""

    title: str
    band: str
    line: str
    dots: tuple[tuple[float, float], ...]
    zero: float
    good: Tick
    now: str
    range: str
    days: tuple[Tick, ...]
    alternative: str


def curves(report: Report) -> list[Curve]:
    """One curve per metric with a course."""
    lines = {line.metric: line for line in report.metrics}
    return [_curve(course, lines[course.metric]) for course in report.details.over_time]


def _curve(course: MetricCourse, line: MetricLine) -> Curve:
    points = course.points
    bottom, top = _frame(course)
    first = date.fromisoformat(points[0].day).toordinal()
    span = date.fromisoformat(points[-1].day).toordinal() - first

    def x(day: str) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (date.fromisoformat(day).toordinal() - first) / span, 1)

    def y(value: float | None, end: float) -> float:
        inside = min(max(end if value is None else value, bottom), top)
        return round(_BOTTOM - (_BOTTOM - _TOP) * (inside - bottom) / (top - bottom), 1)

    upper = [f"{x(point.day)} {y(point.high, top)}" for point in points]
    lower = [f"{x(point.day)} {y(point.low, bottom)}" for point in reversed(points)]
    middle = [(x(point.day), y(point.estimate, 0.0)) for point in points]
    unit = unit_of(line.metric, line.acceptable)
    up = parse_bound(line.acceptable).higher_is_better
    now = points[-1]
    return Curve(
        title=title(line.metric),
        band=f"M{' L'.join([*upper, *lower])}Z",
        line="M" + " L".join(f"{across} {down}" for across, down in middle),
        dots=tuple(middle),
        zero=y(0.0, 0.0),
        good=Tick(at=_TOP if up else _BOTTOM + 2, anchor="start", text="↑ better" if up else "↓ better"),
        now=signed(now.estimate, unit),
        range=between(now.low, now.high, unit),
        days=tuple(
            Tick(at=x(point.day), anchor=anchor, text=f"{_short(point.day)}, {point.units:,} users")
            for point, anchor in ((points[0], "start"), (now, "end"))
        ),
        alternative=(
            f"{title(line.metric)}, candidate minus current model, as users came in: "
            f"{between(points[0].low, points[0].high, unit)} with {users_of(line.metric, points[0].units)}, "
            f"finally {signed(now.estimate, unit)} ({between(now.low, now.high, unit)}) with {now.units}"
        ),
    )


def _frame(course: MetricCourse) -> tuple[float, float]:
    """The lowest and the highest drawn value."""
    points, now = course.points, course.points[-1]
    ends = [end for point in points for end in (point.low, point.high) if end is not None]
    shown = [*ends, *(point.estimate for point in points), 0.0]
    low, high = min(shown), max(shown)
    if now.low is not None and now.high is not None:
        reach = _WIDEST * (now.high - now.low) / 2
        low, high = max(low, now.estimate - reach), min(high, now.estimate + reach)
    low, high = min(low, 0.0), max(high, 0.0)
    air = _AIR * (high - low) or 1.0
    return low - air, high + air


def _short(day: str) -> str:
    moment = date.fromisoformat(day)
    return f"{moment.day} {moment:%b}"
