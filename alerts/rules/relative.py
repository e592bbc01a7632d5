"""Rules that compare how often units have an event: failures, callers who leave, faulty answers, reports.

Two tests share one error budget:

    EVENTS  a unit's first event. In a healthy canary it is the candidate's with probability w, the share,
            exactly, because a hash assigned the unit. The mixture counts a unit's first event in the run,
            the CUSUM its first in 24 hours. Weak where w is large: at 50 %, an event says little.
    UNITS   a unit's first exchange, with the event or without it, in blocks of both arms. It needs no w.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import nlargest

from alerts.evidence.counts import CountStart, HarmedUsers, RuleCounts, figures_since
from alerts.evidence.exchanges import GuardrailSample, UnitsMet, unit_slot
from alerts.evidence.statistics import (
    MINIMUM_UNITS,
    PAGE_CUSUM,
    Counted,
    Evidence,
    Window,
    relative_steps,
    unit_steps,
)
from alerts.rules.rule import GuardrailStatus, Rule, Waits, decided
from common.numbers import percent, times
from records.outcome import Outcome

DAY_S = 86_400.0
KEPT = 50_000
EVENTS, UNITS = 0, 1
"""The numbers of the tests."""
MOST_WAITING = 200


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
    if len(state.counted_at) > 2 * KEPT:
        state.counted_at = dict(nlargest(KEPT, state.counted_at.items(), key=lambda item: item[1]))
    state.events.add(at, share, over=candidate)
    of_candidate, of_baseline = relative_steps(share, factor)
    steps = of_candidate if candidate else of_baseline
    state.evidence.add(unit, steps, test=EVENTS, mixture=last is None)
    return True


@dataclass(slots=True)
class UnitsCompared:
    """Units' first exchanges, which wait until both arms have some: then they are a block.

    `candidate` holds the candidate's that wait (unit, whether it had the event), `baseline` the numbers of
    the baseline's that wait (without, with the event), `known` those of the blocks so far.
    """

    candidate: list[tuple[str, bool]] = field(default_factory=list)
    baseline: list[int] = field(default_factory=lambda: [0, 0])
    known: list[int] = field(default_factory=lambda: [0, 0])

    def add(
        self, evidence: Evidence, *, unit: str, candidate: bool, share: float, event: bool, factor: float
    ) -> bool:
        """Add a unit's first exchange. True when it completed a block, which is in the evidence now."""
        if not 0.0 < share < 1.0:
            return False
        if candidate:
            self.candidate.append((unit, event))
            del self.candidate[:-MOST_WAITING]
        else:
            self.baseline[event] += 1
        usual = (1.0 - share) / share  # baseline units for each of the candidate
        waiting = sum(self.baseline)
        if not self.candidate:
            if waiting > 4.0 * usual + 4.0:  # they were there long before the next one of the candidate
                self.baseline = [0, 0]
            return False
        if not waiting or waiting < len(self.candidate) * usual / 2.0:
            return False
        self._close(evidence, factor)
        return True

    def _close(self, evidence: Evidence, factor: float) -> None:
        """Add the block to the evidence, against what earlier blocks told of the baseline."""
        without, having = self.baseline
        weight = len(self.candidate) / (len(self.candidate) + without + having)
        steps = unit_steps((self.known[1] + 0.5) / (sum(self.known) + 10.0), weight, factor)
        if steps is not None:
            of_candidate, of_baseline = steps
            group: list[Counted] = [
                (unit, event, of_candidate[0 if event else 1]) for unit, event in self.candidate
            ]
            a, b, c = (
                sum(own[k] for _, _, own in group) + having * of_baseline[0][k] + without * of_baseline[1][k]
                for k in (0, 1, 2)
            )
            evidence.add_block(group, (a, b, c), test=UNITS)
        self.known = [self.known[0] + without, self.known[1] + having]
        self.candidate, self.baseline = [], [0, 0]


def risk_ratio(events: Window, now: float) -> float | None:
    """The candidate's event rate over the baseline's; None without a baseline event."""
    count, share = events.count(now), events.mean(now)
    if share is None or count == events.over(now):
        return None
    of_candidate = events.over(now)
    return (of_candidate / share) / ((count - of_candidate) / (1.0 - share))


