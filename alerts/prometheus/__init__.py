"""Prometheus rules: an alert for each guardrail, alerts about the server, OpenTelemetry names for histograms.

A guardrail's alert reads `canary_guardrail_state` and does not recompute the guardrail in PromQL: Prometheus
counts exchanges in a window, where canary counts users over the whole run.
"""

from alerts.prometheus.groups import rules_text
from alerts.prometheus.names import ALERTS

__all__ = ["ALERTS", "rules_text"]
