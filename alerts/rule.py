"""A guardrail's rule: what it compares, over which window, and what it may do; the default rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Action = Literal["warn", "page", "rollback", "hold"]
RuleName = Literal[
    "error_rate",
    "error_rate_vs_baseline",
    "latency_p95",
    "latency_vs_baseline",
    "abandoned",
    "answer_faults",
    "refused",
    "cut_off",
    "empty",
    "invalid_output",
    "cost_per_request",
    "csat",
    "thumbs",
    "helped",
    "nps",
    "escalated",
    "repeat_question",
    "telemetry",
]
FAULT_RULES: tuple[RuleName, ...] = ("answer_faults", "refused", "cut_off", "empty", "invalid_output")
CANNOT_SERVE: frozenset[RuleName] = frozenset(
    {"error_rate", "error_rate_vs_baseline", "abandoned", *FAULT_RULES}
)
"""Rules that roll back a candidate whose answers are of no use. Slow or dear answers still are."""
RATINGS: tuple[RuleName, ...] = ("csat", "thumbs", "helped", "nps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One guardrail.

    `limit` is in the rule's unit: a share for `error_rate` (.05), seconds for `latency_p95`, a factor of the
    baseline's mean rating for the ratings (.95), seconds without an outcome for `telemetry`, and a factor of
    the baseline for the others (1.5 for `latency_vs_baseline`); `escalated` and `repeat_question` ignore it.
    `window_s` None is the whole run. `minimum` counts exchanges, raters or distinct units, depending on the
    rule. Action `page` pages, `rollback` also rolls the candidate back, `hold` also stops the ramp's clock.
    `parts` is the number of parts of the traffic whose rules of this name share the error budget of one.
    """

    rule: RuleName
    limit: float
    window_s: float | None
    minimum: int
    action: Action
    category: str | None = None
    segment: Mapping[str, str] | None = None
    parts: int = 1


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(rule="error_rate", limit=0.05, window_s=None, minimum=3, action="rollback"),
    Rule(rule="error_rate_vs_baseline", limit=1.5, window_s=None, minimum=3, action="rollback"),
    Rule(rule="latency_p95", limit=3.0, window_s=600.0, minimum=50, action="rollback"),
    Rule(rule="latency_vs_baseline", limit=1.5, window_s=None, minimum=3, action="rollback"),
    Rule(rule="abandoned", limit=1.5, window_s=None, minimum=3, action="rollback"),
    Rule(rule="answer_faults", limit=1.5, window_s=None, minimum=3, action="page"),
    Rule(rule="refused", limit=1.5, window_s=None, minimum=3, action="page"),
    Rule(rule="cut_off", limit=1.5, window_s=None, minimum=3, action="page"),
    Rule(rule="empty", limit=3.0, window_s=None, minimum=3, action="rollback"),
    Rule(rule="invalid_output", limit=3.0, window_s=None, minimum=3, action="rollback"),
    Rule(rule="cost_per_request", limit=2.0, window_s=1800.0, minimum=30, action="rollback"),
    Rule(rule="csat", limit=0.95, window_s=86400.0, minimum=30, action="page"),
    Rule(rule="thumbs", limit=0.95, window_s=86400.0, minimum=30, action="page"),
    Rule(rule="helped", limit=0.95, window_s=86400.0, minimum=30, action="page"),
    Rule(rule="nps", limit=0.95, window_s=86400.0, minimum=30, action="page"),
    Rule(rule="escalated", limit=1.0, window_s=None, minimum=3, action="page"),
    Rule(rule="repeat_question", limit=1.0, window_s=None, minimum=3, action="page"),
    Rule(rule="telemetry", limit=900.0, window_s=900.0, minimum=1, action="hold"),
)
"""Those that may roll back number eight. Each convicts a healthy candidate with probability .001."""
