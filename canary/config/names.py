"""Patterns for the names in a config, and the metrics that need no declaration."""

import re

CANARY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

COMPUTED: tuple[str, ...] = (
    "error_rate",
    "refused",
    "cut_off",
    "empty",
    "invalid_output",
    "answer_faults",
    "abandoned",
    "cost_per_request",
    "cost_total",
    "tokens",
    "session_length_s",
    "session_exchanges",
    "session_repeats",
    *(f"{time}_{level}" for time in ("latency", "ttft") for level in ("p50", "p90", "p95", "p99")),
)
"""The metrics that `report.metrics` computes from the traffic."""
