"""All rules of a config as one Prometheus rules file. Pure: guardrails in, YAML out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from alerts.prometheus.guardrails import guardrail_alerts
from alerts.prometheus.opentelemetry import aliases
from alerts.prometheus.parts import Alert, Recording
from alerts.prometheus.service import SERVICE
from alerts.rule import Rule

RUNBOOKS = "docs/runbooks"

_HEAD = "# Written by `canary rules` from canary.yaml. Do not edit; change the guardrails and run it again.\n"


def rules_text(canaries: Mapping[str, Sequence[Rule]], *, runbooks: str = RUNBOOKS) -> str:
    """The rules file for these canaries' guardrails. `runbooks` is the folder or URL of the runbook pages."""
    groups = [
        _group("canary-opentelemetry", aliases(), runbooks),
        *(
            _group(f"canary-guardrails-{name}", guardrail_alerts(name, rules), runbooks)
            for name, rules in canaries.items()
        ),
        _group("canary-service", SERVICE, runbooks),
    ]
    document = {"groups": [group for group in groups if group["rules"]]}
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)


def _group(name: str, parts: Iterable[Recording | Alert], runbooks: str) -> dict[str, Any]:
    return {"name": name, "rules": [part.document(runbooks.rstrip("/")) for part in parts]}


class _Dumper(yaml.SafeDumper):
    """Writes multi-line expressions as literal blocks."""


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
