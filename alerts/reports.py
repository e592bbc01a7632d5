"""`escalated` and `repeat_question`: the candidate's units have a trouble more often than the baseline's."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from alerts.events import EventsState, note_event, over_ratio, risk_ratio
from alerts.evidence import PAGE_CUSUM
from alerts.rule import Rule
from alerts.status import GuardrailStatus, RuleFinding, weigh
from alerts.windows import Window
from alerts.wording import as_often
from records.outcome import Outcome

State = TypeVar("State", bound=EventsState)

FACTOR = 1.5
"""The candidate's units may have the trouble so many times as often. Not configurable."""
SESSIONS = 20_000
ASKED = 16
"""Questions of a session that are remembered, as in the session's row in the store."""


class TroubleRule(Generic[State]):
    """The common part of both rules. `minimum` counts units that had the trouble, in both arms."""

    words = ""

    def __init__(self, rule: Rule, state: State) -> None:
        self.rule = rule
        self.state = state

    def observe_feedback(self, *, unit: str, candidate: bool, share: float, value: float, at: float) -> None:
        """Add one report. A value of 0 means that the unit had no trouble."""
        if value > 0.0:
            self.note(unit=unit, candidate=candidate, share=share, at=at)

    def note(self, *, unit: str, candidate: bool, share: float, at: float) -> bool:
        """Add one unit's trouble. True when it added to the evidence."""
        state = self.state
        counted = note_event(state, unit=unit, candidate=candidate, share=share, at=at, factor=FACTOR)
        if counted and candidate and not state.convicted:
            state.convicted = state.evidence.convicts(self.rule.minimum)
        return counted

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        events, evidence = self.state.events, self.state.evidence
        ratio = risk_ratio(events, now)
        found = RuleFinding(
            enough=events.count(now) >= self.rule.minimum,
            over=over_ratio(events, now, FACTOR) or evidence.cusum >= PAGE_CUSUM,
            convincing=evidence.pages(self.rule.minimum),
            convicted=self.state.convicted,
        )
        verdict, action = weigh(self.rule, found)
        return GuardrailStatus(
            rule=self.rule.rule,
            state=verdict,
            action=action,
            value=ratio,
            threshold=FACTOR,
            evidence=evidence.numbers(),
            sentence=f"units that {self.words}: {events.over(now)} of the candidate,"
            f" {events.count(now) - events.over(now)} of the baseline{as_often(ratio, FACTOR)}",
            category=self.rule.category,
            segment=self.rule.segment,
        )


class Escalated(TroubleRule[EventsState]):
    """The candidate's units ask for a human more often."""

    words = "escalated"

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, EventsState(events=Window(rule.window_s)))


@dataclass(slots=True)
class RepeatState(EventsState):
    """The events, and each session's last questions as fingerprints."""

    asked: dict[str, list[str]] = field(default_factory=dict)


class RepeatQuestion(TroubleRule[RepeatState]):
    """The candidate's units have to ask again more often: they say so, or a session repeats a question.

    Only canaries that count repeated questions have fingerprints.
    """

    words = "asked again"

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, RepeatState(events=Window(rule.window_s)))

    def hear(self, outcome: Outcome, at: float) -> bool:
        """Add one outcome that arrived at monotonic `at`. True when it added to the evidence."""
        if not (outcome.session and outcome.fingerprint):
            return False
        again = self._asked_before(outcome.session, outcome.fingerprint)
        return again and self.note(
            unit=outcome.unit, candidate=outcome.arm == "candidate", share=outcome.share, at=at
        )

    def _asked_before(self, session: str, fingerprint: str) -> bool:
        sessions = self.state.asked
        asked = sessions.pop(session, [])
        sessions[session] = [*asked, fingerprint][-ASKED:]
        if len(sessions) > SESSIONS:
            del sessions[next(iter(sessions))]
        return fingerprint in asked
