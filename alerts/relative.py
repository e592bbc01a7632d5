"""`error_rate_vs_baseline` and `escalated`: the candidate's units fail, or escalate, more often.

An event is a unit's first failure or escalation. In a healthy canary it is the candidate's with probability
w, the share, exactly, because a hash assigned the unit. The mixture counts a unit's first event in the run,
the CUSUM its first in 24 hours.
"""

from dataclasses import dataclass, field
from heapq import nlargest

from alerts.evidence import MINIMUM_UNITS, PAGE_CUSUM, Evidence, relative_steps
from alerts.rule import Rule
from alerts.selection import GuardrailSample
from alerts.status import GuardrailStatus, RuleFinding, weigh
from alerts.windows import Window
from alerts.wording import as_often, percent

DAY_S = 86_400.0
RECENT = 200
UNITS = 50_000


@dataclass(slots=True)
class EventsState:
    """The events (value: the share, over: the candidate's), and when each unit last counted."""

    events: Window
    evidence: Evidence = field(default_factory=Evidence)
    counted_at: dict[str, float] = field(default_factory=dict)
    convicted: bool = False


def note_event(
    state: EventsState, *, unit: str, candidate: bool, share: float, at: float, factor: float
) -> bool:
    """Add one unit's event to the evidence. True when it counted. With `share` outside (0, 1) it does not."""
    last = state.counted_at.get(unit)
    if not 0.0 < share < 1.0 or (last is not None and at - last < DAY_S):
        return False
    state.counted_at[unit] = at
    if len(state.counted_at) > 2 * UNITS:
        state.counted_at = dict(nlargest(UNITS, state.counted_at.items(), key=lambda item: item[1]))
    state.events.add(at, share, over=candidate)
    of_candidate, of_baseline = relative_steps(share, factor)
    state.evidence.add(unit, of_candidate if candidate else of_baseline, mixture=last is None)
    return True


def risk_ratio(events: Window, now: float) -> float | None:
    """The candidate's event rate over the baseline's; None without a baseline event."""
    count, share = events.count(now), events.mean(now)
    if share is None or count == events.over(now):
        return None
    of_candidate = events.over(now)
    return (of_candidate / share) / ((count - of_candidate) / (1.0 - share))


def over_ratio(events: Window, now: float, factor: float) -> bool:
    """True when the ratio is above `factor`, or undefined because the baseline has no event. False with fewer
    than three candidate events, or the first one would stop a ramp."""
    if events.over(now) < MINIMUM_UNITS:
        return False
    ratio = risk_ratio(events, now)
    return ratio is None or ratio > factor


@dataclass(slots=True)
class RelativeState:
    """The events and the candidate's outcomes, JSON-able. `recent` holds the last 200 outcomes."""

    events: EventsState
    outcomes: int = 0
    failed: int = 0
    recent: list[bool] = field(default_factory=list)
    units: list[str] = field(default_factory=list)


class ErrorRateVsBaseline:
    """The candidate's units fail more than `limit` times as often. `minimum` counts units.

    It convicts only while the candidate's failing share is at least `least_share`, a fifth of the absolute
    rule's limit: a large multiple of a tiny failure rate is still tiny.
    """

    def __init__(self, rule: Rule, *, least_share: float) -> None:
        self.rule = rule
        self.least_share = least_share
        self.state = RelativeState(events=EventsState(events=Window(rule.window_s)))

    @property
    def evidence(self) -> Evidence:
        """The evidence against the candidate."""
        return self.state.events.evidence

    @property
    def convicted(self) -> bool:
        """True once the evidence was enough to roll back."""
        return self.state.events.convicted

    def score(self, sample: GuardrailSample) -> None:
        """Add one counted exchange to the evidence. Call in order of completion."""
        state = self.state
        if sample.candidate:
            self._count(sample)
        if not sample.failed:
            return
        counted = note_event(
            state.events,
            unit=sample.unit,
            candidate=sample.candidate,
            share=sample.share,
            at=sample.completed,
            factor=self.rule.limit,
        )
        if counted and sample.candidate and not state.events.convicted:
            state.events.convicted = self._convicts()

    def _count(self, sample: GuardrailSample) -> None:
        state = self.state
        state.outcomes += 1
        state.failed += sample.failed
        state.recent.append(sample.failed)
        if len(state.recent) > RECENT:
            state.recent.pop(0)
        if len(state.units) < self.rule.minimum and sample.unit not in state.units:
            state.units.append(sample.unit)

    def _convicts(self) -> bool:
        state, evidence = self.state, self.state.events.evidence
        run_share = state.failed / state.outcomes
        recent_share = sum(state.recent) / len(state.recent)
        return (run_share >= self.least_share and evidence.convicts_run(self.rule.minimum)) or (
            recent_share >= self.least_share and evidence.convicts_since(self.rule.minimum)
        )

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        state, events = self.state, self.state.events.events
        evidence = state.events.evidence
        ratio = risk_ratio(events, now)
        found = RuleFinding(
            enough=len(state.units) >= self.rule.minimum,
            over=over_ratio(events, now, self.rule.limit) or evidence.cusum >= PAGE_CUSUM,
            convincing=evidence.pages(self.rule.minimum),
            convicted=state.events.convicted,
        )
        verdict, action = weigh(self.rule, found)
        share = state.failed / state.outcomes if state.outcomes else None
        return GuardrailStatus(
            rule=self.rule.rule,
            state=verdict,
            action=action,
            value=ratio,
            threshold=self.rule.limit,
            evidence=evidence.numbers() | {"outcomes": float(state.outcomes), "bad": float(state.failed)},
            sentence=f"units with failures: {events.over(now)} of the candidate,"
            f" {events.count(now) - events.over(now)} of the baseline{as_often(ratio, self.rule.limit)};"
            f" {percent(share)} of the candidate's outcomes failed",
            category=self.rule.category,
            segment=self.rule.segment,
        )


class Escalated:
    """The candidate's units ask for a human more often. `minimum` counts units that did, in both arms."""

    factor = 1.5

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = EventsState(events=Window(rule.window_s))

    def observe_feedback(self, *, unit: str, candidate: bool, share: float, value: float, at: float) -> None:
        """Add one report. A value of 0 means that the unit did not escalate."""
        if value <= 0.0:
            return
        state = self.state
        counted = note_event(state, unit=unit, candidate=candidate, share=share, at=at, factor=self.factor)
        if counted and candidate and not state.convicted:
            state.convicted = state.evidence.convicts(self.rule.minimum)

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        events, evidence = self.state.events, self.state.evidence
        ratio = risk_ratio(events, now)
        found = RuleFinding(
            enough=events.count(now) >= self.rule.minimum,
            over=over_ratio(events, now, self.factor) or evidence.cusum >= PAGE_CUSUM,
            convincing=evidence.pages(self.rule.minimum),
            convicted=self.state.convicted,
        )
        verdict, action = weigh(self.rule, found)
        return GuardrailStatus(
            rule=self.rule.rule,
            state=verdict,
            action=action,
            value=ratio,
            threshold=self.factor,
            evidence=evidence.numbers(),
            sentence=f"units that escalated: {events.over(now)} of the candidate,"
            f" {events.count(now) - events.over(now)} of the baseline{as_often(ratio, self.factor)}",
            category=self.rule.category,
            segment=self.rule.segment,
        )
