"""`session_cost` and other sizes, and `stuck`: what goes on in the candidate's sessions, open ones too.

Two tests by user share one error budget:

    EVENTS  a user's first session over the bound. In a healthy canary it is the candidate's with the
            probability of its share, exactly, whatever the sessions are like (`alerts.rules.relative`).
            One that goes on through a change of share is no event: the share does not say whose it is.
    FIRST   a user's first session. Of a size, whose it is once it goes beyond the bound or falls silent: the
            larger it is, the rather the candidate's. Of `stuck`, whether it gets stuck: from its start on it
            counts as one that does not.

Which size is large, and when a session is asked whose it is, the sessions of both arms say together. In a
healthy canary that says nothing of the owner, whom the hash alone drew: it is the candidate with the
probability of its share. That makes the bets fair at every look, however heavy the tail is, and however old
the sessions are: right after a start, too. Each unit is asked once in each test, as what is known already
may not be bet on again, and neither arm forgets sessions sooner.

More of the candidate's sessions beyond a bound are evidence that they are larger at all. By how much is what
the limit is about: the rule acts only while their mean is over `limit` times the baseline's, by a standard
error.

`session_faults`, `session_abandoned` and `session_cache_hits` judge sessions that are over: how they went is
known at their end alone. Those whose unit kept its arm through a change of share do not count.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from alerts.evidence.counts import CountStart, RuleCounts
from alerts.evidence.exchanges import unit_slot
from alerts.evidence.sessions import (
    MOST_OPEN,
    STUCK_AT,
    LiveSession,
    SessionStep,
    SizeBound,
    is_unread,
    sizes_of,
)
from alerts.evidence.statistics import (
    MINIMUM_UNITS,
    Evidence,
    Steps,
    Window,
    absolute_steps,
    owner_steps,
)
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
"""So many of both arms' sessions are over the bound."""
BOUND_EACH_S = 60.0
FEWEST_SESSIONS = 20
"""Fewer silent sessions give no bound."""
SILENT_S = 300.0
"""A session that has been silent for so long is taken for one that goes no further."""
SILENT_KEPT = 2_000
"""The newest silent sessions of both arms that are remembered, beside the others."""
RECENT = {"candidate": 200, "baseline": 500}
"""The newest sessions of each arm, whose mean is the recent one."""
NEARLY_ALL, LEAST_SHARE = 0.95, 0.01
MOST_STUCK = 0.2
"""More of the candidate's sessions may not be stuck, unless those of the baseline are."""
FEWEST_STUCK = 4
"""Baseline sessions, fewer of which do not tell whether getting stuck is usual there."""


class SessionRow(msgspec.Struct, array_like=True, gc=False):
    """What a rule knows of one session.

    `share`: the largest it had. `held`: its unit keeps an arm through a change of share; `moved`: that, or
    its unit followed one. `is_first`: the unit's first in the run. `over`: it is over the bound. `spent`
    is 1 once FIRST counts it, and 3 once it counts as stuck. `limit`: of `stuck`, the share of first sessions
    that could be stuck when it was counted as one; 0 for others.
    """

    unit: str
    candidate: bool
    share: float
    is_first: bool
    began: float
    last: float
    value: float = 0.0
    held: bool = False
    moved: bool = False
    over: bool = False
    spent: int = 0
    limit: float = 0.0


@dataclass(slots=True)
class ArmSessions:
    """One arm's sessions: how many, and the sum of their values. `firsts` and `over` are the users' first
    sessions and those of them that are stuck, as far as FIRST counts them so. JSON-able."""

    count: int = 0
    total: float = 0.0
    firsts: int = 0
    over: int = 0

    @property
    def mean(self) -> float | None:
        """The mean value; None without a session."""
        return self.total / self.count if self.count else None

    def variance(self, rows: Sequence[SessionRow]) -> float:
        """The variance of the mean, as a part of its square, by these rows: users are alike within, and
        differ."""
        mean = self.mean
        if not rows or not mean:
            return 0.0
        by_user: dict[str, float] = {}
        for row in rows:
            by_user[row.unit] = by_user.get(row.unit, 0.0) + row.value - mean
        return sum(error * error for error in by_user.values()) / (len(rows) * self.count * mean * mean)


def _sum_of(rows: Sequence[SessionRow]) -> ArmSessions:
    return ArmSessions(count=len(rows), total=sum(row.value for row in rows))


def _two() -> Evidence:
    return Evidence.of_tests(2)


def _none_forgotten() -> dict[ArmName, int]:
    return {"baseline": 0, "candidate": 0}


