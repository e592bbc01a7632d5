"""One recording or alerting rule of a Prometheus rules file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from alerts.prometheus.names import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """A recording rule: the series `record` from the expression `expr`."""

    record: str
    expr: str

    def document(self, runbooks: str) -> dict[str, Any]:
        """The rule as a rules file holds it. A recording rule has no runbook."""
        return {"record": self.record, "expr": self.expr}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alerting rule. `after` is how long `expr` must hold, as a Prometheus duration."""

    alert: str
    expr: str
    severity: Severity
    summary: str
    description: str
    after: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    def document(self, runbooks: str) -> dict[str, Any]:
        """The rule as a rules file holds it. `runbooks` is a folder or URL without a trailing slash."""
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


def quoted(text: str) -> str:
    """A label value as PromQL writes it."""
    return json.dumps(text, ensure_ascii=False)
