"""One canary's guardrails: outcomes and feedback in, statuses out. Decides; `control` acts.

    watch.observe(*outcomes)    each outcome once
    watch.observe_in_flight(…)  for an exchange that has not ended
    watch.decide(now, …)        scores settled outcomes and returns every rule's status
    watch.live_document()       the whole state, for the checkpoint

Times are CLOCK_MONOTONIC seconds of one boot; `restore` converts them after a reboot.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import msgspec

from alerts.evidence.counts import CountingRule, Incidence
from alerts.evidence.exchanges import (
    EndedExchange,
    FirstStartedExchanges,
    GuardrailSample,
    RunningExchanges,
    WorkerId,
    timed_outcome,
)
from alerts.evidence.sessions import OVER_AFTER_S, LiveSessions
from alerts.incidents.incident import trouble_of
from alerts.incidents.rollback import (
    FAILURES,
    ArmTally,
    EvidencePath,
    EvidencePoint,
    FailureSample,
    RollbackEvidence,
    limits_of,
    rule_then,
    sample_of,
    seen_in,
)
from alerts.rules.failures import AbsoluteState, OutageRule, OutageState, TelemetryRule
from alerts.rules.latency import LatencyRule
from alerts.rules.places import (
    ANY,
    CandidateError,
    FailingTally,
    candidate_error,
    kind_of,
    kinds_of,
    parts_of,
)
from alerts.rules.rule import (
    DEFAULT_RULES,
    GuardrailStatus,
    Rule,
    StatusName,
    StatusState,
    located,
    rule_key,
)
from alerts.rules.scope import SCORED, Growth, Guardrail, Scope, build_scopes, share_budgets, state_key
from alerts.wording import ERRORS, SAYS, UNNAMED, ArmMeans, ArmNames, Trouble
from common.clock import Utc
from common.concentration import CATEGORY, NOWHERE, Concentration
from records.facts.metric import BUILT_IN, Metric
from records.outcome import THROTTLED, Feedback, InFlight, Outcome
from routing.canary import ArmName

PHASES = 64
MOST_USERS = 800
"""Of more users no more are remembered: they are not few."""
KNOWN_AFTER = 100


@dataclass(slots=True)
class UsersCame:
    """The users of a run as hashes, while they are few, each with whether it is the candidate's. `since_new`:
    the exchanges after the newest one's first."""

    users: dict[int, bool] = field(default_factory=dict)
    since_new: int = 0

    def add(self, unit: str, *, candidate: bool) -> None:
        """Add the user of an exchange."""
        user = crc32(unit.encode())
        if user in self.users:
            self.since_new += 1
        elif len(self.users) < MOST_USERS:
            self.users[user] = candidate
            self.since_new = 0

    @property
    def settled(self) -> bool:
        """True once hardly anybody new comes: the exchanges since the newest user are twice the users, and at
        least a hundred. Of many users it is never true."""
        return len(self.users) < MOST_USERS and self.since_new >= KNOWN_AFTER + 2 * len(self.users)

    @property
    def candidate(self) -> int:
        """How many of them are the candidate's."""
        return sum(self.users.values())


