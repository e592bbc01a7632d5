"""Rules that compare how often units have an event: failures, callers who leave, faulty answers.

`alerts.events` has the evidence.
"""

from dataclasses import dataclass, field

from alerts.events import EventsState, UnitsCompared, note_event, over_ratio, risk_ratio
from alerts.evidence import PAGE_CUSUM, Evidence
from alerts.rule import Rule
from alerts.selection import GuardrailSample, UnitsMet, unit_slot
from alerts.status import GuardrailStatus, RuleFinding, weigh
from alerts.windows import Window
from alerts.wording import as_often, percent

RECENT = 200


@dataclass(slots=True)
class RelativeState:
    """The events and the candidate's outcomes, JSON-able.

    `failed` counts the outcomes with the event. `recent` holds the last 200 outcomes. `met` are the units
    whose first exchange is in `compared` or was.
    """

    events: EventsState
    outcomes: int = 0
    failed: int = 0
    recent: list[bool] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    met: UnitsMet = field(default_factory=UnitsMet)
    compared: UnitsCompared = field(default_factory=UnitsCompared)


class RelativeRule:
    """The candidate's units have the event more than `limit` times as often. `minimum` counts units.

    It convicts only while the candidate's share of outcomes with the event is at least `least_share`: a large
    multiple of next to nothing is still next to nothing. `of_units` and `of_outcomes` are the event in words,
    as in "units with failures" and "of the candidate's outcomes failed". `tests` is the number of tests that
    share the rule's error budget: those of `alerts.events`, and one more where a rule has its own.
    """

    def __init__(
        self, rule: Rule, *, least_share: float, of_units: str, of_outcomes: str, tests: int = 2
    ) -> None:
        self.rule = rule
        self.least_share = least_share
        self.of_units = of_units
        self.of_outcomes = of_outcomes
        self.state = RelativeState(
            events=EventsState(events=Window(rule.window_s), evidence=Evidence.of_tests(tests))
        )

    @property
    def evidence(self) -> Evidence:
        """The evidence against the candidate."""
        return self.state.events.evidence

    @property
    def convicted(self) -> bool:
        """True once the evidence was enough to roll back."""
        return self.state.events.convicted

    @property
    def recent_share(self) -> float | None:
        """The share of the candidate's last 200 outcomes with the event; None without outcomes."""
        recent = self.state.recent
        return sum(recent) / len(recent) if recent else None

    def add(
        self, *, unit: str, slot: int, candidate: bool, share: float, phase: int, at: float, event: bool
    ) -> bool:
        """Add one outcome of `unit`, whose slot this is, at monotonic `at`. True when it added to the
        evidence."""
        state, factor = self.state, self.rule.limit
        if candidate:
            self._count(unit, event)
        counted = event and note_event(
            state.events, unit=unit, candidate=candidate, share=share, at=at, factor=factor
        )
        first = state.met.meet(slot, phase=phase, at=at)
        compared = first and state.compared.add(
            self.evidence, unit=unit, candidate=candidate, share=share, event=event, factor=factor
        )
        if compared or (counted and candidate):
            self.convict()
        return counted or compared

    def convict(self) -> None:
        """Convict the candidate if the evidence is enough."""
        self.state.events.convicted = self.state.events.convicted or self._convicts()

    def _count(self, unit: str, event: bool) -> None:
        state = self.state
        state.outcomes += 1
        state.failed += event
        state.recent.append(event)
        if len(state.recent) > RECENT:
            state.recent.pop(0)
        if len(state.units) < self.rule.minimum and unit not in state.units:
            state.units.append(unit)

    def _convicts(self) -> bool:
        state, evidence = self.state, self.state.events.evidence
        run_share, recent_share = state.failed / max(1, state.outcomes), self.recent_share or 0.0
        return (run_share >= self.least_share and evidence.convicts_run(self.rule.minimum)) or (
            recent_share >= self.least_share and evidence.convicts_since(self.rule.minimum)
        )

    def over(self, now: float) -> bool:
        """True when the candidate has the event too often, whether or not that is proved."""
        over = over_ratio(self.state.events.events, now, self.rule.limit)
        return over or self.evidence.cusum >= PAGE_CUSUM

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        state, evidence = self.state, self.evidence
        found = RuleFinding(
            enough=len(state.units) >= self.rule.minimum,
            over=self.over(now),
            convincing=evidence.pages(self.rule.minimum),
            convicted=state.events.convicted,
        )
        verdict, action = weigh(self.rule, found)
        return GuardrailStatus(
            rule=self.rule.rule,
            state=verdict,
            action=action,
            value=risk_ratio(state.events.events, now),
            threshold=self.rule.limit,
            evidence=evidence.numbers() | {"outcomes": float(state.outcomes), "bad": float(state.failed)},
            sentence=self.sentence(now),
            category=self.rule.category,
            segment=self.rule.segment,
        )

    def sentence(self, now: float) -> str:
        """The candidate's and the baseline's figures."""
        state, events = self.state, self.state.events.events
        share = state.failed / state.outcomes if state.outcomes else None
        return (
            f"units with {self.of_units}: {events.over(now)} of the candidate,"
            f" {events.count(now) - events.over(now)} of the baseline"
            f"{as_often(risk_ratio(events, now), self.rule.limit)};"
            f" {percent(share)} of the candidate's {self.of_outcomes}"
        )


class ErrorRateVsBaseline(RelativeRule):
    """The candidate's units fail more than `limit` times as often.

    `least_share` is a fifth of the absolute rule's limit.
    """

    def __init__(self, rule: Rule, *, least_share: float) -> None:
        super().__init__(rule, least_share=least_share, of_units="failures", of_outcomes="outcomes failed")

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted exchange to the evidence. Call in order of completion."""
        self.add(
            unit=sample.unit,
            slot=unit_slot(sample.unit),
            candidate=sample.candidate,
            share=sample.share,
            phase=sample.phase,
            at=sample.completed,
            event=sample.failed,
        )
