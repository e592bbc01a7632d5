"""A whole dashboard: variables, annotations, links, rows. Classic JSON with a fixed uid."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana.describe.panel import DATASOURCE, Json, PanelRow, laid_out

SCHEMA_VERSION = 39
"""Grafana 10.4 and later read it; newer versions migrate it on load."""

_MODEL_OF_RELEASE = '/model="(?<text>[^"]+)|release="(?<value>[^"]+)/g'
"""Takes from a series what the variable shows and what it puts into queries, by Grafana's named groups."""

_KNOWN_FOR = "1h"
"""How far back a previous state is looked up, so that a gap in the scrapes is not a new start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard. `one_canary`: its canary variable allows only one name. `by_release`: it has a variable
    of releases, shown by their models."""

    uid: str
    title: str
    description: str
    rows: Sequence[PanelRow]
    since: str = "now-24h"
    one_canary: bool = False
    by_arm: bool = True
    by_release: bool = False

    def json(self) -> Json:
        """The dashboard as Grafana's JSON."""
        return {
            "id": None,
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": ["canary"],
            "schemaVersion": SCHEMA_VERSION,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "timezone": "browser",
            "refresh": "30s",
            "time": {"from": self.since, "to": "now"},
            "templating": {"list": self._variables()},
            "annotations": {"list": [_annotation(*event) for event in EVENTS]},
            "links": LINKS,
            "panels": laid_out(self.rows),
        }

    def _variables(self) -> list[Json]:
        one = {"includeAll": False, "multi": False}
        several = {"includeAll": True, "multi": True, "current": {"text": ["All"], "value": ["$__all"]}}
        canary = _query_variable("canary", "Canary", "label_values(canary_state, canary)")
        arm = _query_variable("arm", "Arm", 'label_values(canary_requests_total{canary!=""}, arm)')
        release = _query_variable("release", "Release", "query_result(canary_release_info)")
        return [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            *([release | several | {"regex": _MODEL_OF_RELEASE}] if self.by_release else []),
            canary | (one if self.one_canary else several),
            *([arm | several] if self.by_arm else []),
            _text_variable("admin_url", "Admin URL", "http://127.0.0.1:8081"),
            _text_variable("runbooks_url", "Runbooks URL", "https://canary.example/docs/runbooks"),
        ]


def _query_variable(name: str, label: str, query: str) -> Json:
    """A variable with choices from Prometheus."""
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }


def _text_variable(name: str, label: str, default: str) -> Json:
    """A variable for a text that a user or the provisioning sets."""
    chosen = {"text": default, "value": default}
    return {
        "name": name,
        "label": label,
        "type": "textbox",
        "query": default,
        "current": chosen,
        "options": [chosen | {"selected": True}],
    }


def _annotation(name: str, expr: str, text: str, colour: str) -> Json:
    return {
        "name": name,
        "enable": True,
        "datasource": DATASOURCE,
        "iconColor": colour,
        "expr": expr,
        "titleFormat": text,
        "textFormat": "",
        "tagKeys": "canary,model",
        "step": "",
        "useValueForTime": False,
    }


def _entered(state: str) -> str:
    """True for one rate interval after a canary entered this state."""
    series = f'canary_state{{canary=~"$canary",state="{state}"}}'
    return f"max by (canary) ({series}) == 1 unless {_before(series)} == 1"


def _before(series: str, by: str = "canary") -> str:
    return f"max by ({by}) (last_over_time({series}[{_KNOWN_FOR}] offset $__rate_interval))"


def _news(series: str, by: str = "canary") -> str:
    """True for one rate interval after a series of positive numbers changed or began."""
    now = f"max by ({by}) ({series})"
    return f"{now} > 0 unless {now} == {_before(series, by)}"


_SHARE = 'canary_share_ratio{canary=~"$canary"}'
_CHANGED = f"max by (canary) ({_SHARE}) != ({_before(_SHARE)} > 0) > 0"

EVENTS = (
    ("Start", _entered("running"), "{{canary}} runs", "#5b8db8"),
    ("Share", _CHANGED, "{{canary}}: share changed", "#8a6fb3"),
    ("Pause", _entered("paused"), "{{canary}} paused", "#8a6fb3"),
    ("Page", _news('canary_pages_total{canary=~"$canary"}'), "{{canary}}: somebody was paged", "#c4342b"),
    ("Rollback", _entered("rolled_back"), "{{canary}} rolled back", "#c4342b"),
    ("Promote", _entered("promoted"), "{{canary}} promoted", "#3f8f5f"),
    ("Look", _news('canary_look_day{canary=~"$canary"}'), "{{canary}}: a look at the verdict", "#5b8db8"),
    ("Model", _news("canary_model_changes", "model, kind"), "{{model}} changed", "#d9a520"),
)
"""(name, expression, text, colour): the marks of the page's charts. They come from metrics, so nothing has to
write annotations."""

LINKS: list[Json] = [
    {
        "type": "dashboards",
        "title": "canary",
        "tags": ["canary"],
        "asDropdown": True,
        "includeVars": True,
        "keepTime": True,
    },
    {
        "type": "link",
        "title": "Report",
        "url": "${admin_url}/canaries/${canary}/report",
        "icon": "doc",
        "targetBlank": True,
    },
    {"type": "link", "title": "Runbooks", "url": "${runbooks_url}", "icon": "info", "targetBlank": True},
]