@dataclass(slots=True)
class WatchState:
    """The watch's own state, JSON-able.

    `shift` is added to every incoming time. `utc_minus_mono` is None before the first exchange. `shares`
    holds each ramp phase's share, `tallies` both arms' figures, `failures` the candidate's last failures and
    faulty answers, `failing` where they lie, `provider_error` its provider's newest error, `paths` each
    rule's evidence over time, and `incidence` since when an incident counts. `phase` is the newest phase,
    whose first exchange began at monotonic `phase_since`; `step_units` are candidate users in it, at most as
    many as a step needs, `users` those of the run. `running` are the exchanges in flight, `sessions` the open
    sessions.
    """

    run: int
    serial: int = 0
    shift: float = 0.0
    utc_minus_mono: float | None = None
    shares: dict[int, float] = field(default_factory=dict)
    tallies: dict[ArmName, ArmTally] = field(
        default_factory=lambda: {"baseline": ArmTally(), "candidate": ArmTally()}
    )
    failures: list[FailureSample] = field(default_factory=list)
    failing: FailingTally = field(default_factory=FailingTally)
    provider_error: CandidateError | None = None
    paths: dict[str, EvidencePath] = field(default_factory=dict)
    incidence: Incidence = field(default_factory=Incidence)
    phase: int = -1
    phase_since: float = 0.0
    step_phase: int = -1
    step_units: list[str] = field(default_factory=list)
    users: UsersCame = field(default_factory=UsersCame)
    running: RunningExchanges = field(default_factory=RunningExchanges)
    sessions: LiveSessions = field(default_factory=LiveSessions)
    kept: dict[int, tuple[float, float]] = field(default_factory=dict)
    """The share of each phase that held units keep, and when one of them last began an exchange."""

    def note_clock(self, exchange: Outcome | InFlight, started: float) -> None:
        """Learn from an exchange which moment of the wall clock a monotonic one is."""
        self.utc_minus_mono = exchange.at - started

    def moment(self, mono: float) -> Utc | None:
        """The wall clock's moment of a monotonic one; None before the first exchange."""
        return None if self.utc_minus_mono is None else Utc(mono + self.utc_minus_mono)

    def is_held(self, exchange: Outcome | InFlight, started: float) -> bool:
        """True for an exchange of an earlier phase that began after the newest one did: its unit keeps an arm
        through a change of share, and nobody of the other arm does beside it."""
        if exchange.phase > self.phase:
            self.phase, self.phase_since = exchange.phase, started
        elif exchange.phase == self.phase:
            self.phase_since = min(self.phase_since, started)
        held = exchange.phase < self.phase and started > self.phase_since
        if held:
            self.kept[exchange.phase] = exchange.share, started
        return held

    def share_of(self, exchange: Outcome | InFlight, started: float) -> float:
        """The largest probability that an exchange is the candidate's. Beside units that keep a higher share
        it is more than the share: those between both are in no arm's evidence."""
        if not self.kept:
            return exchange.share
        self.kept = {phase: one for phase, one in self.kept.items() if started - one[1] < OVER_AFTER_S}
        most = max((share for share, _ in self.kept.values()), default=0.0)
        if most <= exchange.share or not exchange.share:
            return exchange.share
        return exchange.share / (1.0 - most + exchange.share)

    def add(self, ended: Sequence[EndedExchange]) -> None:
        """Add exchanges of this run, those that are evidence."""
        evidence = [(each.outcome, each.sample) for each in ended if each.sample is not None]
        for arm, tally in self.tallies.items():
            tally.add([pair for pair in evidence if pair[0].arm == arm])
        for outcome, sample in evidence:
            if sample.candidate and (sample.failed or outcome.faults):
                self._add_failure(outcome, sample)

    def add_phase(self, outcome: Outcome) -> None:
        """Remember the share of a new phase."""
        self.shares[outcome.phase] = outcome.share
        if len(self.shares) > PHASES:
            del self.shares[next(iter(self.shares))]

    def _add_failure(self, outcome: Outcome, sample: GuardrailSample) -> None:
        self.failures.append(sample_of(outcome))
        del self.failures[:-FAILURES]
        if sample.failed:
            self.provider_error = candidate_error(outcome) or self.provider_error

    def locate(self, outcome: Outcome, *, tags: Iterable[str], limits_s: Iterable[float]) -> None:
        """Count an exchange that its caller left, and any of the candidate by its parts."""
        self.tallies[outcome.arm].left += _left(outcome)
        if outcome.arm == "candidate" and (outcome.evidence or _left(outcome)):
            kinds = kinds_of(outcome, limits_s)
            self.failing.add(outcome.mono + self.shift, parts_of(outcome, tags), kinds)

    def count_step_unit(self, phase: int, unit: str, *, least: int) -> None:
        """Count a candidate user of this ramp phase, up to `least` of the newest phase."""
        if phase > self.step_phase:
            self.step_phase, self.step_units = phase, []
        few = phase == self.step_phase and len(self.step_units) < least
        if few and unit not in self.step_units:
            self.step_units.append(unit)


