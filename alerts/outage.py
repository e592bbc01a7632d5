"""`outage`: the baseline itself fails more than the candidate may. Pages and holds the ramp; no rollback."""

import math
from dataclasses import dataclass, field

from alerts.baseline import RecentShare
from alerts.evidence import MINIMUM_UNITS, PAGE_CUSUM, Evidence, absolute_steps
from alerts.rule import Rule
from alerts.selection import GuardrailSample
from alerts.status import GuardrailStatus, RuleFinding, weigh
from alerts.wording import percent


@dataclass(slots=True)
class OutageState:
    """The baseline's recent outcomes and the evidence of an outage, JSON-able."""

    recent: RecentShare = field(default_factory=RecentShare)
    evidence: Evidence = field(default_factory=Evidence)


class Outage:
    """Watches the baseline of an `error_rate` rule, at that rule's limit."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = OutageState()

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted baseline exchange to the evidence."""
        if sample.candidate or self.rule.limit >= 1.0:
            return
        state = self.state
        state.recent.add(sample.completed, sample.failed)
        failure, success = absolute_steps(self.rule.limit)
        state.evidence.add(sample.unit, failure if sample.failed else success, mixture=False)
        if not sample.failed and max(state.evidence.running) > PAGE_CUSUM:
            self._restart_after_outage(sample.completed)

    def _restart_after_outage(self, now: float) -> None:
        """Drop the evidence of an outage that has ended, or the next stray failure would look like one."""
        share = self.state.recent.share(now)
        if share is not None and share <= self.rule.limit:
            self.state.evidence = Evidence()

    def _convinces(self, evidence: Evidence) -> bool:
        needed = PAGE_CUSUM + math.log(self.rule.parts)
        return evidence.cusum >= needed and evidence.adverse_units_since >= MINIMUM_UNITS

    def status(self, now: float) -> GuardrailStatus:
        """The status at monotonic `now`."""
        share = self.state.recent.share(now)
        evidence = self.state.evidence
        found = RuleFinding(
            enough=share is not None,
            over=share is not None and share > self.rule.limit,
            convincing=self._convinces(evidence),
        )
        verdict, action = weigh(self.rule, found)
        return GuardrailStatus(
            rule="outage",
            state=verdict,
            action="hold" if action == "page" else action,
            value=share,
            threshold=self.rule.limit,
            evidence={
                "ln_cusum": evidence.cusum,
                "outcomes": float(len(self.state.recent.last)),
                "adverse_units": float(evidence.adverse_units_since),
            },
            sentence=f"baseline: {percent(share)} of recent outcomes failed"
            f" (limit {percent(self.rule.limit)})"
            + ("; the candidate is not the cause, and the ramp holds" if verdict == "firing" else ""),
            category=self.rule.category,
            segment=self.rule.segment,
        )
