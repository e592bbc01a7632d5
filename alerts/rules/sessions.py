"""`session_cost` and other sizes, and `stuck`: what goes on in the candidate's sessions, open ones too.

A session that is over a bound counts against the candidate, whether or not it has ended. Two tests by user
share one error budget:

    EVENTS  a user's first session over the bound. In a healthy canary it is the candidate's with the
            probability of its share, exactly, whatever the sessions are like (`alerts.rules.relative`).
            One that goes on through a change of share is no event: the share does not say whose it is.
    FIRST   a user's first session. From its start on it counts as one that stays within the bound, until it
            does not. So open sessions can only speak for the candidate, and the bets hold at every look.

The bound of a size is what 95 % of the baseline's sessions of the last day stay under. More of
the candidate's beyond it are evidence that its sessions are larger at all. By how much is what the limit is
about: the rule acts only while their mean is over `limit` times the baseline's, by a standard error.

`session_faults`, `session_abandoned` and `session_cache_hits` judge sessions that are over: how they went is
known at their end alone. Those whose unit kept its arm through a change of share do not count.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from alerts.evidence.counts import CountStart, RuleCounts
from alerts.evidence.exchanges import unit_slot
from alerts.evidence.sessions import STUCK_AT, LiveSession, SessionStep, is_unread, quantile
from alerts.evidence.statistics import MINIMUM_UNITS, Evidence, Steps, Window, absolute_steps
from alerts.rules.failures import TOO_HIGH
from alerts.rules.means import MeanState, ValueMeanRule
from alerts.rules.relative import (
    DAY_S,
    EventsState,
    RelativeRule,
    RelativeState,
    note_event,
    over_ratio,
    risk_ratio,
)
from alerts.rules.rule import GuardrailStatus, Rule, Waits, decided
from common.numbers import count, decimal, dollars, percent, seconds, times
from records.facts.metric import Metric
from routing.canary import ArmName

FIRST = 1
"""The number of the test of first sessions, after EVENTS."""
OVER_SHARE = 0.05
"""So many of the baseline's sessions are over the bound."""
BOUND_EACH_S = 60.0
FEWEST_SESSIONS, FEWEST_FIRSTS = 20, 50
"""Fewer of the baseline's sessions give no bound; fewer first ones say too little of those over it."""
CANDIDATES, BASELINES = 200, 500
"""The newest sessions of each arm that are remembered; up to twice as many are."""
RECENT = 200
NEARLY_ALL, LEAST_SHARE = 0.95, 0.01
MOST_STUCK = 0.2
"""More of the candidate's sessions may not be stuck, unless those of the baseline are."""
FEWEST_STUCK = 4
"""Baseline sessions, fewer of which do not tell whether getting stuck is usual there."""


class SessionRow(msgspec.Struct, array_like=True, gc=False):
    """What a rule knows of one session. `limit`: the share of first sessions that could be over the bound
    when it was counted as one; 0 for others. `counted`: it has been looked at; `over`: it is over the bound.
    """

    unit: str
    share: float
    is_first: bool
    began: float
    value: float
    limit: float = 0.0
    counted: bool = False
    over: bool = False


@dataclass(slots=True)
class ArmSessions:
    """One arm's newest sessions in the order of their start, None for those without a value; the first has
    the serial number `first`. `count` and `total` are those of the whole run, `firsts` and `over` the users'
    first sessions and those of them over the bound. JSON-able."""

    first: int = 0
    rows: list[SessionRow | None] = field(default_factory=list)
    count: int = 0
    total: float = 0.0
    firsts: int = 0
    over: int = 0

    def put(self, session: LiveSession, value: float, *, most: int) -> SessionRow | None:
        """Set a session's value. Returns its row; None for a session that is too old."""
        place = session.serial - self.first
        if place < 0:
            return None
        self.rows += [None] * (place + 1 - len(self.rows))
        row = self.rows[place]
        if row is None:
            row = self.rows[place] = SessionRow(
                session.unit, session.share, session.is_first, session.began, 0.0
            )
            self.count += 1
        self.total += value - row.value
        row.value, row.share = value, session.share
        if len(self.rows) > 2 * most:
            self.first += len(self.rows) - most
            del self.rows[:-most]
        return row

    def known(self) -> list[SessionRow]:
        """The rows."""
        return [row for row in self.rows if row is not None]

    @property
    def mean(self) -> float | None:
        """The mean of all sessions of the run; None without any."""
        return self.total / self.count if self.count else None

    def recent(self, newest: int) -> "ArmSessions":
        """The newest ones alone."""
        rows = self.rows[-newest:]
        values = [row.value for row in rows if row is not None]
        return ArmSessions(rows=rows, count=len(values), total=sum(values))

    def variance(self) -> float:
        """The variance of the mean, as a part of its square: users are alike within, and differ."""
        rows, mean = self.known(), self.mean
        if not rows or not mean:
            return 0.0
        by_user: dict[str, float] = {}
        for row in rows:
            by_user[row.unit] = by_user.get(row.unit, 0.0) + row.value - mean
        return sum(error * error for error in by_user.values()) / (len(rows) * self.count * mean * mean)


