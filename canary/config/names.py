"""The names that a config may use: how those it chooses look, and the metrics that it need not declare."""

import re

CANARY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

COMPUTED: tuple[str, ...] = (
    "error_rate",
    "cost_per_request",
    "cost_total",
    "tokens",
    "session_length_s",
    "session_exchanges",
    "session_repeats",
    *(f"{time}_{level}" for time in ("latency", "ttft") for level in ("p50", "p90", "p95", "p99")),
)
"""What a rubric may judge without anybody reporting it: the names that `report.metrics` measures."""