@dataclass(slots=True)
class SessionsState(EventsState):
    """Both arms' sessions and the evidence, JSON-able.

    `rows` has the sessions that are remembered, by arm and serial number, in the order of their start.
    `forgotten`: each arm's serial number below which others are unknown. `sizes` and `bound` are those of
    monotonic `bound_at`, when `silent` sessions had gone silent; none while too little is known.
    `not_judged`: sessions whose tool calls were not read."""

    evidence: Evidence = field(default_factory=_two)
    candidate: ArmSessions = field(default_factory=ArmSessions)
    baseline: ArmSessions = field(default_factory=ArmSessions)
    rows: dict[str, SessionRow] = field(default_factory=dict)
    forgotten: dict[ArmName, int] = field(default_factory=_none_forgotten)
    bound: float | None = None
    sizes: list[SizeBound] = field(default_factory=list)
    bound_at: float | None = None
    silent: int = 0
    not_judged: int = 0

    def arm(self, name: ArmName) -> ArmSessions:
        """The sums of an arm."""
        return self.candidate if name == "candidate" else self.baseline

    def put(self, session: LiveSession, value: float) -> SessionRow | None:
        """Set a session's value. Returns its row; None for a session that is forgotten."""
        key, arm = f"{session.arm[0]}{session.serial}", self.arm(session.arm)
        row = self.rows.get(key)
        if row is None:
            if session.serial < self.forgotten[session.arm]:
                return None
            row = self.rows[key] = SessionRow(
                session.unit,
                session.arm == "candidate",
                session.share,
                session.is_first,
                session.began,
                session.last,
            )
            arm.count += 1
        arm.total += value - row.value
        row.value, row.last = value, session.last
        row.held = row.held or session.held
        row.moved = row.moved or session.held or session.share != row.share
        row.share = max(row.share, session.share)
        return row

    def forget(self, now: float) -> None:
        """Forget the oldest silent sessions, and the oldest of all if too many are open."""
        silent = [key for key, row in self.rows.items() if now - row.last > SILENT_S]
        for key in silent[: max(0, len(silent) - SILENT_KEPT)]:
            self._forget(key)
        for key in list(self.rows)[: max(0, len(self.rows) - MOST_OPEN - SILENT_KEPT)]:
            self._forget(key)

    def _forget(self, key: str) -> None:
        del self.rows[key]
        name: ArmName = "candidate" if key[0] == "c" else "baseline"
        self.forgotten[name] = max(self.forgotten[name], int(key[1:]) + 1)

    def of_arm(self, name: ArmName, *, recently: bool = False) -> list[SessionRow]:
        """The rows of an arm, or its newest ones."""
        rows = [row for row in self.rows.values() if row.candidate == (name == "candidate")]
        return rows[-RECENT[name] :] if recently else rows


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

    factor = 1.0
    """The candidate's users may have a session over the bound so many times as often, which EVENTS tests."""

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
        row = state.put(session, value)
        if row is None:
            return False
        every = self._finds_bounds(step.at)
        counted = [self._count(each, step.at) for each in (list(state.rows.values()) if every else [row])]
        grown = any(counted)
        if (grown or every) and not state.convicted:  # their mean may grow when all is bet
            state.convicted = self._convicts(step.at)
        return grown

    def _finds_bounds(self, now: float) -> bool:
        """Find the bounds by the sessions of the last day, or by all if too few of these are silent, without
        those that began too lately to be so. True once a minute."""
        state = self.state
        if state.bound_at is not None and 0.0 <= now - state.bound_at < BOUND_EACH_S:
            return False
        state.bound_at = now
        state.forget(now)
        known = [(row.value, now - row.last > SILENT_S, now - row.began) for row in state.rows.values()]
        every = [each for each in known if each[2] > SILENT_S]
        sizes = [(value, silent) for value, silent, age in every if age < DAY_S]
        if sum(silent for _, silent in sizes) < FEWEST_SESSIONS:
            sizes = [(value, silent) for value, silent, _ in every]
        state.silent = sum(silent for _, silent in sizes)
        if state.silent >= FEWEST_SESSIONS:
            state.sizes = sizes_of(sizes)
            over = (bound.size for bound in state.sizes if bound.beyond <= OVER_SHARE)
            state.bound = next(over, None)
        return True

    def exceeds(self, now: float, *, recently: bool) -> bool:
        """True when the candidate is over the limit by more than a standard error, in the whole run or
        `recently`."""
        mine, theirs = self._both(recently=recently)
        ratio = _ratio(mine, theirs)
        if ratio is None or ratio <= self.rule.limit:
            return False
        variance = mine.variance(self.state.of_arm("candidate", recently=recently))
        variance += theirs.variance(self.state.of_arm("baseline", recently=recently))
        return math.log(ratio / self.rule.limit) > math.sqrt(variance)

    def _both(self, *, recently: bool) -> tuple[ArmSessions, ArmSessions]:
        if not recently:
            return self.state.candidate, self.state.baseline
        return self._recent("candidate"), self._recent("baseline")

    def _recent(self, name: ArmName) -> ArmSessions:
        return _sum_of(self.state.of_arm(name, recently=True))

    def _count(self, row: SessionRow, at: float) -> bool:
        """Count a session as it stands for both tests."""
        bound, grown = self.state.bound, False
        if bound is not None and row.value > bound and not row.over:
            row.over = grown = True
            if not row.held:
                note_event(
                    self.state,
                    unit=row.unit,
                    candidate=row.candidate,
                    share=row.share,
                    at=at,
                    factor=self.factor,
                )
        first = row.is_first and self._count_first(row, at)
        return first or grown

    def _count_first(self, row: SessionRow, at: float) -> bool:
        """Bet on whose a user's first session is by its size, once it is over the bound or silent. True when
        it added to the evidence."""
        sizes, is_silent = self.state.sizes, at - row.last > SILENT_S
        if row.moved or row.spent or not sizes or not (row.over or is_silent) or not 0.0 < row.share < 1.0:
            return False
        row.spent = 1
        place = bisect_left(sizes, row.value, key=lambda bound: bound.size)
        before = sizes[place - 1].beyond if place else 1.0
        beyond = sizes[place].beyond if place < len(sizes) and is_silent else 0.0
        steps = owner_steps(row.share, before, beyond)[0 if row.candidate else 1]
        adverse = row.candidate and max(steps) > 0.0
        self.state.evidence.add(row.unit, steps, test=FIRST, cusum=False, adverse=adverse)
        return True

    def _convicts(self, now: float) -> bool:
        evidence, least = self.state.evidence, self.rule.minimum
        return (evidence.convicts_run(least) and self.exceeds(now, recently=False)) or (
            evidence.convicts_since(least) and self.exceeds(now, recently=True)
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
        known, mine, least = self._waits_for_bounds(), self.state.candidate.count, self.rule.minimum
        return known or (Waits(mine, least, "sessions of the candidate") if mine < least else None)

    def _waits_for_bounds(self) -> Waits | None:
        state, of = self.state, "sessions that were silent for five minutes"
        return None if state.sizes else Waits(state.silent, FEWEST_SESSIONS, of)

    def shown_value(self, now: float) -> float | None:
        """How many times as large the candidate's sessions are, in the run or recently."""
        known = [_ratio(*self._both(recently=recently)) for recently in (False, True)]
        return max((ratio for ratio in known if ratio is not None), default=None)

    def sentence(self, now: float) -> str:
        """Both arms' figures."""
        state, shown = self.state, MEASURES[self.rule.rule].shown
        mine, theirs = state.candidate, state.baseline
        rows = state.of_arm("candidate")
        return (
            f"candidate: {shown(mine.mean)} in {mine.count}, {sum(row.over for row in rows)} of the newest"
            f" {len(rows)} over what 95 % of both arms' stay under;"
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

    def __init__(self, rule: Rule) -> None:
        super().__init__(rule)
        self.factor = rule.limit
        self.start: CountStart | None = None

    def value(self, session: LiveSession) -> float | None:
        """1 for a session that is stuck. One counts from its third exchange on: before it can hardly be."""
        is_known = session.exchanges >= STUCK_AT and not session.unread
        return float(session.is_stuck) if session.is_stuck or is_known else None

    def _finds_bounds(self, now: float) -> bool:
        """Set the bound to a half, from the baseline's fourth session on. True when it did."""
        state = self.state
        if state.bound_at is None or now - state.bound_at >= BOUND_EACH_S:
            state.bound_at = now
            state.forget(now)
        if state.bound is not None or state.baseline.count < FEWEST_STUCK:
            return False
        state.bound = 0.5
        return True

    def allowed(self) -> float:
        """A fifth, or more if so many of the baseline's are stuck."""
        theirs = self.state.baseline
        return max(MOST_STUCK, 1.5 * (theirs.over + 1.0) / (theirs.firsts + 2.0))

    def _count_first(self, row: SessionRow, at: float) -> bool:
        """Count a user's first session as one that is not stuck, and as one that is once it is."""
        if self.state.bound is None:
            return False
        begun, turned = not row.spent & 1, row.over and not row.spent & 2
        row.spent |= 3 if row.over else 1
        grown = begun and self._begin(row)
        return (turned and self._turn(row)) or grown

    def _begin(self, row: SessionRow) -> bool:
        limit = self.allowed()
        self.state.arm("candidate" if row.candidate else "baseline").firsts += 1
        if not row.candidate or limit >= TOO_HIGH:
            return False
        row.limit = limit
        self._bet(row.unit, absolute_steps(limit, NEARLY_ALL)[1])
        return True

    def _turn(self, row: SessionRow) -> bool:
        self.state.arm("candidate" if row.candidate else "baseline").over += 1
        limit = max(row.limit, self.allowed())
        if not row.limit or limit >= TOO_HIGH:
            return False
        over, before = absolute_steps(limit, NEARLY_ALL)[0], absolute_steps(row.limit, NEARLY_ALL)[1]
        self._bet(row.unit, (over[0] - before[0], over[1] - before[1], over[2] - before[2]))
        return True

    def _bet(self, unit: str, steps: Steps) -> None:
        self.state.evidence.add(unit, steps, test=FIRST, cusum=False)

    def _waits_for_bounds(self) -> Waits | None:
        state = self.state
        return Waits(state.baseline.count, FEWEST_STUCK, "baseline sessions") if state.bound is None else None

    def exceeds(self, now: float, *, recently: bool) -> bool:
        """True when the candidate's sessions are stuck too often by either limit."""
        mine = self._recent("candidate") if recently else self.state.candidate
        share = mine.mean or 0.0
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
