"""What alerts are called. An alert, its page in docs/runbooks/ and the words of its summary go by these
names."""

from collections.abc import Mapping
from typing import Literal, get_args

from alerts.rule import Action
from alerts.status import StatusName

Severity = Literal["critical", "warning", "info"]

GUARDRAILS: Mapping[StatusName, str] = {
    "error_rate": "CanaryErrorRate",
    "error_rate_vs_baseline": "CanaryErrorRateVsBaseline",
    "latency_p95": "CanaryLatencyP95",
    "cost_per_request": "CanaryCostPerRequest",
    "csat": "CanaryCsat",
    "thumbs": "CanaryThumbs",
    "escalated": "CanaryEscalated",
    "telemetry": "CanaryTelemetry",
    "outage": "CanaryOutage",
}

ServiceName = Literal[
    "CanaryGuardrailWarns",
    "CanaryRolledBack",
    "CanaryAbsent",
    "CanaryPlanNotFollowed",
    "CanaryNoLeader",
    "CanaryRedisDown",
    "CanaryStoreDown",
    "CanaryRecordsWaiting",
    "CanaryRecordsDropped",
    "CanaryRecordsQuarantined",
    "CanaryOutcomesLost",
    "CanaryRequestsShed",
    "CanaryBreakerOpen",
    "CanaryCostUnknown",
]

ALERTS: tuple[str, ...] = (*GUARDRAILS.values(), *get_args(ServiceName))
"""Every alert that may be written."""


def severity(action: Action) -> Severity:
    """How loudly a rule of this action speaks: what pages is critical."""
    return "warning" if action == "warn" else "critical"