def _as_often(ratio: float | None, limit: float) -> str:
    """A risk ratio and its limit. Without a baseline event the ratio is None and left out."""
    shown = "" if ratio is None else f", {times(ratio)} as often"
    return f"{shown} (limit {times(limit)})"


def over_ratio(events: Window, now: float, factor: float) -> bool:
    """True when the ratio is above `factor`, or undefined because the baseline has no event. False with fewer
    than three candidate events, or the first one would stop a ramp."""
    if events.over(now) < MINIMUM_UNITS:
        return False
    ratio = risk_ratio(events, now)
    return ratio is None or ratio > factor


RECENT = 200


@dataclass(slots=True)
class RelativeState(EventsState):
    """The events and the candidate's outcomes, JSON-able.

    `failed` counts the outcomes with the event. `recent` holds the last 200 outcomes. `met` are the units
    whose first exchange is in `compared` or was. `seen` are the outcomes that people are told of, `harmed`
    those of them with the event: every one, where the evidence takes some alone. `not_judged`: those of
    which it is not known.
    """

    outcomes: int = 0
    failed: int = 0
    recent: list[bool] = field(default_factory=list)
    units: list[str] = field(default_factory=list)
    met: UnitsMet = field(default_factory=UnitsMet)
    compared: UnitsCompared = field(default_factory=UnitsCompared)
    seen: int = 0
    harmed: HarmedUsers = field(default_factory=HarmedUsers)
    not_judged: int = 0


class RelativeRule:
    """The candidate's units have the event more than `limit` times as often. `minimum` counts units.

    `State` is what it remembers.

    It convicts only while the candidate's share of outcomes with the event is at least `least_share`: a large
    multiple of next to nothing is still next to nothing. `of_units` and `of_outcomes` are the event in words,
    as in "users with failures" and "of the candidate's outcomes failed". `tests` is the number of tests that
    share the rule's error budget: those of `alerts.rules.relative`, and one more where a rule has its own.
    """

    State: type[RelativeState] = RelativeState

    def __init__(
        self, rule: Rule, *, least_share: float, of_units: str, of_outcomes: str, tests: int = 2
    ) -> None:
        self.rule = rule
        self.least_share = least_share
        self.of_units = of_units
        self.of_outcomes = of_outcomes
        self.state = self.State(events=Window(rule.window_s), evidence=Evidence.of_tests(tests))
        self.start: CountStart | None = None

    def counts(self) -> RuleCounts:
        """What people are told of in the run."""
        return RuleCounts(self.state.seen, self.state.harmed.bad)

    def count_from(self, start: CountStart | None) -> None:
        """Say from now on what was counted since this start; None: in the run."""
        self.start = start

    def _see(self, unit: str, event: bool) -> None:
        self.state.seen += 1
        if event:
            self.state.harmed.add(unit)

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
            state, unit=unit, candidate=candidate, share=share, at=at, factor=factor
        )
        first = state.met.meet(slot, phase=phase, at=at)
        compared = first and state.compared.add(
            state.evidence, unit=unit, candidate=candidate, share=share, event=event, factor=factor
        )
        if compared or (counted and candidate):
            self.convict()
        return counted or compared

    def convict(self) -> None:
        """Convict the candidate if the evidence is enough."""
        self.state.convicted = self.state.convicted or self._convicts()

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
        state, evidence = self.state, self.state.evidence
        run_share, recent_share = state.failed / max(1, state.outcomes), self.recent_share or 0.0
        return (run_share >= self.least_share and evidence.convicts_run(self.rule.minimum)) or (
            recent_share >= self.least_share and evidence.convicts_since(self.rule.minimum)
        )

    def over(self, now: float) -> bool:
        """True when the candidate has the event too often, whether or not that is proved."""
        over = over_ratio(self.state.events, now, self.rule.limit)
        return over or self.state.evidence.cusum >= PAGE_CUSUM

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        state, evidence = self.state, self.state.evidence
        return decided(
            self.rule,
            enough=len(state.units) >= self.rule.minimum,
            over=self.over(now),
            convincing=evidence.pages(self.rule.minimum),
            convicted=state.convicted,
            value=risk_ratio(state.events, now),
            threshold=self.rule.limit,
            evidence=evidence.numbers() | self.figures(),
            sentence=self.sentence(now),
        )

    def figures(self) -> dict[str, float]:
        """The candidate's outcomes, those with the event, and their users since an incident's start."""
        counts = self.counts()
        if self.start is None:
            return {"outcomes": float(counts.outcomes), "bad": float(counts.bad)}
        return {
            name: value
            for name, value in figures_since(self.start, counts, self.state.harmed).items()
            if not name.startswith("baseline_")
        }

    def sentence(self, now: float) -> str:
        """The candidate's and the baseline's figures."""
        events, found = self.state.events, self.figures()
        share = percent(found["bad"] / found["outcomes"] if found["outcomes"] else None)
        run, what = "", f"{share} of the candidate's {self.of_outcomes}"
        if self.start is not None:
            many = f"{found['bad']:.0f} of {found['outcomes']:.0f}"
            what = f"{many} of the candidate's {self.of_outcomes} {self.start.words} ({share})"
            run = " in this run"
        return (
            f"users with {self.of_units}: {events.over(now)} of the candidate,"
            f" {events.count(now) - events.over(now)} of the baseline{run}"
            f"{_as_often(risk_ratio(events, now), self.rule.limit)}; {what}"
        )


