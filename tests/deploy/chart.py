"""The Helm chart as a test renders it: values in, Kubernetes objects out. No cluster is asked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "canary"

VERSIONS = ("1.27", "1.31", "1.37")
"""Of Kubernetes: the oldest that the chart claims, the newest known to the checker, and one between."""

OF_THE_OPERATOR = ("ServiceMonitor", "PrometheusRule")
"""Kinds that Kubernetes itself does not know."""

TOKENS = {"CANARY_SECRET": "s" * 32, "CANARY_ADMIN_TOKEN": "t" * 32}
RULES = (ROOT / "deploy" / "prometheus" / "canary.rules.yml").read_text()
CONFIG = (ROOT / "deploy" / "helm" / "canary.example.yaml").read_text()
LEAST: dict[str, Any] = {"config": CONFIG, "tokens": {"values": TOKENS}}
"""The values that everybody must give."""

ALL: dict[str, Any] = {
    "config": CONFIG,
    "image": {"repository": "registry.example/canary", "tag": "1.2.3"},
    "imagePullSecrets": [{"name": "registry"}],
    "tokens": {
        "names": [*TOKENS, "CANARY_METRICS_TOKEN"],
        "values": {**TOKENS, "CANARY_METRICS_TOKEN": "m" * 32},
    },
    "environment": {"values": {"OPENAI_API_KEY": "sk-x", "DATABASE_URL": "postgresql://u:p@db/canary"}},
    "traffic": {"nodeSelector": {"pool": "llm"}, "service": {"annotations": {"a": "b"}}},
    "jobs": {
        "watch": {"enabled": True, "args": ["--bench", "--match", "gpt-6*"]},
        "sample": {"enabled": True, "canaries": ["support-nov", "Sales.2"]},
    },
    "podLabels": {"team": "ml"},
    "podAnnotations": {"note": "x"},
    "serviceAccount": {"annotations": {"role": "x"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["llm.example.com"],
        "tls": [{"hosts": ["llm.example.com"], "secretName": "llm-tls"}],
    },
    "networkPolicy": {"adminFrom": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "rules": RULES},
}
"""Every switch on."""


def rendered(values: Mapping[str, Any], name: str = "canary") -> list[dict[str, Any]]:
    """The objects of an installation called `name` in namespace `llm`. HelmError where it is refused."""
    with helm_python.Chart.load(CHART) as chart:
        chart.validate_schema(merged(chart.values, values))
        texts = chart.render(dict(values), name=name, namespace="llm")
    documents = (yaml.safe_load_all(text) for path, text in texts.items() if path.endswith(".yaml"))
    return [each for document in documents for each in document if each]


def merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` over `defaults`, mapping by mapping, as Helm does."""
    return {**defaults} | {
        key: merged(defaults[key], value) if isinstance(value, Mapping) and key in defaults else value
        for key, value in values.items()
    }


def the(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    """The one object of a kind and name."""
    (found,) = [each for each in objects if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found
