"""One recording or alerting rule, as it stands in a rules file, and how numbers are written in PromQL."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alerts.prometheus.names import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A series of that name, from an expression. `labels` are set on it."""

    record: str
    expr: str
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, runbooks: str) -> dict[str, Any]:
        """As in a rules file; no recording has a runbook."""
        labels = {"labels": dict(self.labels)} if self.labels else {}
        return {"record": self.record, "expr": self.expr} | labels


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert; `after` is how long its expression must hold, as Prometheus writes durations."""

    alert: str
    expr: str
    severity: Severity
    summary: str
    description: str
    after: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, runbooks: str) -> dict[str, Any]:
        """As in a rules file; `runbooks` is where the pages are, without a slash at its end."""
        return {
            "alert": self.alert,
            "expr": self.expr,
            **({"for": self.after} if self.after else {}),
            "labels": {**self.labels, "severity": self.severity},
            "annotations": {
                "summary": self.summary,
                "description": self.description,
                "runbook_url": f"{runbooks}/{self.alert}.md",
            },
        }


def duration(seconds: float) -> str:
    """Seconds as PromQL writes them, in the largest unit that leaves none over: `10m`, `90s`, `1500ms`."""
    milliseconds = round(seconds * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def number(value: float) -> str:
    """A number with six significant digits, in brackets where it is negative."""
    return f"{value:.6g}" if value >= 0 else f"({value:.6g})"


def quoted(text: str) -> str:
    """A label's value as PromQL writes it."""
    return json.dumps(text, ensure_ascii=False)
