"""A row's looks over the days of its plan, one bar per look. Geometry only."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pages.charts.curve import Tick
from pages.words.figures import amount, bound_words, ends_in_words, title
from verdict.decision.document import MetricLine, PlanLine, Report
from verdict.decision.plan_course import look_ends
from verdict.details import LookPoint, RowCourse
from verdict.terms.measures import unit_of
from verdict.terms.rubric import parse_bound

_LEFT, _RIGHT, _TOP, _BOTTOM = 4.0, 336.0, 18.0, 146.0
_AIR = 0.14
_WIDEST = 5.0
"""The drawn range, in reaches of the last bar to either side of the bound: early bars are far wider."""
_THICK, _BETWEEN = 11.0, 0.6
_ROOM = 100.0
"""The room that the first day's words need to either end of the axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookBar:
    """One look's bar in a chart, from `top` down to `bottom`. `kept`: within the bound (True), beyond it
    (False), or both still possible (None)."""

    x: float
    top: float
    bottom: float
    open_top: bool
    open_bottom: bool
    middle: float
    kept: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LookChart:
    """Places in a curve's WIDTH × HEIGHT. `bound` is the height of the acceptable bound, `first` the place of
    the first day on which a look may ship. `good` marks the better side."""

    title: str
    bars: tuple[LookBar, ...]
    thick: float
    bound: float
    acceptable: Tick
    good: Tick
    first: float
    now: str
    possible: str
    days: tuple[Tick, ...]
    alternative: str


def look_charts(report: Report) -> list[LookChart]:
    """One chart per row with a look."""
    lines = {line.metric: line for line in report.metrics}
    plan = report.plan
    if plan is None:
        return []
    return [_chart(course, lines[course.metric], plan) for course in report.details.looks]


def _chart(course: RowCourse, line: MetricLine, plan: PlanLine) -> LookChart:
    points, unit = course.points, unit_of(line.metric, line.acceptable)
    up = parse_bound(line.acceptable).higher_is_better
    last = plan.planned_days if points[-1].day <= plan.planned_days else 2 * plan.planned_days
    step, y = (_RIGHT - _LEFT) / last, _heights(points, up=up)

    def x(day: int) -> float:
        return round(_LEFT + step * (day - 0.5), 1)

    possible = ends_in_words(look_ends(line), unit)
    return LookChart(
        title=title(line.metric),
        bars=tuple(_bar(point, x(point.day), y, up=up) for point in points),
        thick=round(min(_THICK, _BETWEEN * step), 1),
        bound=y(0.0),
        acceptable=_acceptable(line, early=points[-1].day < last / 2),
        good=Tick(at=12.0 if up else _BOTTOM - 2, anchor="end", text="↑ better" if up else "↓ better"),
        first=round(x(plan.first_look) - step / 2, 1),
        now=amount(line.candidate, unit),
        possible=possible,
        days=_days(x, last, plan.first_look),
        alternative=(
            f"{title(line.metric)}, one bar per look from day {points[0].day} to day {points[-1].day} of "
            f"{plan.planned_days}, acceptable {bound_words(line.acceptable)}: by now the candidate may be "
            f"{possible}"
        ),
    )


def _acceptable(line: MetricLine, *, early: bool) -> Tick:
    """The bound in words, on the side without bars while it is `early`."""
    text = f"acceptable: {bound_words(line.acceptable)}"
    return Tick(at=_RIGHT, anchor="end", text=text) if early else Tick(at=_LEFT, anchor="start", text=text)


def _bar(point: LookPoint, x: float, y: Callable[[float | None], float], *, up: bool) -> LookBar:
    ends = (point.high, point.low) if up else (point.low, point.high)
    top, bottom = ends
    kept = _kept(point)
    return LookBar(
        x=x,
        top=_TOP if top is None else y(top),
        bottom=_BOTTOM if bottom is None else y(bottom),
        open_top=top is None,
        open_bottom=bottom is None,
        middle=y(point.estimate),
        kept=kept,
    )


def _kept(point: LookPoint) -> bool | None:
    if point.low is not None and point.low >= 0:
        return True
    return False if point.high is not None and point.high < 0 else None


def _heights(points: Sequence[LookPoint], *, up: bool) -> Callable[[float | None], float]:
    """A function from a margin to a height, higher values of the metric higher up; 0 is the bound."""
    low, high = _frame(points)

    def y(margin: float | None) -> float:
        part = (min(max(margin or 0.0, low), high) - low) / (high - low)
        return round(_BOTTOM - (_BOTTOM - _TOP) * (part if up else 1 - part), 1)

    return y


def _frame(points: Sequence[LookPoint]) -> tuple[float, float]:
    """The lowest and the highest margin drawn."""
    now = points[-1]
    known = [end for point in points for end in (point.low, point.high) if end is not None]
    reach = max((abs(end - now.estimate) for end in (now.low, now.high) if end is not None), default=None)
    shown = [*known, *(point.estimate for point in points)]
    low, high = min(shown), max(shown)
    if reach is not None:
        low, high = max(low, now.estimate - _WIDEST * reach), min(high, now.estimate + _WIDEST * reach)
    low, high = min(low, 0.0), max(high, 0.0)
    air = _AIR * (high - low) or 1.0
    return low - air, high + air


def _days(x: Callable[[int], float], last: int, first: int) -> tuple[Tick, ...]:
    """The first day, the last, and between them the first that may ship if there is room for words."""
    ends = (
        Tick(at=_LEFT, anchor="start", text="day 1"),
        Tick(at=_RIGHT, anchor="end", text=f"day {last}"),
    )
    if not _LEFT + _ROOM <= x(first) <= _RIGHT - _ROOM:
        return ends
    return (ends[0], Tick(at=x(first), anchor="middle", text=f"may ship from day {first}"), ends[1])
