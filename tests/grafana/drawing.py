"""A dashboard as one SVG, panel by panel on Grafana's grid, with what a Prometheus answered: a preview."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from xml.sax.saxutils import escape

from grafana.describe.panel import ARM_COLOURS
from tests.grafana.figures import shown, ticks

COLUMN, LINE, GAP = 58, 30, 6
"""Pixels: a grid column's width, a grid line's height, the space between panels."""

COLOURS = ("#4e79a7", "#59a14f", "#b07aa1", "#e15759", "#76b7b2", "#edc948", "#9c755f", "#ff9da7")
TITLE, LEGEND, AXIS, EDGE = 26, 20, 58, 10
MOST_NAMED = 6
STATE_COLOUR = "#b3b3b3"

Points = list[tuple[float, float]]
"""(UNIX seconds, value) pairs in the order of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One series with its name as the legend has it."""

    name: str
    labels: Mapping[str, str]
    points: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """An annotation: a moment, its colour, what it says."""

    at: float
    colour: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Where something is drawn, in pixels."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """The time that is shown, in UNIX seconds, and what happened in it."""

    start: float
    end: float
    marks: Sequence[Mark]

    def x(self, at: float, box: Box) -> float:
        """Where a moment lies."""
        return box.x + box.width * (at - self.start) / (self.end - self.start)


def drawn(title: str, panels: Sequence[tuple[Mapping[str, Any], Sequence[Named]]], times: Times) -> str:
    """The whole picture. `panels` are a dashboard's panels (rows too), each with its series."""
    lines = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel, _ in panels)
    width, height = 24 * COLUMN, lines * LINE + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'font-family="Inter, Helvetica, Arial, sans-serif" font-size="11" fill="#24292f">',
        f'<rect width="{width}" height="{height}" fill="#f4f5f5"/>',
        _text(8, 28, title, size=18, weight=600),
    ]
    for panel, series in panels:
        at = panel["gridPos"]
        place = Box(x=at["x"] * COLUMN, y=at["y"] * LINE + 40, width=at["w"] * COLUMN, height=at["h"] * LINE)
        parts += _row(panel, place) if panel["type"] == "row" else _panel(panel, series, place, times)
    return "\n".join([*parts, "</svg>\n"])


def _row(panel: Mapping[str, Any], box: Box) -> Iterator[str]:
    yield _text(box.x + 8, box.y + 21, panel["title"], size=14, weight=600)


def _panel(panel: Mapping[str, Any], series: Sequence[Named], box: Box, times: Times) -> Iterator[str]:
    width, height = box.width - GAP, box.height - GAP
    yield (
        f'<rect x="{box.x + 3}" y="{box.y + 3}" width="{width}" height="{height}" rx="3" fill="#fff" '
        f'stroke="#dcdfe3"/>'
    )
    yield _text(box.x + EDGE, box.y + 20, panel["title"], size=12, weight=600)
    inner = Box(x=box.x + EDGE, y=box.y + TITLE, width=width - 2 * EDGE + 6, height=height - TITLE)
    if not series:
        yield _text(inner.x, inner.y + inner.height / 2, "no data", colour="#8e8e8e")
        return
    draw = {
        "timeseries": _lines,
        "stat": _stat,
        "state-timeline": _states,
        "bargauge": _bars,
        "table": _table,
    }[panel["type"]]
    yield from draw(panel, series, inner, times)


def _lines(panel: Mapping[str, Any], series: Sequence[Named], box: Box, times: Times) -> Iterator[str]:
    plot = Box(x=box.x + AXIS, y=box.y + 6, width=box.width - AXIS, height=box.height - LEGEND - 30)
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    tops = _stacked(series) if stacked else [each.points for each in series]
    axis = ticks(max(value for points in tops for _, value in points))
    yield from _grid(axis, panel["fieldConfig"]["defaults"]["unit"], plot, times)

    def path(points: Points) -> str:
        return " ".join(
            f"{times.x(at, plot):.0f},{plot.y + plot.height * (1 - value / axis[-1]):.1f}"
            for at, value in points
        )

    for place, (each, points) in enumerate(zip(series, tops, strict=True)):
        colour = _colour(each, place)
        if stacked:
            own = dict(each.points)
            floor = [(at, top - own[at]) for at, top in reversed(points)]
            yield f'<polygon points="{path(points + floor)}" fill="{colour}" fill-opacity=".55"/>'
        else:
            yield f'<polyline points="{path(points)}" fill="none" stroke="{colour}" stroke-width="1.8"/>'
    yield from _legend(series, Box(x=box.x, y=box.y + box.height - 12, width=box.width, height=LEGEND))


def _grid(axis: Sequence[float], unit: str, plot: Box, times: Times) -> Iterator[str]:
    for value in axis:
        y = plot.y + plot.height * (1 - value / axis[-1])
        yield f'<line x1="{plot.x}" x2="{plot.x + plot.width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e8eaed"/>'
        yield _text(plot.x - 6, y + 4, shown(value, unit), anchor="end", colour="#6b7280", size=10)
    for place in range(5):
        at = times.start + (times.end - times.start) * place / 4
        told = f"{(at - times.start):.0f} s"
        anchor = "end" if place == 4 else "middle"
        yield _text(
            times.x(at, plot), plot.y + plot.height + 14, told, anchor=anchor, colour="#6b7280", size=10
        )
    for mark in times.marks:
        x = times.x(mark.at, plot)
        yield (
            f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{plot.y}" y2="{plot.y + plot.height}" '
            f'stroke="{mark.colour}" stroke-dasharray="3 3"><title>{escape(mark.text)}</title></line>'
        )


