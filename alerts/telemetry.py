"""`telemetry`: requests are routed, but no outcome arrives."""

from dataclasses import dataclass

from alerts.rule import Rule
from alerts.status import GuardrailStatus, RuleFinding, weigh


@dataclass(slots=True)
class TelemetryState:
    """Monotonic seconds: since when routed traffic has had no outcome, and when traffic was last routed.
    `heard`: an outcome of this canary has arrived."""

    silent_since: float | None = None
    routed_at: float | None = None
    heard: bool = False


class Telemetry:
    """Fires when requests were routed for `limit` seconds without one outcome."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = TelemetryState()

    def outcome_arrived(self) -> None:
        """An outcome of this canary arrived, from either arm."""
        self.state.heard = True
        self.other_outcome_arrived()

    def other_outcome_arrived(self) -> None:
        """An outcome of other traffic arrived, which also shows that outcomes get through."""
        self.state.silent_since = None

    def routed(self, now: float) -> None:
        """Requests of this canary were routed since the last judgement."""
        self.state.routed_at = now
        if self.state.silent_since is None:
            self.state.silent_since = now

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`. Time without traffic does not count as silence."""
        state = self.state
        silent_s = 0.0
        if state.silent_since is not None and state.routed_at is not None:
            recent = now - state.routed_at <= (self.rule.window_s or self.rule.limit)
            silent_s = state.routed_at - state.silent_since if recent else 0.0
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
