"""`abandoned` and the rules about answer faults: what an exchange's status does not show.

They hear every outcome, because a unit counts once however many it has.
"""

from collections.abc import Callable

from alerts.relative import RelativeRule
from alerts.rule import FAULT_OF, Rule
from records.outcome import Outcome

LEAST_SHARE = 0.01
ALL_LEAVE = 0.95
"""Above this share of the candidate's exchanges `abandoned` warns, whatever the baseline's callers do."""


def may_count(outcome: Outcome) -> bool:
    """False where no `OutcomeRule` learns anything: for the baseline's good answers."""
    return outcome.arm == "candidate" or bool(outcome.faults) or outcome.outcome == "aborted"


class OutcomeRule(RelativeRule):
    """A relative rule on an event of the outcome itself. `event` is None for outcomes that do not count."""

    def __init__(
        self, rule: Rule, event: Callable[[Outcome], bool | None], *, of_units: str, of_outcomes: str
    ) -> None:
        super().__init__(rule, least_share=LEAST_SHARE, of_units=of_units, of_outcomes=of_outcomes)
        self.event = event

    def hear(self, outcome: Outcome, at: float) -> bool:
        """Add one outcome that arrived at monotonic `at`. True when it added to the evidence."""
        event = self.event(outcome)
        if event is None:
            return False
        return self.add(
            unit=outcome.unit,
            candidate=outcome.arm == "candidate",
            share=outcome.share,
            at=at,
            event=event,
        )


class Abandoned(OutcomeRule):
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


class AnswerFault(OutcomeRule):
    """The candidate's answers have a fault more than `limit` times as often.

    Exchanges whose answer was not read (`Outcome.finish` None) do not count, unless a fault ended them.
    """

    def __init__(self, rule: Rule) -> None:
        kind = FAULT_OF[rule.rule]
        super().__init__(
            rule, kind.event, of_units=f"{kind.words} answers", of_outcomes=f"answers are {kind.words}"
        )
