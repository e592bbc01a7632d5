"""`abandoned` and the rules about answer faults: what an exchange's status does not show.

They hear every outcome, because a unit counts once however many it has.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from alerts.evidence.counts import RuleCounts
from alerts.evidence.exchanges import GuardrailSample
from alerts.evidence.statistics import Window, absolute_steps
from alerts.rules.failures import TOO_HIGH, AwaitedOutcomes
from alerts.rules.relative import RelativeRule, RelativeState
from alerts.rules.rule import FAULT_OF, GuardrailStatus, Rule, acts_on_two
from common.numbers import percent
from records.outcome import Outcome

OUTCOMES = 2
"""The number of the test of the absolute limit, after those of `alerts.rules.relative`."""
NEARLY_ALL = 0.95
LEAST_SHARE = 0.01
ALL_LEAVE = 0.95
"""Above this share of the candidate's exchanges `abandoned` warns, whatever the baseline's callers do."""


def may_count(outcome: Outcome) -> bool:
    """False where an `OutcomeRule` learns nothing unless it meets the unit for the first time: for the
    baseline's good answers."""
    return outcome.arm == "candidate" or bool(outcome.faults) or outcome.outcome == "aborted"


class OutcomeRule(RelativeRule):
    """A relative rule on an event of the outcome itself. `event` is None for outcomes that do not count."""

    def __init__(
        self,
        rule: Rule,
        event: Callable[[Outcome], bool | None],
        *,
        of_units: str,
        of_outcomes: str,
        tests: int = 2,
    ) -> None:
        super().__init__(
            rule, least_share=LEAST_SHARE, of_units=of_units, of_outcomes=of_outcomes, tests=tests
        )
        self.event = event

    def hear(self, outcome: Outcome, at: float, slot: int) -> bool:
        """Add one outcome that arrived at monotonic `at`, of a unit of this slot. True when it added to the
        evidence."""
        event = self.event(outcome)
        if event is None:
            return False
        if outcome.arm == "candidate":
            self._see(outcome.unit, event)
        return self.add(
            unit=outcome.unit,
            slot=slot,
            candidate=outcome.arm == "candidate",
            share=outcome.share,
            phase=outcome.phase,
            at=at,
            event=event,
        )


class AbandonmentRule(OutcomeRule):
    """The candidate's callers leave without an answer more than `limit` times as often."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(
            rule,
            lambda outcome: outcome.abandoned,
            of_units="callers who left without an answer",
            of_outcomes="exchanges were left",
        )

    def over(self, now: float) -> bool:
        """True when the candidate's callers leave too often, or nearly all of them leave."""
        return super().over(now) or (self.recent_share or 0.0) >= ALL_LEAVE


class AnswerFaultRule(OutcomeRule):
    """The candidate's answers have a fault more than `limit` times as often.

    Exchanges whose answer was not read (`Outcome.finish` None) do not count, unless a fault ended them.
    """

    def __init__(self, rule: Rule, *, tests: int = 2) -> None:
        self.kind = kind = FAULT_OF[rule.rule]
        super().__init__(
            rule,
            lambda outcome: kind.event(
                outcome.faults,
                read=outcome.finish is not None,
                checked=outcome.output_check == "judged",
            ),
            of_units=f"{kind.words} answers",
            of_outcomes=f"answers are {kind.words}",
            tests=tests,
        )

    def hear(self, outcome: Outcome, at: float, slot: int) -> bool:
        """Add one outcome, as `OutcomeRule.hear`."""
        if self.kind.checked and outcome.arm == "candidate" and outcome.output_check == "not_judged":
            self.state.not_judged += 1
        return super().hear(outcome, at, slot)

    def sentence(self, now: float) -> str:
        """The candidate's and the baseline's figures, and how many answers they say nothing of."""
        return super().sentence(now) + self._not_judged()

    def _not_judged(self) -> str:
        unknown = self.state.not_judged
        return f"; not judged: {unknown} of its answers" if unknown else ""


