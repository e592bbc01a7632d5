"""A whole dashboard: its variables, its annotations, its links, its rows. Classic JSON, with a fixed uid."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana.describe.panel import DATASOURCE, Json, PanelRow, laid_out

SCHEMA_VERSION = 39
"""Grafana 10.4 and later read it; newer ones migrate it when they load it."""

_KNOWN_FOR = "1h"
"""How long a state is remembered when there was no scrape: a gap in the data is no new start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """One dashboard. `one_canary` lets its canary variable hold one name only."""

    uid: str
    title: str
    description: str
    rows: Sequence[PanelRow]
    since: str = "now-24h"
    one_canary: bool = False
    by_arm: bool = True

    def json(self) -> Json:
        """What Grafana reads."""
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
            "annotations": {"list": [_annotation(*each) for each in EVENTS]},
            "links": LINKS,
            "panels": laid_out(self.rows),
        }

    def _variables(self) -> list[Json]:
        one = {"includeAll": False, "multi": False}
        several = {"includeAll": True, "multi": True, "current": {"text": ["All"], "value": ["$__all"]}}
        canary = _asked_for("canary", "Canary", "label_values(canary_state, canary)")
        arm = _asked_for("arm", "Arm", 'label_values(canary_requests_total{canary!=""}, arm)')
        return [
            {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
            canary | (one if self.one_canary else several),
            *([arm | several] if self.by_arm else []),
            _typed("admin_url", "Admin URL", "http://127.0.0.1:8081"),
            _typed("runbooks_url", "Runbooks at", "https://canary.example/docs/runbooks"),
        ]


def _asked_for(name: str, label: str, query: str) -> Json:
    """A variable whose choices come from Prometheus."""
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


def _typed(name: str, label: str, default: str) -> Json:
    """A variable that is typed in, or set by provisioning."""
    chosen = {"text": default, "value": default}
    return {
        "name": name,
        "label": label,
        "type": "textbox",
        "query": default,
        "current": chosen,
        "options": [chosen | {"selected": True}],
    }


def _annotation(name: str, expr: str, told: str, colour: str) -> Json:
    return {
        "name": name,
        "enable": True,
        "datasource": DATASOURCE,
        "iconColor": colour,
        "expr": expr,
        "titleFormat": told,
        "textFormat": "",
        "tagKeys": "canary",
        "step": "",
        "useValueForTime": False,
    }


def _entered(state: str) -> str:
    """True for as long as one scrape lasts after a canary got into this state."""
    series = f'canary_state{{canary=~"$canary",state="{state}"}}'
    before = f"last_over_time({series}[{_KNOWN_FOR}] offset $__rate_interval)"
    return f"max by (canary) ({series}) == 1 unless max by (canary) ({before}) == 1"


_SHARE = 'canary_share_ratio{canary=~"$canary"}'
_RAISED = (
    f"max by (canary) ({_SHARE}) > "
    f"max by (canary) (last_over_time({_SHARE}[{_KNOWN_FOR}] offset $__rate_interval)) > 0"
)

EVENTS = (
    ("Start", _entered("running"), "{{canary}} runs", "#5b8db8"),
    ("Ramp", _RAISED, "{{canary}}: share raised", "#8a6fb3"),
    ("Rollback", _entered("rolled_back"), "{{canary}} rolled back", "#c4342b"),
    ("Promote", _entered("promoted"), "{{canary}} promoted", "#3f8f5f"),
)
"""Name, expression, what is shown, colour: from the gauges, so they need no writer of their own."""

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
