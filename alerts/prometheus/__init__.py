"""The guardrails as Prometheus knows them: recording and alerting rules over the `canary_*` families.

Prometheus sees windows of exchanges, not users and not the whole run. So each guardrail is written twice,
under one alert name: from `canary_guardrail_state` (`source: guardrail`), which is the exact evidence, and,
where the families can tell, computed anew from a window (`source: window`).
"""

from alerts.prometheus.groups import rules_text
from alerts.prometheus.names import ALERTS

__all__ = ["ALERTS", "rules_text"]