def _two() -> Evidence:
    return Evidence.of_tests(2)


@dataclass(slots=True)
class SessionsState(EventsState):
    """Both arms' sessions and the evidence. `bound` is that of monotonic `bound_at`, from `bound_of`
    sessions; None while too little is known. `not_judged`: sessions whose tool calls were not read.
    JSON-able."""

    evidence: Evidence = field(default_factory=_two)
    candidate: ArmSessions = field(default_factory=ArmSessions)
    baseline: ArmSessions = field(default_factory=ArmSessions)
    bound: float | None = None
    bound_at: float = 0.0
    bound_of: int = 0
    not_judged: int = 0


@dataclass(frozen=True, slots=True)
class SessionMeasure:
    """What a rule compares of a session. `shown`: a mean in words, "$0.41 per session"."""

    value: Callable[[LiveSession], float | None]
    shown: Callable[[float | None], str]


def _per(what: str) -> Callable[[float | None], str]:
    return lambda mean: f"{decimal(mean)} {what} per session"


MEASURES: Mapping[str, SessionMeasure] = {
    "session_cost": SessionMeasure(
        lambda session: session.cost_usd, lambda mean: f"{dollars(mean)} per session"
    ),
    "session_exchanges": SessionMeasure(lambda session: float(session.exchanges), _per("exchanges")),
    "session_tokens": SessionMeasure(
        lambda session: None if session.tokens is None else float(session.tokens),
        lambda mean: f"{count(mean)} tokens per session",
    ),
    "session_tool_calls": SessionMeasure(
        lambda session: None if session.unread else float(session.tool_calls), _per("tool calls")
    ),
    "session_length_s": SessionMeasure(
        lambda session: session.last - session.began, lambda mean: f"{seconds(mean)} per session"
    ),
}