@dataclass(slots=True)
class UnusableState(RelativeState):
    """The state of a rule with an absolute limit, too, JSON-able."""

    awaited: AwaitedOutcomes = field(default_factory=AwaitedOutcomes)


class UnusableAnswerRule(AnswerFaultRule):
    """An answer fault that leaves nothing to use. Beside `limit` times the baseline, more than a fixed share
    of the candidate's outcomes is too much, as for `error_rate`, in one error budget. That decides as soon
    at a large share of the users, where an event says little about its arm, and for two users where each
    alone is enough: two of a small team may be all that the candidate has."""

    state: UnusableState
    State = UnusableState

    def __init__(self, rule: Rule, *, most: float) -> None:
        super().__init__(rule, tests=3)
        self.most = most

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted exchange to the evidence about the absolute limit. Call in order of completion."""
        event = self.kind.event(sample.faults, read=sample.read, checked=sample.checked)
        if event is not None:
            self.state.awaited.add(sample._replace(failed=event))
            self.settle(sample.completed)

    def settle(self, now: float) -> None:
        """Score the candidate outcomes whose wait is over, oldest first."""
        for sample, limit in self.state.awaited.settled(now, self.most, self.adapted, early=True):
            if limit < TOO_HIGH:
                failure, success = absolute_steps(limit, highest=NEARLY_ALL)
                self.state.evidence.add(sample.unit, failure if sample.failed else success, test=OUTCOMES)
                if sample.failed:
                    self.convict()

    def adapted(self, baseline_share: float) -> float:
        """The absolute limit, given the baseline's own share."""
        return max(self.most, 1.5 * baseline_share)

    def _convicts(self) -> bool:
        by_two = acts_on_two(self.rule) and self.state.evidence.convicts_by_two()
        return by_two or super()._convicts()

    def over(self, now: float) -> bool:
        """True when the candidate has the fault too often by either limit."""
        return super().over(now) or self._over_most(now)

    def _over_most(self, now: float) -> bool:
        share = self.state.awaited.recent.share(now)
        limit = self.most if share is None else self.adapted(share)
        return (self.recent_share or 0.0) > limit

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        self.state.awaited.look(now)
        self.settle(now)
        return super().status(now)

    def sentence(self, now: float) -> str:
        """The candidate's and the baseline's figures, with both limits."""
        return f"{RelativeRule.sentence(self, now)} (limit {percent(self.most)}){self._not_judged()}"


@dataclass(slots=True)
class StalledState(UnusableState):
    """With the silences of the candidate's stalled streams in seconds, JSON-able."""

    silences: Window = field(default_factory=lambda: Window(None, binned=True))


class StallRule(UnusableAnswerRule):
    """Streams that fall silent in their middle. Its figures say how many did (`stalled`), and for how long
    half of them did at least (`stalled_s`)."""

    state: StalledState  # pyright: ignore[reportIncompatibleVariableOverride]
    State = StalledState

    def hear(self, outcome: Outcome, at: float, slot: int) -> bool:
        """Add one outcome, as `OutcomeRule.hear`."""
        silent_s = outcome.longest_gap_s
        if outcome.arm == "candidate" and silent_s is not None and self.event(outcome):
            self.state.silences.add(at, silent_s)
        return super().hear(outcome, at, slot)

    def counts(self) -> RuleCounts:
        """What people are told of in the run."""
        return super().counts()._replace(silent=self.state.silences.ever)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        status, silences = super().status(now), self.state.silences
        silent_s, stalled = silences.quantile(0.5, now), silences.count(now)
        if silent_s is None:
            return status
        if self.start is not None:
            stalled = self.counts().after(self.start.before).silent
        figures = {"stalled": float(stalled), "stalled_s": silent_s}
        return replace(status, evidence={**status.evidence, **figures})
