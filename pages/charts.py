"""The drawings of a report, as places and paths: curves over time, bars of a metric, distributions of a time,
and the looks of a plan. Geometry only."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date

from pages.words.figures import amount, between, bound_words, ends_in_words, signed, title, users_of
from verdict.decision.document import MetricLine, PlanLine, Report
from verdict.decision.plan_course import Ends, look_ends
from verdict.details import LookPoint, MetricCourse, RowCourse, TimeSpread
from verdict.rows.reasons import GroundMoved
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
class MetricCurve:
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


def curves(report: Report) -> list[MetricCurve]:
    """One curve per metric with a course."""
    lines = {line.metric: line for line in report.metrics}
    return [_curve(course, lines[course.metric]) for course in report.details.over_time]


def _curve(course: MetricCourse, line: MetricLine) -> MetricCurve:
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
    unit = line.unit
    up = parse_bound(line.acceptable).higher_is_better
    now = points[-1]
    return MetricCurve(
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


# A metric's bar: its interval against the acceptable and the ideal bound.


BAR_WIDTH = 320.0
_BAR_LEFT, _BAR_RIGHT = 10.0, 310.0
_BAR_AIR = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class BarLabel:
    """A text under the bar at x, anchored to stay inside."""

    x: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BarStretch:
    """An interval from place to place; an open end reaches the edge."""

    low: float
    high: float
    open_low: bool
    open_high: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricBar:
    """Places in [0, BAR_WIDTH]. Zones are (x, width) on the better side of each bound. None is not drawn.

    With a plan, `decides` is what its looks leave possible (None: no look yet) and `live` the interval that
    may be read any time. Without one, `live` decides.
    """

    acceptable_zone: tuple[float, float]
    ideal_zone: tuple[float, float]
    acceptable: BarLabel
    ideal: BarLabel
    planned: bool
    decides: BarStretch | None
    live: BarStretch | None
    candidate: float | None
    baseline: float | None
    alternative: str


def bar(line: MetricLine) -> MetricBar | None:
    """A metric's bar; None for a relative bound without a baseline value."""
    bounds = parse_bound(line.acceptable), parse_bound(line.ideal)
    if bounds[0].relative and line.baseline is None:
        return None
    acceptable, ideal = (bound.at(line.baseline or 0.0) for bound in bounds)
    live, decides = _interval(line, relative=bounds[0].relative), _decides(line)
    shown = [acceptable, ideal, line.candidate, line.baseline, *(live or ()), *(decides or ())]
    place = _scale([number for number in shown if number is not None])
    up = bounds[0].higher_is_better
    return MetricBar(
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


def _stretch(ends: Ends | None, place: Callable[[float], float]) -> BarStretch | None:
    if ends is None:
        return None
    low, high = ends
    return BarStretch(
        low=_BAR_LEFT if low is None else place(low),
        high=_BAR_RIGHT if high is None else place(high),
        open_low=low is None,
        open_high=high is None,
    )


def _scale(shown: list[float]) -> Callable[[float], float]:
    """A function from the metric's unit to a place, with margins."""
    low, high = min(shown), max(shown)
    width = (high - low) or max(abs(high), 1.0)

    def place(number: float) -> float:
        part = _BAR_AIR + (1 - 2 * _BAR_AIR) * (number - low) / width
        return round(_BAR_LEFT + (_BAR_RIGHT - _BAR_LEFT) * part, 1)

    return place


def _zone(x: float, *, up: bool) -> tuple[float, float]:
    return (x, round(BAR_WIDTH - x, 1)) if up else (0.0, x)


def _label(line: MetricLine, word: str, number: float, x: float) -> BarLabel:
    anchor = "start" if x < BAR_WIDTH / 3 else "end" if x > 2 * BAR_WIDTH / 3 else "middle"
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
    possible = ends_in_words(ends, line.unit)
    return f"as of the look of day {line.look.day} {possible}"


def _shown(line: MetricLine, number: float | None) -> str:
    return amount(number, line.unit)


# Two overlaid distributions of a time on a logarithmic scale.


PLOT_WIDTH, PLOT_HEIGHT = 400.0, 180.0
_PLOT_LEFT, _PLOT_RIGHT, _PLOT_TOP, _PLOT_BOTTOM = 4.0, 396.0, 8.0, 150.0
_NAMES = {"latency": "Latency, whole answer", "ttft": "Time to first token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DensityPlot:
    """SVG paths in PLOT_WIDTH × PLOT_HEIGHT, closed along the bottom. `medians`: (baseline, candidate)."""

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
        return round(_PLOT_LEFT + (_PLOT_RIGHT - _PLOT_LEFT) * (math.log(seconds) - low) / (high - low), 1)

    tallest = max(*spread.baseline, *spread.candidate)
    middles = [math.sqrt(a * b) for a, b in zip(spread.edges_s, spread.edges_s[1:], strict=False)]

    def path(shares: Sequence[float]) -> str:
        tops = [
            f"{x(seconds)} {round(_PLOT_BOTTOM - (_PLOT_BOTTOM - _PLOT_TOP) * share / tallest, 1)}"
            for seconds, share in zip(middles, shares, strict=True)
        ]
        return f"M{_PLOT_LEFT} {_PLOT_BOTTOM} L{' L'.join(tops)} L{_PLOT_RIGHT} {_PLOT_BOTTOM}Z"

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


# A row's looks over the days of its plan, one bar per look.


_LOOK_TOP = 18.0
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
    the first day on which a look may ship, `moved` those of days on which a model changed under its name.
    `good` marks the better side."""

    title: str
    bars: tuple[LookBar, ...]
    thick: float
    bound: float
    acceptable: Tick
    good: Tick
    first: float
    moved: tuple[float, ...]
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
    moved = [each.day for each in report.reasons if isinstance(each, GroundMoved)]
    return [_look_chart(course, lines[course.metric], plan, moved) for course in report.details.looks]


def _look_chart(course: RowCourse, line: MetricLine, plan: PlanLine, moved: Sequence[int]) -> LookChart:
    points, unit = course.points, line.unit
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
        moved=tuple(round(x(day) - step / 2, 1) for day in dict.fromkeys(moved) if day <= last),
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
        top=_LOOK_TOP if top is None else y(top),
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
    low, high = _look_frame(points)

    def y(margin: float | None) -> float:
        part = (min(max(margin or 0.0, low), high) - low) / (high - low)
        return round(_BOTTOM - (_BOTTOM - _LOOK_TOP) * (part if up else 1 - part), 1)

    return y


def _look_frame(points: Sequence[LookPoint]) -> tuple[float, float]:
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