class SessionRule:
    """The candidate's sessions are over `limit` times as large as the baseline's. `minimum` counts its users
    with a session over the bound."""

    factor, highest = 1.0, 0.0
    """The candidate's users may have a session over the bound so many times as often, which EVENTS tests. The
    last alternative of FIRST is at least `highest`."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.state = SessionsState(events=Window(rule.window_s))

    def value(self, session: LiveSession) -> float | None:
        """What is compared with the bound; None for a session that does not count so far."""
        return MEASURES[self.rule.rule].value(session)

    def hear(self, step: SessionStep) -> bool:
        """Add one more exchange of a session. True when it added to the evidence."""
        session, state = step.session, self.state
        value = self.value(session)
        if value is None:
            if self.rule.rule in _OF_CALLS and session.unread == 1 and is_unread(step.outcome):
                state.not_judged += 1
            return False
        candidate = session.arm == "candidate"
        arm, most = (state.candidate, CANDIDATES) if candidate else (state.baseline, BASELINES)
        row = arm.put(session, value, most=most)
        was_known, bound = state.bound is not None, self.bound(step.at)
        if row is None or bound is None:
            return False
        grown = (
            self._count(row, step.at, bound, candidate=candidate, held=step.held)
            if was_known
            else self._catch_up(step.at, bound)
        )
        if grown and not state.convicted:
            state.convicted = self._convicts(step.at)
        return grown

    def bound(self, now: float) -> float | None:
        """What 95 % of the baseline's sessions stay under: of those of the last day, or the newest 20. At
        most a minute old; None with fewer than 20."""
        state = self.state
        if state.bound is not None and 0.0 <= now - state.bound_at < BOUND_EACH_S:
            return state.bound
        rows = state.baseline.known()
        values = [row.value for row in rows if now - row.began < DAY_S]
        if len(values) < FEWEST_SESSIONS:
            values = [row.value for row in rows[-FEWEST_SESSIONS:]]
        if len(values) >= FEWEST_SESSIONS:
            state.bound, state.bound_of = quantile(values, 1.0 - OVER_SHARE), len(values)
        state.bound_at = now
        return state.bound

    def allowed(self) -> float:
        """The share of the candidate's first sessions that may be over the bound: by how it was found, half
        a standard error more, or by what those of the baseline really do, a fifth more."""
        state, theirs = self.state, self.state.baseline
        error = math.sqrt(OVER_SHARE * (1.0 - OVER_SHARE) / state.bound_of) if state.bound_of else 1.0
        seen = theirs.over / theirs.firsts if theirs.firsts >= FEWEST_FIRSTS else 0.0
        return max(OVER_SHARE + error / 2.0, 1.2 * seen)

    def exceeds(self, now: float, *, recently: bool) -> bool:
        """True when the candidate is over the limit by more than a standard error, in the whole run or
        `recently`."""
        mine, theirs = self._both(recently=recently)
        ratio = _ratio(mine, theirs)
        if ratio is None or ratio <= self.rule.limit:
            return False
        return math.log(ratio / self.rule.limit) > math.sqrt(mine.variance() + theirs.variance())

    def _both(self, *, recently: bool) -> tuple[ArmSessions, ArmSessions]:
        mine, theirs = self.state.candidate, self.state.baseline
        return (mine.recent(RECENT), theirs.recent(BASELINES)) if recently else (mine, theirs)

    def _catch_up(self, now: float, bound: float) -> bool:
        """Count the sessions that came before the bound was known, in the order of their start."""
        both = [(row, False) for row in self.state.baseline.known()]
        both += [(row, True) for row in self.state.candidate.known()]
        both.sort(key=lambda each: each[0].began)
        grown = [self._count(row, now, bound, candidate=candidate) for row, candidate in both]
        return any(grown)

    def _count(
        self, row: SessionRow, at: float, bound: float, *, candidate: bool, held: bool = False
    ) -> bool:
        grown = False
        if not row.counted:
            row.counted = True
            grown = row.is_first and self._begin(row, candidate=candidate)
        if row.value > bound and not row.over:
            row.over = grown = True
            if row.is_first:
                self._turn(row, candidate=candidate)
            if not held:
                note_event(
                    self.state, unit=row.unit, candidate=candidate, share=row.share, at=at, factor=self.factor
                )
        return grown

    def _begin(self, row: SessionRow, *, candidate: bool) -> bool:
        """Count a user's first session as one within the bound."""
        (self.state.candidate if candidate else self.state.baseline).firsts += 1
        limit = self.allowed()
        if not candidate or limit >= TOO_HIGH:
            return False
        row.limit = limit
        self._bet(row.unit, absolute_steps(limit, self.highest)[1])
        return True

    def _turn(self, row: SessionRow, *, candidate: bool) -> None:
        """Count it as one over the bound instead."""
        (self.state.candidate if candidate else self.state.baseline).over += 1
        limit = max(row.limit, self.allowed())
        if row.limit and limit < TOO_HIGH:
            over, before = absolute_steps(limit, self.highest)[0], absolute_steps(row.limit, self.highest)[1]
            self._bet(row.unit, (over[0] - before[0], over[1] - before[1], over[2] - before[2]))

    def _bet(self, unit: str, steps: Steps) -> None:
        self.state.evidence.add(unit, steps, test=FIRST, cusum=False)

    def _convicts(self, now: float) -> bool:
        evidence, least = self.state.evidence, self.rule.minimum
        return (self.exceeds(now, recently=False) and evidence.convicts_run(least)) or (
            self.exceeds(now, recently=True) and evidence.convicts_since(least)
        )

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        state, evidence = self.state, self.state.evidence
        waits = self._waits_for()
        return decided(
            self.rule,
            enough=waits is None,
            over=max(evidence.mixture, evidence.cusum) > 0.0
            and (self.exceeds(now, recently=False) or self.exceeds(now, recently=True)),
            convincing=evidence.pages(self.rule.minimum),
            convicted=state.convicted,
            value=self.shown_value(now),
            threshold=self.rule.limit,
            evidence=evidence.numbers() | self._counted(),
            sentence=self._sentence(now),
            waits=waits if state.candidate.count + state.baseline.count else None,
        )

    def _sentence(self, now: float) -> str:
        """What is known, and how many sessions it is not known of."""
        state = self.state
        known = [self.sentence(now)] if state.candidate.count + state.baseline.count else []
        not_judged = [NOT_JUDGED.format(state.not_judged)] if state.not_judged else []
        return "; ".join(known + not_judged) or NO_SESSIONS

    def _counted(self) -> dict[str, float]:
        mine, theirs = self.state.candidate, self.state.baseline
        found = {"sessions": float(mine.count), "baseline_sessions": float(theirs.count)}
        return found | ({} if self.state.bound is None else {"bound": self.state.bound})

    def _waits_for(self) -> Waits | None:
        mine, theirs = self.state.candidate.count, self.state.baseline.count
        if self.state.bound is None:
            return Waits(theirs, self.fewest, "baseline sessions")
        return (
            Waits(mine, self.rule.minimum, "sessions of the candidate") if mine < self.rule.minimum else None
        )

    fewest = FEWEST_SESSIONS
    """Baseline sessions from which the bound is known."""

    def shown_value(self, now: float) -> float | None:
        """How many times as large the candidate's sessions are, in the run or recently."""
        known = [_ratio(*self._both(recently=recently)) for recently in (False, True)]
        return max((ratio for ratio in known if ratio is not None), default=None)

    def sentence(self, now: float) -> str:
        """Both arms' figures."""
        state, shown = self.state, MEASURES[self.rule.rule].shown
        mine, theirs = state.candidate, state.baseline
        over = sum(row.over for row in mine.known())
        return (
            f"candidate: {shown(mine.mean)} in {mine.count}, {over} of the newest"
            f" {len(mine.known())} over what 95 % of the baseline's stay under;"
            f" baseline: {shown(theirs.mean)} in {theirs.count} (limit {times(self.rule.limit)} the baseline)"
        )


