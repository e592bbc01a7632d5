"""Panels and their JSON for Grafana, independent of canary's metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
Kind = Literal["timeseries", "stat", "state-timeline", "bargauge", "table"]

DATASOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
"""The columns of Grafana's grid."""

BLUE = "#3b6ea5"
ARM_COLOURS = {"baseline": "#5b8db8", "candidate": "#e0822f"}
"""The arms' colours in every panel, distinguishable without red and green."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One PromQL expression. `legend` is in Grafana's form, `{{arm}}`. `instant`: one value, not a range."""

    expr: str
    legend: str = ""
    instant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel. `unit` is a Grafana unit id. `names` maps values to (text, colour)."""

    title: str
    description: str
    kind: Kind
    unit: str
    queries: Sequence[Query]
    width: int = 8
    height: int = 8
    stacked: bool = False
    decimals: int | None = None
    largest: float | None = None
    names: Mapping[float, tuple[str, str]] = field(default_factory=dict)
    show: Literal["value", "name"] = "value"


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelRow:
    """A row title and its panels, which flow from left to right."""

    title: str
    panels: Sequence[Panel]


def laid_out(rows: Sequence[PanelRow]) -> list[Json]:
    """All rows' panels as Grafana's JSON, placed on its grid and numbered from 1."""
    placed: list[Json] = []
    top = 0
    for row in rows:
        placed.append(_row(row.title, len(placed) + 1, top))
        top += 1
        left = tallest = 0
        for panel in row.panels:
            if left + panel.width > WIDTH:
                top, left, tallest = top + tallest, 0, 0
            at = {"x": left, "y": top, "w": panel.width, "h": panel.height}
            placed.append(_panel(panel, len(placed) + 1, at))
            left, tallest = left + panel.width, max(tallest, panel.height)
        top += tallest
    return placed


def _row(title: str, number: int, top: int) -> Json:
    at = {"x": 0, "y": top, "w": WIDTH, "h": 1}
    return {"id": number, "type": "row", "title": title, "collapsed": False, "gridPos": at, "panels": []}


def _panel(panel: Panel, number: int, at: Json) -> Json:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATASOURCE,
        "gridPos": at,
        "targets": [_target(query, place, panel.kind) for place, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _arm_colours(panel)},
        "options": _OPTIONS[panel.kind] | ({"textMode": "name"} if panel.show == "name" else {}),
    } | ({"transformations": _TABLE} if panel.kind == "table" else {})


def _target(query: Query, place: int, kind: Kind) -> Json:
    mode: Json = {"instant": query.instant, "range": not query.instant}
    return {
        "refId": chr(ord("A") + place),
        "datasource": DATASOURCE,
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "format": "table" if kind == "table" else "time_series",
        "editorMode": "code",
    } | mode


def _defaults(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "color": _COLOURS[panel.kind], "thresholds": _NO_THRESHOLDS}
    if panel.kind in ("timeseries", "bargauge"):
        defaults["min"] = 0
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.largest is not None:
        defaults["max"] = panel.largest
    if panel.names:
        options = {
            f"{value:g}": {"text": text, "color": colour, "index": place}
            for place, (value, (text, colour)) in enumerate(panel.names.items())
        }
        defaults["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 2,
            "fillOpacity": 40 if panel.stacked else 0,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
    if panel.kind == "state-timeline":
        defaults["custom"] = {"fillOpacity": 80, "lineWidth": 0}
    return defaults


def _arm_colours(panel: Panel) -> list[Json]:
    """Overrides that give an arm's series the arm's colour."""
    if not any("{{arm}}" in query.legend for query in panel.queries):
        return []
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/^{arm}/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for arm, colour in ARM_COLOURS.items()
    ]


_NO_THRESHOLDS: Json = {"mode": "absolute", "steps": [{"color": BLUE, "value": None}]}
"""Without thresholds Grafana shows values above 80 in red. Guardrails decide what is bad."""

_COLOURS: dict[Kind, Json] = {
    "timeseries": {"mode": "palette-classic"},
    "stat": {"mode": "thresholds"},
    "state-timeline": {"mode": "thresholds"},
    "bargauge": {"mode": "palette-classic"},
    "table": {"mode": "thresholds"},
}
_REDUCE: Json = {"calcs": ["lastNotNull"], "fields": "", "values": False}
_OPTIONS: dict[Kind, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": _REDUCE,
        "colorMode": "value",
        "graphMode": "none",
        "textMode": "value_and_name",
    },
    "state-timeline": {"mergeValues": True, "showValue": "auto", "rowHeight": 0.8},
    "bargauge": {"reduceOptions": _REDUCE, "orientation": "horizontal", "displayMode": "basic"},
    "table": {"showHeader": True},
}
_TABLE: list[Json] = [
    {"id": "merge", "options": {}},
    {"id": "organize", "options": {"excludeByName": {"Time": True}}},
]
