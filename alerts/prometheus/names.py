"""The alerts' names. Each alert has a page of the same name in docs/runbooks/."""

from collections.abc import Mapping
from typing import Literal, get_args

from alerts.status import StatusName

Severity = Literal["critical", "warning", "info"]

GUARDRAILS: Mapping[StatusName, str] = {
    "error_rate": "CanaryErrorRate",
    "error_rate_vs_baseline": "CanaryErrorRateVsBaseline",
    "latency_p95": "CanaryLatencyP95",
    "latency_vs_baseline": "CanaryLatencyVsBaseline",
    "abandoned": "CanaryAbandoned",
    "answer_faults": "CanaryAnswerFaults",
    "refused": "CanaryRefused",
    "cut_off": "CanaryCutOff",
    "empty": "CanaryEmpty",
    "invalid_output": "CanaryInvalidOutput",
    "stalled": "CanaryStalled",
    "cost_per_request": "CanaryCostPerRequest",
    "csat": "CanaryCsat",
    "thumbs": "CanaryThumbs",
    "helped": "CanaryHelped",
    "nps": "CanaryNps",
    "escalated": "CanaryEscalated",
    "repeat_question": "CanaryRepeatQuestion",
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
    "CanaryOutcomesNotRolled",
    "CanaryOutcomesLost",
    "CanaryRequestsShed",
    "CanaryBreakerOpen",
    "CanaryCostUnknown",
    "CanaryJudgePaused",
]

ALERTS: tuple[str, ...] = (*GUARDRAILS.values(), *get_args(ServiceName))
"""Every alert that `canary rules` can write."""