def _ratio(mine: ArmSessions, theirs: ArmSessions) -> float | None:
    return mine.mean / theirs.mean if mine.mean is not None and theirs.mean else None


NO_SESSIONS = "no sessions: no request names one, so there is nothing to compare"
NOT_JUDGED = "sessions not judged, because their tool calls could not be read: {}"
_OF_CALLS = ("stuck", "session_tool_calls")
"""Rules that need to know which tools are called."""


class StuckRule(SessionRule):
    """The candidate's users have sessions that call the same tool with the same arguments three times in a
    row more than `limit` times as often, or more than a fifth of its users' first sessions are so."""

    highest, fewest = NEARLY_ALL, FEWEST_STUCK

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.factor = rule.limit
        self.start: CountStart | None = None

    def value(self, session: LiveSession) -> float | None:
        """1 for a session that is stuck. One counts from its third exchange on: before it can hardly be."""
        is_known = session.exchanges >= STUCK_AT and not session.unread
        return float(session.is_stuck) if session.is_stuck or is_known else None

    def bound(self, now: float) -> float | None:
        """A half, from the baseline's fourth session on."""
        if self.state.bound is None and self.state.baseline.count >= self.fewest:
            self.state.bound = 0.5
        return self.state.bound

    def allowed(self) -> float:
        """A fifth, or more if so many of the baseline's are stuck."""
        theirs = self.state.baseline
        return max(MOST_STUCK, 1.5 * (theirs.over + 1.0) / (theirs.firsts + 2.0))

    def exceeds(self, now: float, *, recently: bool) -> bool:
        """True when the candidate's sessions are stuck too often by either limit."""
        mine = self.state.candidate
        share = (mine.recent(RECENT) if recently else mine).mean or 0.0
        many = share > self.allowed() and mine.total >= MINIMUM_UNITS
        return share >= LEAST_SHARE and (many or over_ratio(self.state.events, now, self.rule.limit))

    def _counted(self) -> dict[str, float]:
        now = self.counts()
        if self.start is None:
            return super()._counted() | {"bad": float(now.bad), "outcomes": float(now.outcomes)}
        found = now.after(self.start.before)
        users = min(self.state.evidence.adverse_units, found.bad)
        figures = {"since": self.start.since, "bad": found.bad, "outcomes": found.outcomes}
        return super()._counted() | figures | {"adverse_units": float(users)}

    def counts(self) -> RuleCounts:
        """The sessions of the run, and how many are stuck."""
        mine, theirs = self.state.candidate, self.state.baseline
        return RuleCounts(mine.count, int(mine.total), theirs.count, int(theirs.total))

    def count_from(self, start: CountStart | None) -> None:
        """Say from now on what was counted since this start; None: in the run."""
        self.start = start

    def shown_value(self, now: float) -> float | None:
        """How many times as often."""
        return risk_ratio(self.state.events, now)

    def sentence(self, now: float) -> str:
        """Both arms' figures."""
        since, found = "", self.counts()
        if self.start is not None:
            since, found = f" {self.start.words}", found.after(self.start.before)
        mine, theirs = (
            f"{percent(bad / of if of else None)} of {of}"
            for bad, of in ((found.bad, found.outcomes), (found.baseline_bad, found.baseline_outcomes))
        )
        return (
            f"sessions with the same tool call three times in a row{since}: {mine} of the candidate,"
            f" {theirs} of the baseline (limit {times(self.rule.limit)} as often, {percent(MOST_STUCK)})"
        )


