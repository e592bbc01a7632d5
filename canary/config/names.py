"""Names in a config: their patterns, the metrics that need no declaration, what a mistyped one meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

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
"""The metrics that `verdict.sample.metrics` computes from the traffic."""


_CUTOFF = 0.6
"""Minimum difflib similarity for a suggestion; "shar" and "share" have .89."""


def nearest(wrong: str, right: Iterable[str]) -> str | None:
    """The most similar valid name, or None."""
    names = {name.lower(): name for name in right}
    found = get_close_matches(wrong.lower(), names, n=1, cutoff=_CUTOFF)
    return names[found[0]] if found else None


def suggestion(wrong: str, right: Iterable[str]) -> str:
    """Text to append to a message: the nearest name, else all names, else nothing."""
    names = list(right)
    found = nearest(wrong, names)
    if found is not None:
        return f'; did you mean "{found}"?'
    return f"; known names: {', '.join(names)}" if names else ""
