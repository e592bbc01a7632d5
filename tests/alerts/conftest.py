"""Traffic for the guardrails: outcomes of a made-up canary on a hand clock."""

from collections.abc import Callable
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import GuardrailStatus
from records.outcome import Feedback, Outcome

EPOCH = 1_790_000_000.0


class Traffic:
    """Sends outcomes and ratings into one watch, `gap_s` apart, and judges at the clock's time."""

    def __init__(self, watch: Watch, *, share: float = 0.05) -> None:
        self.watch = watch
        self.share = share
        self.now = 10_000.0
        self.sent = 0

    def outcome(self, **changed: Any) -> Outcome:
        """An exchange that starts now; `failed=True` makes it a provider's 500."""
        self.sent += 1
        failed = changed.pop("failed", False)
        fields: dict[str, Any] = {
            "exchange_id": f"x{self.sent}",
            "at": EPOCH + self.now,
            "mono": self.now,
            "outcome": "error" if failed else "ok",
            "error_type": "provider_5xx" if failed else None,
            "canary": "support-nov",
            "run": 1,
            "phase": 1,
            "share": self.share,
            "arm": "baseline",
            "reason": "cohort",
            "unit": f"unit-{self.sent}",
            "latency_s": 0.0,
        }
        return Outcome(**{**fields, **changed})

    def send(self, count: int, *, gap_s: float = 1.0, **changed: Any) -> None:
        """`count` exchanges of as many units, unless `unit` says otherwise."""
        for _ in range(count):
            self.now += gap_s
            self.watch.observe(self.outcome(**changed))

    def both(self, count: int, *, baseline: dict[str, Any], candidate: dict[str, Any]) -> None:
        """`count` candidate exchanges, each with nineteen of the baseline before it."""
        for _ in range(count):
            self.send(19, gap_s=0.05, **baseline)
            self.send(1, gap_s=0.05, arm="candidate", **candidate)

    def rate(self, metric: str, value: float, *, candidate: bool, **changed: Any) -> None:
        """One rating of one exchange's unit."""
        self.sent += 1
        self.now += 1.0
        fields: dict[str, Any] = {
            "key": f"k{self.sent}",
            "metric": metric,
            "value": value,
            "at": EPOCH + self.now,
            "mono": self.now,
            "exchange_id": f"x{self.sent}",
            "canary": "support-nov",
            "run": 1,
            "phase": 1,
            "arm": "candidate" if candidate else "baseline",
        }
        self.watch.observe_feedback(Feedback(**{**fields, **changed}))

    def decide(self, *, routed: bool = True) -> dict[str, GuardrailStatus]:
        """Every status by its key, a moment after the last exchange has ended."""
        return {status.key: status for status in self.watch.decide(self.now + 0.001, routed=routed)}


@pytest.fixture
def traffic_of() -> Callable[[Watch], Traffic]:
    """Traffic for a watch."""
    return Traffic
