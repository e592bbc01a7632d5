"""What Grafana does with a dashboard's JSON before it asks: every query, its variables filled in."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "grafana" / "dashboards"
FILES = sorted(FOLDER.glob("*.json"))

OF_REPLICAS = ("Leader", "Redis reachable", "Not taken by Redis")
"""The panels that are empty over a server which runs everything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One query of one panel (or annotation) as it stands in the file."""

    dashboard: str
    panel: str
    expr: str
    legend: str
    instant: bool

    @property
    def of_replicas(self) -> bool:
        """True when only several replicas can answer it."""
        return self.panel in OF_REPLICAS


def loaded(path: Path) -> dict[str, Any]:
    """A dashboard's document."""
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def panels(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its panels but for the rows' titles."""
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def targets(panel: Mapping[str, Any], dashboard: str = "") -> Iterator[Asked]:
    """A panel's queries."""
    for target in panel["targets"]:
        yield Asked(
            dashboard=dashboard,
            panel=panel["title"],
            expr=target["expr"],
            legend=target["legendFormat"],
            instant=target["instant"],
        )


def queries() -> list[Asked]:
    """Every panel's queries in all dashboards."""
    return [asked for path in FILES for panel in panels(loaded(path)) for asked in targets(panel, path.stem)]


def annotations() -> list[Asked]:
    """Every annotation's query in all dashboards."""
    return [
        Asked(dashboard=path.stem, panel=each["name"], expr=each["expr"], legend="", instant=False)
        for path in FILES
        for each in loaded(path)["annotations"]["list"]
    ]


def filled(
    expr: str,
    *,
    canary: str,
    arm: str = "(baseline|candidate)",
    release: str = ".+",
    range_s: int,
    rate_s: int,
) -> str:
    """The expression with the variables' values; those of names as regular expressions, as in Grafana."""
    spans = {"$__rate_interval": f"{rate_s}s", "$__range": f"{range_s}s"}
    values = {**spans, "$canary": canary, "$arm": arm, "$release": release}
    for name, value in values.items():
        expr = expr.replace(name, value)
    assert "$" not in expr, f"a variable that nobody fills: {expr}"
    return expr
