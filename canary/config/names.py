"""The names that a config may use: how those it chooses look, and the metrics that it need not declare."""

import re

CANARY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
TAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")

COMPUTED: tuple[str, ...] = (
    "latency_p50",
    "latency_p95",
    "latency_p99",
    "ttft_p50",
    "ttft_p95",
    "ttft_p99",
    "error_rate",
    "cost_per_request",
    "cost_total",
    "input_tokens",
    "output_tokens",
)