def _none_begun() -> dict[ArmName, int]:
    return {"baseline": 0, "candidate": 0}


@dataclass(slots=True)
class SessionEventsState(RelativeState):
    """With the number of each arm's sessions, open ones too, JSON-able."""

    begun: dict[ArmName, int] = field(default_factory=_none_begun)


@dataclass(slots=True)
class SessionMeanState(MeanState):
    """With the number of each arm's sessions, open ones too, JSON-able."""

    begun: dict[ArmName, int] = field(default_factory=_none_begun)


def _begin(begun: dict[ArmName, int], session: LiveSession) -> None:
    begun[session.arm] = max(begun[session.arm], session.serial + 1)


def _with_sessions(status: GuardrailStatus, begun: Mapping[ArmName, int]) -> GuardrailStatus:
    """The status with the number of sessions. Without any it says so, and waits for nothing."""
    counted = {"sessions": float(begun["candidate"]), "baseline_sessions": float(begun["baseline"])}
    status = replace(status, evidence={**status.evidence, **counted})
    return status if any(begun.values()) else replace(status, sentence=NO_SESSIONS, waits=None)


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """What may go wrong in a session, and in words: "users with …", "of the candidate's …"."""

    had: Callable[[LiveSession], bool]
    of_units: str
    of_sessions: str


EVENTS_OF_SESSIONS: Mapping[str, SessionEvent] = {
    "session_faults": SessionEvent(
        lambda session: session.faulty, "a faulty answer in a session", "sessions have one"
    ),
    "session_abandoned": SessionEvent(
        lambda session: session.broke_off, "a session that breaks off", "sessions end left or in an error"
    ),
}


class SessionEventRule(RelativeRule):
    """The candidate's users have it happen in a session more than `limit` times as often."""

    state: SessionEventsState
    State = SessionEventsState

    def __init__(self, rule: Rule) -> None:
        self.event = event = EVENTS_OF_SESSIONS[rule.rule]
        super().__init__(
            rule, least_share=LEAST_SHARE, of_units=event.of_units, of_outcomes=event.of_sessions
        )

    def hear(self, step: SessionStep) -> bool:
        """Count a session. Nothing is evidence before its end."""
        _begin(self.state.begun, step.session)
        return False

    def end(self, session: LiveSession) -> bool:
        """Add a session that is over. True when it added to the evidence."""
        candidate, had = session.arm == "candidate", self.event.had(session)
        if candidate:
            self._see(session.unit, had)
        return self.add(
            unit=session.unit,
            slot=unit_slot(session.unit),
            candidate=candidate,
            share=session.share,
            phase=session.phase,
            at=session.last,
            event=had,
        )

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        status, known, least = super().status(now), len(self.state.units), self.rule.minimum
        if known < least:
            waits = Waits(known, least, "candidate users whose session is over")
            status = replace(status, sentence=f"{status.sentence}; waits: {waits.sentence}", waits=waits)
        return _with_sessions(status, self.state.begun)


CACHE_HITS = Metric(name="session_cache_hits", kind="rating", low=0, high=1, question="")


class CacheHitsRule(ValueMeanRule):
    """The candidate's sessions have fewer of their input tokens from the provider's cache than `limit` times
    the baseline's. A user's first session with a known number counts."""

    state: SessionMeanState

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule, CACHE_HITS, of="users")
        own = SessionMeanState(candidate=self.state.candidate, baseline=self.state.baseline)
        self.state = own  # pyright: ignore[reportIncompatibleVariableOverride]

    def hear(self, step: SessionStep) -> bool:
        """Count a session. Nothing is evidence before its end."""
        _begin(self.state.begun, step.session)
        return False

    def end(self, session: LiveSession) -> bool:
        """Add a session that is over. True when it added to the evidence."""
        value, before = session.cache_hits, self.state.evidence.observations
        if value is not None:
            self.observe_feedback(
                unit=session.unit,
                candidate=session.arm == "candidate",
                share=session.share,
                value=min(value, 1.0),
                at=session.last,
            )
        return self.state.evidence.observations > before

    def status(self, now: float) -> GuardrailStatus:
        """The rule's status at monotonic `now`."""
        return _with_sessions(super().status(now), self.state.begun)