def _legend(series: Sequence[Named], box: Box) -> Iterator[str]:
    x = box.x
    for place, each in enumerate(series):
        told = each.name
        needed = 20 + 6.2 * len(told)
        if place and (place >= MOST_NAMED or x + needed > box.x + box.width - 40):
            yield _text(x, box.y, f"and {len(series) - place} more", colour="#6b7280", size=10)
            return
        yield f'<rect x="{x:.0f}" y="{box.y - 8:.0f}" width="10" height="8" fill="{_colour(each, place)}"/>'
        yield _text(x + 14, box.y, told, size=10)
        x += needed


def _stat(panel: Mapping[str, Any], series: Sequence[Named], box: Box, times: Times) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    each_width = box.width / len(series)
    for place, each in enumerate(series):
        x, value = box.x + each_width * (place + 0.5), each.points[-1][1]
        large = each.name if panel["options"].get("textMode") == "name" else _figure(value, defaults)
        size = min(30.0, 1.4 * each_width / max(len(large), 1))
        yield _text(
            x, box.y + box.height * 0.52, large, anchor="middle", size=size, weight=600, colour="#1f4e79"
        )
        if large != each.name:
            yield _text(x, box.y + box.height * 0.8, each.name, anchor="middle", colour="#6b7280")


def _states(panel: Mapping[str, Any], series: Sequence[Named], box: Box, times: Times) -> Iterator[str]:
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    names = {float(value): (each["text"], each["color"]) for value, each in options.items()}
    bar = Box(x=box.x + 150, y=box.y, width=box.width - 150, height=(box.height - 10) / len(series))
    for place, each in enumerate(series):
        y = bar.y + place * bar.height
        yield _text(bar.x - 8, y + bar.height / 2 + 4, each.name, anchor="end")
        for value, run in groupby(each.points, key=lambda point: point[1]):
            moments = [at for at, _ in run]
            text, colour = names.get(value, (f"{value:g}", STATE_COLOUR))
            begin = times.x(moments[0], bar)
            width = times.x(moments[-1], bar) - begin
            yield (
                f'<rect x="{begin:.0f}" y="{y + 2:.0f}" width="{width + 2:.0f}" '
                f'height="{bar.height - 4:.0f}" fill="{colour}" fill-opacity=".8"/>'
            )
            if width > 6.5 * len(text):
                yield _text(begin + 6, y + bar.height / 2 + 4, text, colour="#fff")


def _bars(panel: Mapping[str, Any], series: Sequence[Named], box: Box, times: Times) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    largest = max([defaults.get("max", 0.0), *(each.points[-1][1] for each in series)]) or 1.0
    tall = min(40.0, (box.height - 8) / len(series))
    named = min(box.width * 0.5, 16 + 6.2 * max(len(each.name) for each in series))
    for place, each in enumerate(series):
        y, value = box.y + 4 + place * tall, each.points[-1][1]
        long = max(1.0, (box.width - named - 80) * max(value, 0.0) / largest)
        yield _text(box.x + named - 6, y + tall / 2 + 4, each.name, anchor="end")
        yield (
            f'<rect x="{box.x + named:.0f}" y="{y + 3:.0f}" width="{long:.0f}" height="{tall - 6:.0f}" '
            f'fill="{_colour(each, place)}"/>'
        )
        yield _text(box.x + named + long + 6, y + tall / 2 + 4, _figure(value, defaults), weight=600)


def _table(panel: Mapping[str, Any], series: Sequence[Named], box: Box, times: Times) -> Iterator[str]:
    columns = [label for label in series[0].labels if label != "__name__"]
    wide = box.width / (len(columns) + 1)
    for place, label in enumerate([*columns, "Value"]):
        yield _text(box.x + place * wide, box.y + 16, label, weight=600)
    for line, each in enumerate(series):
        value = _figure(each.points[-1][1], panel["fieldConfig"]["defaults"])
        for place, told in enumerate([*(each.labels[label] for label in columns), value]):
            yield _text(box.x + place * wide, box.y + 38 + line * 20, told)


def _figure(value: float, defaults: Mapping[str, Any]) -> str:
    return shown(value, defaults["unit"], defaults.get("decimals"))


def _stacked(series: Sequence[Named]) -> list[Points]:
    """Each series on top of those before it."""
    tops: dict[float, float] = {}
    stacked: list[Points] = []
    for each in series:
        for at, value in each.points:
            tops[at] = tops.get(at, 0.0) + value
        stacked.append([(at, tops[at]) for at, _ in each.points])
    return stacked


def _colour(series: Named, place: int) -> str:
    """An arm's own colour where the whole name is an arm, else by its place."""
    first, _, more = series.name.partition(" ")
    return (
        ARM_COLOURS.get(first, COLOURS[place % len(COLOURS)]) if not more else COLOURS[place % len(COLOURS)]
    )


def _text(
    x: float,
    y: float,
    told: str,
    *,
    size: float = 11,
    weight: int = 400,
    anchor: str = "start",
    colour: str = "",
) -> str:
    fill = f' fill="{colour}"' if colour else ""
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size:.3g}" font-weight="{weight}" '
        f'text-anchor="{anchor}"{fill}>{escape(told)}</text>'
    )