class ErrorRateVsBaselineRule(RelativeRule):
    """The candidate's units fail more than `limit` times as often.

    `least_share` is a fifth of the absolute rule's limit.
    """

    def __init__(self, rule: Rule, *, least_share: float) -> None:
        super().__init__(rule, least_share=least_share, of_units="failures", of_outcomes="outcomes failed")

    def show(self, samples: Sequence[GuardrailSample]) -> None:
        """Count the candidate's exchanges for people, all of them."""
        for each in samples:
            if each.candidate:
                self._see(each.unit, each.failed)

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


FACTOR = 1.5
"""The candidate's units may have the trouble so many times as often, where a rule's name says it all."""
SESSIONS = 20_000
ASKED = 16
"""Questions of a session that are remembered, as in the session's row in the store."""


class ReportedEventRule:
    """The candidate's units report an event that should not happen more often: they ask for a human, say.

    `minimum` counts units that had the event, in both arms.
    """

    def __init__(self, rule: Rule, state: EventsState | None = None, *, words: str = "") -> None:
        """`words` say what the units do, as in "users who escalated"."""
        self.rule = rule
        self.state = state or EventsState(events=Window(rule.window_s))
        self.words = words or f"have {rule.rule}"

    def observe_feedback(self, *, unit: str, candidate: bool, share: float, value: float, at: float) -> None:
        """Add one report. A value of 0 means that the unit had no trouble."""
        if value > 0.0:
            self.note(unit=unit, candidate=candidate, share=share, at=at)

    def note(self, *, unit: str, candidate: bool, share: float, at: float) -> bool:
        """Add one unit's trouble. True when it added to the evidence."""
        state = self.state
        factor = self.rule.limit
        counted = note_event(state, unit=unit, candidate=candidate, share=share, at=at, factor=factor)
        if counted and candidate and not state.convicted:
            state.convicted = state.evidence.convicts(self.rule.minimum)
        return counted

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        events, evidence = self.state.events, self.state.evidence
        ratio, known = risk_ratio(events, now), events.count(now)
        enough = known >= self.rule.minimum
        return decided(
            self.rule,
            enough=enough,
            over=over_ratio(events, now, self.rule.limit) or evidence.cusum >= PAGE_CUSUM,
            convincing=evidence.pages(self.rule.minimum),
            convicted=self.state.convicted,
            value=ratio,
            threshold=self.rule.limit,
            evidence=evidence.numbers(),
            sentence=f"users who {self.words}: {events.over(now)} of the candidate,"
            f" {known - events.over(now)} of the baseline{_as_often(ratio, self.rule.limit)}",
            waits=None if enough else Waits(known, self.rule.minimum, f"users who {self.words}"),
        )


@dataclass(slots=True)
class RepeatState(EventsState):
    """The events, and each session's last questions as fingerprints."""

    asked: dict[str, list[str]] = field(default_factory=dict)


class RepeatQuestionRule(ReportedEventRule):
    """The candidate's units have to ask again more often: they say so, or a session repeats a question.

    Only canaries that count repeated questions have fingerprints.
    """

    state: RepeatState

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, RepeatState(events=Window(rule.window_s)), words="asked again")

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
