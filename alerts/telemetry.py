"""`telemetry`: traffic is routed, but no outcome arrives. Silence is not health."""

from dataclasses import dataclass

from alerts.rule import Rule
from alerts.status import GuardrailStatus, RuleFinding, weigh


@dataclass(slots=True)
class TelemetryState:
    """Monotonic seconds: since when routed traffic has had no outcome, and when it was last routed."""

    silent_since: float | None = None
    routed_at: float | None = None
    heard: bool = False


class Telemetry:
    """Fires when requests were routed over `limit` seconds and not one outcome was seen."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = TelemetryState()

    def heard(self) -> None:
        """An outcome of any kind, of either arm, arrived."""
        self.state.heard = True
        self.works()

    def works(self) -> None:
        """An outcome arrived, if only of other traffic: nobody is deaf."""
        self.state.silent_since = None

    def routed(self, now: float) -> None:
        """Requests of this canary were routed since the last look."""
        self.state.routed_at = now
        if self.state.silent_since is None:
            self.state.silent_since = now

    def status(self, now: float) -> GuardrailStatus:
        """The rule's judgement at monotonic `now`. The silence lasts as long as the traffic, not longer."""
        state = self.state
        silent_s = 0.0
        if state.silent_since is not None and state.routed_at is not None:
            lately = now - state.routed_at <= (self.rule.window_s or self.rule.limit)
            silent_s = state.routed_at - state.silent_since if lately else 0.0
        over = silent_s >= self.rule.limit
        found = RuleFinding(enough=state.heard or over, over=over, convincing=over)
        verdict, action = weigh(self.rule, found)
        return GuardrailStatus(
            rule=self.rule.rule,
            state=verdict,
            action=action,
            value=silent_s,
            threshold=self.rule.limit,
            sentence=f"{silent_s:.0f} s of routed traffic without an outcome (limit {self.rule.limit:.0f} s)",
            category=self.rule.category,
            segment=self.rule.segment,
        )
