"""All rules of a config as one rules file. Pure: rules in, YAML out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from alerts.prometheus.exact import exact
from alerts.prometheus.parts import Alert, Recording
from alerts.prometheus.recording import aliases
from alerts.prometheus.service import SERVICE
from alerts.prometheus.windows import windowed
from alerts.rule import Rule

RUNBOOKS = "docs/runbooks"

_HEAD = "# Written by `canary rules` from the guardrails of canary.yaml: change those, and write this anew.\n"


def rules_text(canaries: Mapping[str, Sequence[Rule]], *, runbooks: str = RUNBOOKS) -> str:
    """A rules file for these canaries' guardrails. `runbooks` is the folder or address of the alerts'
    pages."""
    forms = {name: windowed(name, rules) for name, rules in canaries.items()}
    shared = {each.record: each for own in forms.values() for form in own for each in form.shared}
    groups = [
        _group("canary-windows", shared.values(), runbooks),
        _group("canary-opentelemetry", aliases(), runbooks),
    ]
    for name, rules in canaries.items():
        parts: list[Recording | Alert] = [*exact(name, rules)]
        for form in forms[name]:
            parts += [*form.own, form.alert]
        groups.append(_group(f"canary-guardrails-{name}", parts, runbooks))
    groups.append(_group("canary-service", SERVICE, runbooks))
    document = {"groups": [group for group in groups if group["rules"]]}
    return _HEAD + yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)


def _group(name: str, parts: Iterable[Recording | Alert], runbooks: str) -> dict[str, Any]:
    return {"name": name, "rules": [part.document(runbooks.rstrip("/")) for part in parts]}


class _Dumper(yaml.SafeDumper):
    """Expressions of several lines stand as they are."""


def _text(dumper: _Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)