def left_by_cohort(outcome: Outcome) -> bool:
    """True when the caller left an exchange of an assigned unit: rules may use it, too."""
    return outcome.outcome == "aborted" and outcome.reason == "cohort"


def _left(outcome: Outcome) -> bool:
    return outcome.abandoned and outcome.reason == "cohort"


Paths = dict[str, EvidencePath]


def add_growth(paths: Paths, grown: Iterable[Growth], moment: Callable[[float], Utc | None]) -> None:
    """Add evidence while it grows, because a judgement may come many outcomes later. `moment` gives the wall
    clock's of a monotonic time.

    A path ends when its rule convicts.
    """
    for guardrail, mono in grown:
        evidence, rule, at = guardrail.state.evidence, guardrail.rule, moment(mono)
        if at is not None and max(evidence.running) > 0.0:
            path, observations = paths.setdefault(rule.key, EvidencePath()), float(evidence.observations)
            path.add(EvidencePoint(at, evidence.mixture, evidence.cusum, observations))
            path.ended = guardrail.state.convicted and rule.action == "rollback"


def add_statuses(paths: Paths, statuses: Iterable[GuardrailStatus], at: Utc) -> None:
    """Add the evidence of a judgement at UTC second `at`."""
    for status in statuses:
        numbers = status.evidence
        if "ln_mixture" in numbers and numbers["observations"]:
            path = paths.setdefault(status.key, EvidencePath())
            path.add(EvidencePoint(at, numbers["ln_mixture"], numbers["ln_cusum"], numbers["observations"]))


LONGEST_SETTLE_S = 10.0
_WORST: Sequence[StatusState] = ("latched", "firing", "warn", "ok", "not_enough_data", "not_applicable")


CALLS = ("page", "hold", "rollback")
"""The actions for which a person is called."""


def _key_of(guardrail: Guardrail) -> str:
    """The key of its status."""
    rule = guardrail.rule
    outage: StatusName = "outage"
    return rule_key(outage, rule.category, rule.segment) if isinstance(guardrail, OutageRule) else rule.key


def _about(key: str) -> str:
    """What the rule of this key is about: both rules about failures count the same, in any part."""
    rule = key.partition("[")[0]
    return "failures" if rule in ERRORS else rule


def counts_units(rule: Rule) -> bool:
    """True for error rules over the whole canary: their minimum counts users."""
    about_errors = rule.rule in ("error_rate", "error_rate_vs_baseline")
    return about_errors and rule.category is None and not rule.segment


def _tags(rules: Sequence[Rule], segments: Sequence[str]) -> tuple[str, ...]:
    """The tags by which failing exchanges are counted: the canary's segments and those of its rules."""
    return tuple(dict.fromkeys([*segments, *(tag for rule in rules for tag in rule.segment or ())]))


class Watch:
    """The guardrails of one canary in one run. `segments` are tags by which failing exchanges are located."""

    def __init__(
        self,
        canary: str,
        rules: Sequence[Rule] = DEFAULT_RULES,
        *,
        run: int = 1,
        metrics: Mapping[str, Metric] = BUILT_IN,
        segments: Sequence[str] = (),
    ) -> None:
        self.canary = canary
        self.rules = tuple(rules)
        self.metrics = metrics
        self.segments = _tags(rules, segments)
        self._slow_limits_s = tuple({rule.limit for rule in rules if rule.rule == "latency_p95"})
        self._begin(run)

    def _begin(self, run: int) -> None:
        self.state = WatchState(run=run)
        self.scopes: list[Scope] = build_scopes(self.rules, self.metrics)
        self.guardrails: list[Guardrail] = [g for scope in self.scopes for g in scope.guardrails]
        share_budgets(self.guardrails)
        self.telemetries = [g for g in self.guardrails if isinstance(g, TelemetryRule)]
        self._counting = {_key_of(g): g for g in self.guardrails if isinstance(g, CountingRule)}
        self._settle_s = 0.0
        self._settle_from = float("-inf")
        self._swept_at = self._judged_at = float("-inf")

    def watches(self, rules: Sequence[Rule], segments: Sequence[str]) -> bool:
        """True if the watch has these rules and tags."""
        return (self.rules, self.segments) == (tuple(rules), _tags(rules, segments))

    @property
    def run(self) -> int:
        """The run whose evidence this is."""
        return self.state.run

    def rearm(self, run: int) -> None:
        """Start a new run with fresh evidence for every rule."""
        self._begin(run)

    def observe(self, *outcomes: Outcome) -> None:
        """Add outcomes, in the order in which they arrived. Those of other canaries and other runs are
        ignored."""
        mine = [each for each in outcomes if each.canary == self.canary and not each.mirror]
        if not mine:
            return
        for telemetry in self.telemetries:
            telemetry.outcome_arrived()
        every = [each for each in map(self._ended, mine) if each is not None]
        steps = self.state.sessions.take(every)
        ended = [each for each in every if not each.held]
        self.state.add(ended)
        for scope in self.scopes:
            self._record_growth(scope.observe(ended))
            if steps:
                self._record_growth(scope.follow(steps))
        self._judge_ended()

    def _judge_ended(self) -> None:
        """Pass the sessions that are over to the rules about whole sessions."""
        over = self.state.sessions.take_ended()
        for scope in self.scopes if over else ():
            self._record_growth(scope.end(over))

    def _ended(self, outcome: Outcome) -> EndedExchange | None:
        """The outcome as rules take it in; None when no rule may use it."""
        state = self.state
        started = outcome.mono + state.shift
        state.note_clock(outcome, started)
        counted = state.running.end(outcome, started=started)
        evidence = outcome.evidence
        if outcome.run != state.run or not (evidence or left_by_cohort(outcome)):
            return None
        at, timed = started + (outcome.latency_s or 0.0), timed_outcome(outcome, started)
        if state.is_held(outcome, started):
            return EndedExchange(outcome, at, timed, counted, None, held=True)
        if evidence and outcome.phase not in state.shares:
            state.add_phase(outcome)
        if (share := state.share_of(outcome, started)) != outcome.share:
            outcome = msgspec.structs.replace(outcome, share=share)
        if outcome.arm == "candidate" or not evidence:
            state.locate(outcome, tags=self.segments, limits_s=self._slow_limits_s)
        return EndedExchange(
            outcome, at, timed, counted, self._sample(outcome, started) if evidence else None
        )

    def observe_in_flight(self, worker: WorkerId, record: InFlight) -> None:
        """Add one exchange in flight, or its news. Its outcome or the death of its worker removes it."""
        state = self.state
        if record.canary != self.canary or record.run != state.run:
            return
        started = record.mono + state.shift
        state.note_clock(record, started)
        unasked = record.reason != "cohort" or record.error_type == THROTTLED
        if unasked or state.is_held(record, started):
            # perhaps it was until now, and the other arm is asked (foreign state, or its quota is used up)
            state.running.leave(record.exchange_id)
            return
        if (share := state.share_of(record, started)) != record.share:
            record = msgspec.structs.replace(record, share=share)
        failure = state.running.begin(worker, record, started=started, now=self._judged_at)
        self._fail(record, failure)

    def _fail(self, record: InFlight, failure: GuardrailSample | None) -> None:
        for scope in self.scopes:
            if failure is not None and scope.takes(record):
                scope.first.offer(failure)

    def forget_worker(self, worker: WorkerId) -> None:
        """Forget the exchanges in flight of a worker that exited."""
        self.state.running.forget(gone=worker)

    def _sample(self, outcome: Outcome, started: float) -> GuardrailSample:
        state = self.state
        state.serial += 1
        latency_s = outcome.latency_s
        candidate = outcome.arm == "candidate"
        state.users.add(outcome.unit, candidate=candidate)
        if candidate:
            state.count_step_unit(outcome.phase, outcome.unit, least=self._least_units)
        return GuardrailSample(
            started if latency_s is None else started + latency_s,
            state.serial,
            started,
            outcome.unit,
            candidate,
            outcome.share,
            outcome.failed,
            latency_s,
            None if outcome.usage.estimated else outcome.cost_usd,
            outcome.phase,
            outcome.faults,
            outcome.finish is not None,
            outcome.output_check == "judged",
        )

    @property
    def _least_units(self) -> int:
        return max((rule.minimum for rule in self.rules if counts_units(rule)), default=0)

    def enough_in(self, phase: int) -> bool:
        """True when the candidate has had as many users in this phase as its error rules need. Always True
        without error rules."""
        least = self._least_units
        return not least or (self.state.step_phase == phase and len(self.state.step_units) >= least)

    def observe_feedback(self, feedback: Feedback) -> None:
        """Add one rating or report. It is ignored if its arm is unknown, or its phase has no outcome yet."""
        share = self.state.shares.get(feedback.phase)
        mine = feedback.canary == self.canary and feedback.run == self.state.run
        if not mine or feedback.arm is None or share is None:
            return
        for scope in self.scopes:
            scope.observe_feedback(feedback, share=share, at=feedback.mono + self.state.shift)

    def decide(
        self, now_mono: float, *, routed: bool, outcome_arrived: bool = False, told: bool = False
    ) -> list[GuardrailStatus]:
        """Every rule's status at `now_mono`. `routed`: requests came in since the last call.
        `outcome_arrived`: an outcome arrived since then, of this canary or other traffic. `told`: people were
        told of an incident that is not over, so it goes on counting from where it began.

        Scores the outcomes that have settled, so call it often: each second, and after each batch.
        """
        self._judged_at = now = now_mono + self.state.shift
        for telemetry in self.telemetries:
            if outcome_arrived:
                telemetry.other_outcome_arrived()
            if routed:
                telemetry.routed(now)
        self._time_running(now)
        until = now - self.settle_s(now)
        for scope in self.scopes:
            self._record_growth(scope.score(until, now))
        if now - self._swept_at >= 60.0:
            self._swept_at = now
            self.state.sessions.end_before(now)
            self._judge_ended()
            for scope in self.scopes:
                scope.forget_before(now)
        at = self.state.moment(now)
        statuses = self._statuses(now, at)
        if at is not None:
            add_statuses(self.state.paths, statuses, Utc(at - (now - until)))
            statuses = self._count_incident(statuses, now, at, told=told)
        return self._located(statuses)

    def _statuses(self, now: float, at: Utc | None) -> list[GuardrailStatus]:
        """Every rule's status, with its figures since the incident's start if there is one."""
        for key, rule in self._counting.items():
            rule.count_from(self.state.incidence.start(key, _about(key), at))
        return [guardrail.status(now) for guardrail in self.guardrails]

    def _count_incident(
        self, statuses: list[GuardrailStatus], now: float, at: Utc, *, told: bool
    ) -> list[GuardrailStatus]:
        """Begin to count an incident once a rule calls for a person, and end that with the incident."""
        found = self.state.incidence
        counts = {key: rule.counts() for key, rule in self._counting.items()}
        found.note(counts, self.state.failing.failed, at)
        found.rise({each.key: each.evidence.get("ln_cusum", 0.0) for each in statuses}, at)
        calling, before = [each for each in statuses if each.action in CALLS], len(found.starts)
        for each in sorted(calling, key=lambda each: each.action != "rollback"):
            about = _about(each.key)
            if about not in found.starts and (rising := self._arrived_since(each.key)) is not None:
                found.begin(about, rising)
        if not calling and not told:
            found.end()
        return statuses if len(found.starts) == before else self._statuses(now, at)

    def _located(self, statuses: Sequence[GuardrailStatus]) -> list[GuardrailStatus]:
        """The statuses with the parts of the traffic in which their failing exchanges lie."""
        kinds = [(kind_of(status.rule, status.threshold), _about(status.rule)) for status in statuses]
        found = {each: self.concentration(*each) for each in {*kinds} if each[0]}
        return [
            located(status, found.get(kind, NOWHERE)) for kind, status in zip(kinds, statuses, strict=True)
        ]

    def concentration(self, kind: str = ANY, about: str = "") -> Concentration:
        """Where the candidate's exchanges that fail in this way are concentrated; by default in any way.
        `about`: of an incident, from where rules about this count."""
        start = self.state.incidence.start_of(about)
        after = start.failing if start is not None else None
        return self.state.failing.concentration(kind, (CATEGORY, *self.segments), after)

    def where(self, statuses: Sequence[GuardrailStatus], rule: str = "") -> Concentration:
        """Where the candidate fails: as the rule of this key says, or the worst rule that names parts."""
        ordered = sorted(statuses, key=lambda each: (each.key != rule, _WORST.index(each.state)))
        return next((each.where for each in ordered if each.where.parts), self.concentration())

    def settle_s(self, now: float) -> float:
        """How long an exchange waits for its unit's earlier-started ones: the p95 latency, at most 10 s."""
        if now - self._settle_from >= 1.0:
            self._settle_from = now
            tallies = self.state.tallies.values()
            latencies = [tally.latency.quantile(0.95, now) or 0.0 for tally in tallies]
            self._settle_s = min(max(latencies), LONGEST_SETTLE_S)
        return self._settle_s

    def _time_running(self, now: float) -> None:
        """Count the exchanges in flight that have become slow."""
        running = self.state.running
        running.forget(now=now)
        for each, failure in running.silent_baselines(now):
            self._fail(each.record, failure)
        for scope in self.scopes:
            scope.time_running(list(running.exchanges.values()), now)

    def _record_growth(self, grown: Iterable[Growth]) -> None:
        add_growth(self.state.paths, grown, self.state.moment)

    def why(
        self,
        statuses: Sequence[GuardrailStatus],
        *,
        rule: str = "",
        who: str,
        reason: str,
        at: Utc,
        share: float,
        arms: ArmNames = UNNAMED,
    ) -> RollbackEvidence:
        """The evidence at UTC second `at`, when the candidate is rolled back from `share`. `rule` is the key
        of the rule that did it, "" for a person."""
        now = at - (self.state.utc_minus_mono or 0.0)  # before the first exchange all windows are empty
        paths = self.state.paths
        convicting = next((each for each in statuses if each.key == rule), None)
        return RollbackEvidence(
            canary=self.canary,
            run=self.run,
            rule=rule,
            who=who,
            reason=reason,
            at=at,
            rules=tuple(rule_then(status, paths.get(status.key, EvidencePath())) for status in statuses),
            arms={arm: tally.figures(now) for arm, tally in self.state.tallies.items()},
            failures=tuple(self.state.failures),
            where=self.where(statuses, rule),
            provider_error=self.state.provider_error,
            share_before=share,
            share_after=0.0,
            limits=limits_of(convicting),
            trouble=self.trouble(convicting, arms) if convicting is not None else None,
        )

    def trouble(self, status: GuardrailStatus, arms: ArmNames = UNNAMED) -> Trouble:
        """What people on call are told of this status."""
        counted, error = status.evidence.get("since"), self.state.provider_error
        since = Utc(counted) if counted is not None else self._rising_since(status.key)
        failures = self._failures_of(status)
        of_these = status.rule == "outage" or any(error and each.at == error.at for each in failures)
        return replace(
            trouble_of(status),
            baseline=arms.baseline,
            candidate=arms.candidate,
            where="" if status.category or status.segment else status.where.brief,
            since=since,
            seen=seen_in(failures, fall_back=arms.fall_back),
            said=error.words if error is not None and status.rule in SAYS and of_these else "",
            means=self._means("candidate"),
            baseline_means=self._means("baseline"),
        )

    def _failures_of(self, status: GuardrailStatus) -> Sequence[FailureSample]:
        """The candidate's newest failures and faulty answers; of a rule about failures, those it counts."""
        bad = status.evidence.get("bad")
        if status.rule not in ERRORS or bad is None:
            return self.state.failures
        failed = [each for each in self.state.failures if each.saw]
        return failed[max(0, len(failed) - int(bad)) :]

    def _means(self, arm: ArmName) -> ArmMeans:
        of_session = self.state.sessions.document()[arm]
        return self.state.tallies[arm].means(
            self._judged_at, requests=of_session["exchanges"], tool_calls=of_session["tool_calls"]
        )

    def _arrived_since(self, key: str) -> Utc | None:
        """UTC seconds since when what the rule of this key has evidence of has arrived. Outcomes that wait to
        be scored arrived when they ended; a session is over long after its last exchange."""
        waiting = [each for each in self.guardrails if isinstance(each, SCORED | LatencyRule)]
        delayed = any(_key_of(each) == key for each in waiting)
        return (self._rising_since(key) if delayed else None) or self.state.incidence.risen.get(key)

    def _rising_since(self, key: str) -> Utc | None:
        """UTC seconds since when the rule of this key has had evidence without a break."""
        for guardrail in self.guardrails:
            state = guardrail.state
            if isinstance(state, AbsoluteState | OutageState) and _key_of(guardrail) == key:
                return None if state.risen_at is None else self.state.moment(state.risen_at)
        path = self.state.paths.get(key)
        return path.rising_since if path is not None else None

    def live_document(self) -> dict[str, Any]:
        """The whole state, for msgspec to encode at once: it changes with the next outcome. Store it in one
        transaction with the cursor."""
        return {
            "watch": self.state,
            "guardrails": {state_key(g): g.state for g in self.guardrails},
            "first": {scope.name: scope.first for scope in self.scopes},
        }

    def snapshot(self) -> dict[str, Any]:
        """A copy of the whole state, JSON-able."""
        document: dict[str, Any] = msgspec.to_builtins(self.live_document(), str_keys=True)
        return document

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None = None) -> None:
        """Continue from a snapshot. New rules, and rules with another limit or window, start empty.

        `new_boot`: None in the boot of the snapshot; otherwise this boot's UTC minus CLOCK_MONOTONIC, in
        seconds, so that old times age by the gap. Raises msgspec.ValidationError for a document of another
        shape.
        """
        state = msgspec.convert(document["watch"], WatchState, str_keys=True)
        state.utc_minus_mono = state.utc_minus_mono or None  # earlier versions kept 0 for unknown
        if new_boot is not None:
            state.shift = 0.0 if state.utc_minus_mono is None else new_boot - state.utc_minus_mono
            state.running = RunningExchanges()  # their workers are gone
        guardrails = document["guardrails"]
        restored = [
            (g, msgspec.convert(guardrails[state_key(g)], type(g.state), str_keys=True))
            for g in self.guardrails
            if state_key(g) in guardrails
        ]
        firsts = [
            (scope, msgspec.convert(document["first"][scope.name], FirstStartedExchanges, str_keys=True))
            for scope in self.scopes
            if scope.name in document["first"]
        ]
        self.state = state
        for guardrail, guardrail_state in restored:
            guardrail.state = guardrail_state
        share_budgets(self.guardrails)
        for scope, first in firsts:
            scope.first = first
