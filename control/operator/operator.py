"""What the console may ask and order. Facts come from the monitor and the store; every order is audited."""

import asyncio
import math
import time
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from alerts.course import ChartSpan
from alerts.incidents.notifier import Announcement
from alerts.incidents.rollback import FailureSample, RolledBack
from bench.preflight.result import NothingToAsk
from common.clock import utc_now
from control.feed.events import WorkerRegistry
from control.fleet.publisher import looking
from control.monitor.monitor import Monitor, WatchedCanary
from control.monitor.traffic import AstrayTraffic
from control.operator.orders import (
    Advice,
    BadOrder,
    Order,
    PromotionApprovals,
    cannot_outweigh,
    holdback_begun,
    must_be_storable,
    names_of,
    only_from,
    outweighed,
    refusing,
    request_of,
    still_extend,
    transition_for,
)
from control.operator.retiring import KnownRetirements, despite, told
from control.operator.standing import SOON_S, TAKEN_WITHIN_S, StandingOrders, shown
from control.operator.status import (
    LastDecisions,
    LastReports,
    RollbackHistory,
    brief_of,
    explanation,
    status_of,
    too_few,
)
from control.settings import CanarySettings, ControlSettings, held_back
from control.states.preflights import Preflights
from control.states.rollouts import (
    OrderOvertaken,
    Rollouts,
    Transition,
    laneless,
    redefinitions,
    refusal,
    unready,
)
from judge.judgements import Judgements, session_id
from judge.runs.job import JudgeDay, judge_day
from records.captures.capture import Capture
from records.errors import StoreDown
from records.facts.prices import UnpricedArm
from records.facts.standing import in_its_place
from records.store import Act, AuditEntry, Store
from records.store.captures import CaptureStore
from records.store.decisions import Choice, Decision, Decisions
from records.store.drift import DriftStore, ModelChange
from records.store.releases import PastCanary, Releases, SentPage, past_canaries
from records.store.reports import (
    DailyReport,
    DailyReports,
    ReportEntry,
    StoredLook,
    VerdictLooks,
)
from records.store.session_exchanges import SessionMark, StoredSession, session_of
from routing import transitions
from routing.assign import Held, everybody
from routing.canary import arm_names
from routing.identity import unit_of
from routing.lanes import part_of
from routing.states import State

if TYPE_CHECKING:  # the statistics take two seconds to import, and most processes never make a report
    from alerts.rules.few_users import FewUsers
    from verdict.decision.document import Report, Sentences
    from verdict.decision.reports import SideBySide
    from verdict.planner.prospect import Prospect
    from verdict.terms.judged_canary import JudgedCanary

P = ParamSpec("P")
T = TypeVar("T")

CONFIRM_WITHIN_S = 1.5
LOOK_EVERY_S = 0.05
MARKED = 200
"""The most audit entries that charts mark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happenings:
    """What happened to a canary, as its charts mark it. `rubric` has the acceptable bounds by metric."""

    acts: Sequence[AuditEntry] = ()
    pages: Sequence[SentPage] = ()
    looks: Sequence[StoredLook] = ()
    models: Sequence[ModelChange] = ()
    rubric: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class Operator:
    """`troubles` says what does not work at the moment, besides the config's changes to started canaries;
    `ids_keys` hash sessions, the present key first; `held` says who keeps an arm through a change of share,
    `held_units` how many and how long; `unpriced` are the arms without a known price; `judge` is the judge's
    part of the status; `announce` tells the receivers something that pages nobody; `sentences` puts a
    report's reasons in words.

    Every method may raise BadOrder: 404 for an unknown canary, 409 for an order that is not legal now, 503
    while the store does not answer.
    """

    settings: Callable[[], ControlSettings]
    store: Store
    rollouts: Rollouts
    monitor: Monitor
    preflights: Preflights
    workers: WorkerRegistry
    troubles: Callable[[], Sequence[str]]
    assignment_key: Callable[[], bytes]
    ids_keys: Callable[[], Sequence[bytes]] = tuple
    held: Held = everybody
    held_units: Callable[[str], Mapping[str, Any] | None] = lambda name: None
    unpriced: Callable[[], Sequence[UnpricedArm]] = tuple
    judge: Callable[[], Mapping[str, Any] | None] = lambda: None
    announce: Callable[[Announcement], None] = lambda news: None
    sentences: "Sentences" = lambda report: ()
    standing: StandingOrders
    retirements: KnownRetirements
    rollbacks_known: RollbackHistory = field(init=False)
    decisions_known: LastDecisions = field(init=False)
    reports_known: LastReports = field(init=False)
    approvals: PromotionApprovals = field(init=False)

    def __post_init__(self) -> None:
        self.rollbacks_known = RollbackHistory(self.store, self.rollouts)
        self.decisions_known = LastDecisions(self.store, self.rollouts)
        self.reports_known = LastReports(self.rollouts)
        self.approvals = PromotionApprovals(self.store, self.rollouts.state, self._promoted_by_two)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [
            looking(0.5, self.rollbacks_known.look),
            looking(1.0, lambda: self.approvals.look(time.time())),
            looking(1.0, self.decisions_known.look),
            looking(60.0, self.retirements.look),
        ]

    def degraded(self) -> Sequence[str]:
        """What does not work at the moment, in plain words; empty when everything works."""
        canaries, states = self.settings().canaries, self.rollouts.states
        refused = [*redefinitions(canaries, states), *laneless(canaries, states).values()]
        found = [*refused, *self.troubles(), *self.monitor.outbox.troubles()]
        return [*found, *self.workers.troubles(time.monotonic())]

    def status(self, only: str | None = None) -> Mapping[str, Any]:
        """The contract's status document; with `only` one of its canaries, which costs a part of it."""
        confirmed, alive = self.workers.confirmed(self.rollouts.in_force.version, time.monotonic())
        without_lane = laneless(self.settings().canaries, self.rollouts.states)
        astray = self.monitor.astray(time.time())
        return {
            "canaries": [
                self._status_of(wanted, without_lane.get(name), astray)
                for name, wanted in self.settings().canaries.items()
                if only in (None, name)
            ],
            "standing": [self._standing_of(each) for each in self.standing.document()],
            "retirements": self.retirements.document(time.time()),
            "workers": {"alive": alive, "confirmed": confirmed},
            "degraded": list(self.degraded()),
            "unmatched": self.monitor.unmatched.document(time.time()),
            "traffic": [each.document for each in astray if not each.canary],
            "judge": self.judge(),
        }

    def _status_of(
        self, wanted: CanarySettings, laneless: str | None, astray: Sequence[AstrayTraffic]
    ) -> dict[str, Any]:
        name, now = wanted.canary.name, time.monotonic()
        state, asked = self.rollouts.state(name), self.approvals.open(name, time.time())
        users, watched = self.rollouts.step_users(name), self.monitor.canaries[name]
        unpriced, back = self._unpriced_of(name), self.rollbacks_known.current(name)
        found = status_of(
            wanted,
            state,
            watched,
            now,
            unpriced=unpriced,
            laneless=laneless,
            step_users=users,
            why=back.why if back is not None else None,
            outage=self.monitor.baselines.incident(name),
        )
        return {
            **found,
            "preflight": self.preflights.document(wanted, state),
            "rollback": brief_of(back),
            "promote_asked": asked.document() if asked is not None else None,
            "decision": self.decisions_known.document(name),
            "held_units": self.held_units(name),
            "breakers_open": self.workers.breakers_open(name, now),
            "despite_retirement": self._retiring(wanted, state, time.time()),
            "traffic": [each.document for each in astray if each.canary == name],
        }

    def _standing_of(self, document: dict[str, Any]) -> dict[str, Any]:
        now = time.time()
        found = self.retirements.of_standing(self.settings().standing[document["name"]], now)
        outage = self.monitor.baselines.incident(document["name"])
        incident = None if outage is None else outage.headline(utc_now(), quoting=False)
        promoted = self.monitor.canaries.get(document["canary"])
        instead = None
        if promoted is not None and promoted.answers != "candidate":
            incident = incident or promoted.headline(utc_now())
            arms = self.settings().canaries[document["canary"]].canary
            former, _ = arm_names(arms.baseline, arms.candidate)
            instead = former if promoted.answers == "baseline" else "nobody"
            state = self.rollouts.state(document["canary"])
            instead = f"in its lane {instead}" if state is not None and state.lane is not None else instead
        return {
            **document,
            "despite_retirement": told(found, now) or None,
            "incident": incident,
            "instead": instead,
        }

    def _retiring(self, wanted: CanarySettings, state: State | None, now: float) -> dict[str, str]:
        """The orders that want a person's word, and the retirements that they go against."""
        if state is None:
            return {}
        orders: tuple[Order, ...] = ("promote", "rollback")
        found = {
            each: told(self.retirements.of_order(each, wanted.canary, state, now), now) for each in orders
        }
        return {each: said for each, said in found.items() if said}

    def callers(self) -> Mapping[str, Any]:
        """Each caller of the config: what it may do, what it has sent, and when it was last seen."""
        return self.monitor.callers.document(self.settings().callers)

    def explain(self, text: str) -> Mapping[str, Any]:
        """Which arm the unit that this text names gets in every canary, and why; and by standing canary what
        those get whom no canary takes."""
        unit = unit_of(text)
        missed = {name: each.pulse.prompt_missed for name, each in self.monitor.canaries.items()}
        canaries, key = self.settings().canaries, self.assignment_key()
        found = explanation(canaries, self.rollouts, unit, key, self.held, missed)
        standing = {
            name: shown(each.terms.canary.baseline) for name, each in self.settings().standing.items()
        }
        return {"unit": unit, **found, "standing": standing}

    async def ask(self, read: Callable[[Store], T]) -> T:
        """What `read` finds in the store, in a thread."""
        return await _ask_store(read, self.store)

    async def session(self, named: str) -> StoredSession:
        """What is stored of a session: by an app's own id, its hash, or the id of an exchange in it."""
        now = time.time()
        found = await _ask_store(session_of, self.store, named, ids_keys=self.ids_keys(), now=now)
        if not found.exchanges and not found.counted:
            raise BadOrder(404, self._no_session(found.searched_since or now, now))
        return replace(found, marks=await _ask_store(self._marks, found))

    def _marks(self, found: StoredSession) -> tuple[SessionMark, ...]:
        whole = [session_id(canary, run, found.session) for canary, run in found.runs]
        said = Judgements(self.store).about([*whole, *(each.exchange_id for each in found.exchanges)])
        return tuple(
            SessionMark(
                judge=each.judge,
                exchange_id="" if named in whole else named,
                mark=each.mark,
                better=each.result if each.preference is not None else "",
                done=each.done,
            )
            for named, each in said.items()
        )

    def _no_session(self, since: float, now: float) -> str:
        searched = datetime.fromtimestamp(since, UTC).strftime("%Y-%m-%d %H:%M")
        days = self.settings().retention_s / 86400
        return (
            "Nothing is stored of this session. No canary has counted it, and no exchange since "
            f"{searched} UTC names it. Give the id as the app sends it, its hash, or the id of an exchange; "
            f"records expire after {days:g} days, and the newest come within seconds."
        )

    async def report(self, canary: str, *, quoting: bool = True) -> "Report":
        """One canary's report, made in a thread. Without `quoting` it has no reasons of the judge, which
        quote captured texts."""
        self._must_be_known(canary)
        return await _ask_store(self._report, canary, quoting)

    async def compare(self, canaries: Sequence[str]) -> "SideBySide":
        """These canaries' candidates beside each other, made in a thread."""
        return await _ask_store(self._compare, canaries)

    async def prospect(self, canary: str) -> "tuple[JudgedCanary, Prospect | None, FewUsers | None]":
        """The canary's terms, and its prospect from recorded traffic if there is any, None where there is
        nothing to plan; what its users are then too few for."""
        self._watched(canary)
        wanted, found = self.settings().canaries[canary], await asyncio.to_thread(self._prospect, canary)
        return wanted.judged, found, None if found is None else too_few(wanted, found.users)

    async def order(
        self,
        canary: str,
        order: Order,
        *,
        who: str,
        reason: str,
        share: float | None,
        hard: bool = False,
        against_verdict: bool = False,
        despite_retirement: bool = False,
        minutes: float | None = None,
        stage: str = "",
    ) -> Mapping[str, Any]:
        """Carry out one order, and wait up to 1.5 s for the workers to confirm it. A promotion that wants two
        people is only asked for by the first of them: `promote_asked` in the answer is the request then.

        `report` in the answer is what the report says of a promotion; one that goes against its verdict must
        say so (`against_verdict`), and an order that gives users a model that retires, too
        (`despite_retirement`; `retires` in the answer says when).
        """
        must_be_storable(who, reason)
        await self._entered(canary)
        wanted, before = self._orderable(canary, order)
        if against_verdict and order != "promote":
            raise BadOrder(400, f'only promote may be "against_verdict", not {order}')
        if despite_retirement and order not in ("promote", "rollback"):
            raise BadOrder(400, f'only promote and rollback may be "despite_retirement", not {order}')
        now, possible = time.time(), order in transitions.legal(before)
        possible = possible and (order == "rollback" or bool(reason.strip()))
        retiring = self.retirements.of_order(order, wanted.canary, before, now) if possible else []
        reason, retires = despite(retiring, reason, now, wanted=despite_retirement), told(retiring, now)
        advice = await _ask_store(self._advised, canary) if order == "promote" and possible else None
        against = advice.against(wanted=against_verdict) if advice is not None else ""
        now = time.time()  # the report may have taken minutes
        transition = transition_for(order, wanted.canary, reason=reason, share=share, now=now, hard=hard)
        by_two = order == "promote" and wanted.promoted_by == "two_people"
        named = who if by_two else who or "unknown"  # nobody is no second person
        act = Act(
            at=now,
            action=order,
            who=named,
            reason=reason,
            minutes=minutes,
            stage=stage,
            against=against,
        )
        try:
            with refusing(503, StoreDown):
                if by_two:
                    transition(before)  # what is not legal is not asked for
                    approved = await asyncio.to_thread(self.approvals.approved, canary, act, before)
                    if approved is None:
                        return await self._asked(canary, before, act, advice, retires)
                    act, transition = approved, only_from(canary, before, transition)
                state = await self._changed(canary, act, transition, before)
        except (transitions.IllegalTransition, OrderOvertaken) as refusal:
            trials = [trial for each in self.settings().standing.values() for trial in each.begun.open]
            never_ran = before.started_at is None and canary in trials
            instead = f"; `canary end {canary}` ends one that never ran" if never_ran else ""
            raise BadOrder(409, f"{refusal}{instead}") from refusal
        with suppress(StoreDown):  # it is in force, and stored when the store answers
            await asyncio.to_thread(self.rollouts.settle)
            await asyncio.to_thread(self.rollouts.enter, wanted, now)
            await self.standing.tell()
        if order == "promote" and (news := holdback_begun(canary, state, act)) is not None:
            self.announce(news)
        return await self._answer(canary, state, advice, retires)

    async def begin(
        self, standing: str, arm: Mapping[str, Any], *, who: str, reason: str, by_hand: bool = False
    ) -> Mapping[str, Any]:
        """Begin a trial of a standing canary: its candidate with what `arm` says; `by_hand`: a person must
        start it."""
        must_be_storable(who, reason)
        begun = await self.standing.begin(standing, arm, who=who, reason=reason, by_hand=by_hand)
        return {**begun, "unpriced": [asdict(each) for each in self._unpriced_of(begun["canary"])]}

    async def end(self, canary: str, *, who: str, reason: str) -> Mapping[str, Any]:
        """End a trial of a standing canary that never ran."""
        must_be_storable(who, reason)
        return await self.standing.end(canary, who=who, reason=reason)

    async def revert(
        self, standing: str, *, who: str, reason: str, despite_retirement: bool = False
    ) -> Mapping[str, Any]:
        """Give everybody the baseline before the one in force, and begin nothing; the answer names the trials
        that end with it (`ended`). One that retires must be meant (`despite_retirement`)."""
        must_be_storable(who, reason)
        if not reason.strip():
            raise BadOrder(400, 'revert needs "reason": it stands in the audit log')
        stored, now = await self.standing.stored(standing), time.time()
        retiring, newest = self.retirements.of_standing(stored, now), stored.begun.baseline
        whole = despite(retiring, reason, now, wanted=despite_retirement)
        canary = newest.canary if newest is not None else None
        state = self.rollouts.state(canary) if canary is not None else None
        here, ended = canary in stored.begun.open and canary in self.settings().canaries, list[str]()
        if canary is not None and here and state is not None and state.state == "promoted":
            await self.order(
                canary,
                "rollback",
                who=who,
                reason=reason,
                share=None,
                hard=True,
                despite_retirement=despite_retirement,
            )
        else:
            act = Act(at=now, action="rollback", who=who or "unknown", reason=whole)
            ended = await self.standing.revert(standing, canary, act)
        baseline, retires = await self.standing.baseline(standing), told(retiring, now) or None
        done = {"standing": standing, "reverted": canary, "baseline": baseline, "retires": retires}
        return {**done, "ended": ended}

    async def _asked(
        self, canary: str, state: State, act: Act, advice: Advice | None, retires: str
    ) -> Mapping[str, Any]:
        """The answer to whoever asked for a promotion, of which the receivers are told."""
        request = request_of(act, state)
        self.announce(request.announcement(canary))
        answer = await self._answer(canary, state, advice, retires)
        return {**answer, "promote_asked": request.document()}

    async def _answer(
        self, canary: str, state: State, advice: Advice | None, retires: str
    ) -> Mapping[str, Any]:
        version, known = self.rollouts.in_force.version, self.settings().canaries.get(canary)
        confirmed, workers = await self._confirmations(version)
        return {
            "canary": canary,
            "state": state.state,
            "share": state.effective_share,
            "lane": state.lane.part if state.lane is not None else None,
            "held_back": held_back(known.canary, state) if known is not None else None,
            "version": version,
            "confirmed": confirmed,
            "workers": workers,
            "unpriced": [asdict(each) for each in self._unpriced_of(canary)],
            "promote_asked": None,
            "retires": retires or None,
            "report": None if advice is None else {"verdict": advice.verdict, "says": advice.says},
        }

    async def preflight(self, canary: str) -> Mapping[str, Any]:
        """Ask the candidate now, and say what it took (`canary preflight -o json`)."""
        self._watched(canary)
        with refusing(503, StoreDown), refusing(409, NothingToAsk, says="not preflighted: {}"):
            return await self.preflights.ask(canary)

    async def decide(
        self,
        canary: str,
        choice: Choice,
        *,
        who: str,
        reason: str,
        despite: Sequence[str] = (),
        minutes: float | None = None,
        stage: str = "",
    ) -> Mapping[str, Any]:
        """Store what a person decided about the canary's run: to ship, `despite` each miss by its name, and
        what is undecided.

        `note` in the answer says what it does not outweigh, "" for nothing.
        """
        state = self.rollouts.state(canary)
        must_be_storable(who, reason)
        if state is None:
            raise self._unknown(canary, " to decide of")
        decision = Decision(
            at=time.time(),
            canary=canary,
            run=state.run,
            decision=choice,
            who=who,
            reason=reason,
            despite=[],
        )
        note = ""
        if choice == "ship":
            decision, note = await _ask_store(self._to_ship, decision, state, despite)
        await _ask_store(Decisions(self.store).record, decision, state, minutes=minutes, stage=stage)
        return {**asdict(decision), "note": note}

    async def judge_day(self, canary: str) -> JudgeDay | None:
        """What a judge did of the canary today; None where the config has no judge for it."""
        self._watched(canary)
        terms, state = self.settings().canaries[canary].judge, self.rollouts.state(canary)
        if terms is None:
            return None
        run = state.run if state is not None else 0
        return await _ask_store(judge_day, self.store, canary, run, terms, now=time.time())

    async def captured(self, exchange_ids: Sequence[str]) -> Collection[str]:
        """Those of these exchanges whose texts are stored."""
        found = CaptureStore(self.store).several
        return {each.about.exchange_id for each in await _ask_store(lambda: list(found(exchange_ids)))}

    async def release_of(self, canary: str) -> str:
        """The id of the release that the canary's present run tries."""
        run = self._watched(canary).watch.run
        found = await _ask_store(Releases(self.store).of_run, canary, run)
        if found is None:
            raise BadOrder(404, f"{canary} has tried no release yet: one begins with its first run.")
        return found.id

    async def audit(self, limit: int, canary: str | None = None) -> Sequence[Mapping[str, Any]]:
        """The newest audit entries, or those of one canary, newest first."""
        return [_audit_entry(each) for each in await _ask_store(self.store.audit, limit, canary)]

    def past(self) -> Mapping[str, State]:
        """The canaries that have run and left the config, with their states; the one that left last comes
        first.

        A canary that has ended stays one of them if its entry comes back: its name has been used.
        """
        states = {name: self.rollouts.state(name) for name in self.rollouts.states}
        wanted = self.settings().canaries
        gone = [
            (name, state)
            for name, state in states.items()
            if state is not None
            and (name not in wanted or state.state == "ended")
            and (state.started_at is not None or name in wanted)
        ]
        return dict(sorted(gone, key=lambda each: each[1].changed_at or 0.0, reverse=True))

    async def endings(self, names: Iterable[str]) -> Sequence[PastCanary]:
        """How these past canaries ended, in the same order."""
        past = self.past()
        states = {name: past[name] for name in names if name in past}
        return await _ask_store(past_canaries, self.store, states)

    def course(self, canary: str, span: ChartSpan, since: float = 0.0) -> Mapping[str, Any]:
        """Both arms over time, of this run (`alerts.course`); of a past canary its last run, to its end."""
        ended = self.past().get(canary)
        if ended is None or ended.changed_at is None:
            return self._watched(canary).pulse.course.document(span, time.time(), since=since)
        watched = self.monitor.canaries.get(canary)
        course = watched.pulse.course if watched is not None else None
        run, kept = self.monitor.past_courses.get(canary, (ended.run, course))
        if kept is None or run != ended.run:
            raise BadOrder(404, f"no charts are kept of {canary!r}")
        return kept.document("run", ended.changed_at)

    async def happenings(self, canary: str, since: float) -> Happenings:
        """What happened to the canary since a UTC second, as the charts mark it."""
        ended = self.past().get(canary)
        run = self._watched(canary).watch.run if ended is None else ended.run
        return await _ask_store(self._happenings, canary, run, since)

    def _happenings(self, canary: str, run: int, since: float) -> Happenings:
        acts = [each for each in self.store.audit(MARKED, canary) if each.act.at >= since]
        wanted = self.settings().canaries.get(canary)
        arms = (wanted.canary.baseline, wanted.canary.candidate) if wanted is not None else ()
        models = {f"{each.provider}/{each.model}" for each in arms}
        return Happenings(
            acts=acts,
            pages=Releases(self.store).pages(canary, since=since, until=math.inf),
            looks=[each for each in VerdictLooks(self.store).of_run(canary, run) if each.at >= since],
            models=[each for each in DriftStore(self.store).changes(since=since) if each.model in models],
            rubric={}
            if wanted is None
            else {row.metric: row.acceptable.text for row in wanted.judged.criteria},
        )

    async def rollbacks(self, canary: str, limit: int) -> Sequence[RolledBack]:
        """Every rollback, by rules and by persons, newest first: why, and the state before and after."""
        self._must_be_known(canary)
        with refusing(503, StoreDown):
            return await self.rollbacks_known.history(canary, limit)

    def failures(self, canary: str, limit: int) -> Sequence[FailureSample]:
        """The candidate's last failed and faulty exchanges of this run, newest first."""
        return self._watched(canary).watch.state.failures[: -limit - 1 : -1]

    def sharing(self, canary: str) -> Sequence[str]:
        """The other canaries of the config that may take the same requests."""
        wanted = self.settings().canaries
        mine = wanted[canary].canary if canary in wanted else None
        return [
            name
            for name, each in wanted.items()
            if mine is not None and name != canary and mine.meets(each.canary)
        ]

    async def daily_reports(self, canary: str, limit: int) -> Sequence[ReportEntry]:
        """The reports that the report job stored, newest first, without their documents."""
        found = await _ask_store(DailyReports(self.store).entries, canary, limit)
        if not found:
            self._watched(canary)
        return found

    async def daily_report(self, canary: str, day: str) -> DailyReport:
        """The newest report of one day (ISO) in the job's time zone."""
        found = await _ask_store(DailyReports(self.store).newest, canary, day=day)
        if found is None:
            raise BadOrder(404, f"no report of {canary!r} was stored on {day!r}")
        return found

    async def pairs(
        self, canary: str, *, since: float, until: float, category: str | None, limit: int
    ) -> Sequence[tuple[Capture, Capture]]:
        """(captured exchange, the candidate's answer to its copy) by time, the first `limit` of those with
        `since` ≤ at < `until`, UTC seconds."""
        self._must_be_known(canary)
        found = CaptureStore(self.store).pairs(canary, since=since, until=until, category=category)
        return await _ask_store(lambda: list(islice(found, limit)))

    def _report(self, canary: str, quoting: bool) -> "Report":
        from verdict.decision.document import without_reasons
        from verdict.decision.reports import report_of

        found = report_of(self.settings().reports, canary, self.store, now=time.time())
        return found if quoting else without_reasons(found)

    def _advised(self, canary: str) -> Advice:
        """What the canary's report, made now, says of a promotion."""
        from verdict.decision.document import SHIPS

        try:
            found = self._report(canary, False)
        except StoreDown:
            raise
        except Exception as problem:  # what cannot be judged may be promoted, against the verdict
            return Advice(verdict="extend", ships=False, says=f"no report can be made: {problem}")
        first = next(iter(self.sentences(found)), "")
        return Advice(verdict=found.verdict, ships=found.verdict in SHIPS, says=first)

    def _to_ship(self, decision: Decision, state: State, despite: Sequence[str]) -> tuple[Decision, str]:
        """The decision to ship with what it outweighs, as that stands; and what it cannot outweigh, "" for
        nothing. Raises BadOrder (409) for one that would change nothing."""
        from verdict.decision.decide import misses, undecided

        says = f"{decision.canary} cannot be judged, so nothing is decided: {{}}"
        with refusing(409, LookupError, ValueError, says=says):
            found = self._judged_by(decision)
            missed = [asdict(miss) for miss, _ in misses(found.metrics, found.parts)]
            open_ = [asdict(each) for each in undecided(found.metrics, found.details.too_few)]
            decision = replace(decision, despite=outweighed(missed, open_, despite))
            would = self._judged_by(decision) if decision.despite else found
            if would.verdict != "extend":
                split = "the split of the users does not match the share" if found.srm.blocked else ""
                return decision, cannot_outweigh(state, split)
            first = next(iter(self.sentences(would)), "")
            if missed:
                return decision, f"The verdict is extend for now: {first}"
            whole = replace(decision, despite=open_)
            helps = len(open_) > len(decision.despite or ()) and self._judged_by(whole).verdict != "extend"
        raise still_extend(decision.canary, first, names_of(open_) if helps else [])

    def _judged_by(self, decision: Decision) -> "Report":
        """The canary's report, made now, as it would be with this decision."""
        from verdict.decision.reports import report_of

        reports = self.settings().reports
        return report_of(reports, decision.canary, self.store, now=decision.at, decision=decision)

    def _compare(self, canaries: Sequence[str]) -> "SideBySide":
        from verdict.decision.reports import NoSuchCanary, compare_from_store

        with refusing(404, NoSuchCanary), refusing(400, ValueError):
            return compare_from_store(self.settings().reports, canaries, self.store, now=time.time())

    def _prospect(self, name: str) -> "Prospect | None":
        from verdict.planner.prospect import prospect_from_store

        wanted, state = self.settings().canaries[name], self.rollouts.state(name)
        arms = [each.arm for each in self._unpriced_of(name)]
        lane = 1.0 if state is None else part_of(state)
        return prospect_from_store(self.store, wanted.canary, wanted.judged, arms, lane)

    def _unpriced_of(self, name: str) -> list[UnpricedArm]:
        return [each for each in self.unpriced() if each.canary == name]

    async def _entered(self, canary: str) -> None:
        """Wait up to ten seconds until a canary that has just come into the config has its state."""
        until = time.monotonic() + TAKEN_WITHIN_S
        while self.rollouts.known and canary in self.settings().canaries and time.monotonic() < until:
            if self.rollouts.state(canary) is not None:
                return
            await asyncio.sleep(SOON_S)

    def _orderable(self, canary: str, order: Order) -> tuple[CanarySettings, State]:
        """The canary that is ordered about, and its state. Raises BadOrder (404, 409, 503)."""
        wanted, state = self.settings().canaries.get(canary), self.rollouts.state(canary)
        if wanted is not None and not self.rollouts.known and order != "rollback":
            raise BadOrder(503, "the store has not answered yet; only rollback needs none")
        if wanted is None:
            raise self._unknown(canary, f" to {order}")
        if state is None:
            raise BadOrder(503, f"canary {canary!r} has just come into the config: try again in a moment")
        refused = refusal(order, wanted.canary, state)
        if order == "start" and refused is None:
            refused = unready(self.settings().canaries, self.rollouts.states).get(canary)
            refused = f"start is refused: {refused}" if refused else None
        if refused is not None:
            raise BadOrder(409, refused)
        return wanted, state

    async def _changed(self, canary: str, act: Act, transition: Transition, before: State) -> State:
        """The state after the order.

        A rollback is right whatever another operator ordered at the same moment. It asks no store and takes
        no thread: all threads may be waiting for the store.
        """
        if act.action != "rollback":
            return await asyncio.to_thread(self.rollouts.change, canary, act, transition, yields=True)
        if before.state == "rolled_back":
            return self.rollouts.change(canary, act, transition)
        watched, why = self.monitor.canaries.get(canary), None
        if watched is not None:
            watched.follow(before.run)  # a resume a moment ago may not have been judged yet
            why = watched.why(act, share=before.effective_share)
        state = self.rollouts.change(canary, act, transition, why=why)
        self.monitor.count_manual_rollback(canary)
        return state

    def labelled_run(self, canary: str) -> int:
        """The run whose judgements matter to labels; 0 before the first."""
        self._watched(canary)
        if self.settings().canaries[canary].capture is None:
            raise BadOrder(404, f"{canary} captures nothing: its config has no `capture`.")
        state = self.rollouts.state(canary)
        return state.run if state is not None else 0

    def _watched(self, canary: str) -> WatchedCanary:
        if canary not in self.monitor.canaries:
            raise self._unknown(canary)
        return self.monitor.canaries[canary]

    def _must_be_known(self, canary: str) -> None:
        """Raises BadOrder unless the canary is in the config, or was (404; 503: the store knows)."""
        if canary in self.past():
            return
        if canary not in self.monitor.canaries and not self.rollouts.known:
            raise BadOrder(503, f"{canary!r} is not in the config, and the store has not answered yet")
        self._watched(canary)

    def _promoted_by_two(self) -> list[str]:
        canaries = self.settings().canaries.items()
        return [name for name, each in canaries if each.promoted_by == "two_people"]

    def _unknown(self, canary: str, why: str = "") -> BadOrder:
        if standing := self.settings().standing.get(canary):
            return BadOrder(404, in_its_place(canary, standing.begun.open))
        return BadOrder(
            404, f"no canary {canary!r}{why}; there are: {', '.join(self.settings().canaries) or 'none'}"
        )

    async def _confirmations(self, version: int) -> tuple[int, int]:
        """(workers that follow this version, workers alive), after at most 1.5 s."""
        deadline = time.monotonic() + CONFIRM_WITHIN_S
        while True:
            confirmed, alive = self.workers.confirmed(version, time.monotonic())
            if confirmed == alive or time.monotonic() > deadline:
                return confirmed, alive
            await asyncio.sleep(LOOK_EVERY_S)


async def _ask_store(act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Ask the store in a thread. Raises BadOrder (503) while it does not answer."""
    with refusing(503, StoreDown):
        return await asyncio.to_thread(act, *args, **kwargs)


def _held_until(entry: AuditEntry) -> str | None:
    """Until when this entry's promotion holds users back, if it does."""
    held = entry.after.holdback if entry.act.action == "promote" else None
    return None if held is None else datetime.fromtimestamp(held.until, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _audit_entry(entry: AuditEntry) -> dict[str, Any]:
    return {
        "time": datetime.fromtimestamp(entry.act.at, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "canary": entry.canary,
        "action": entry.act.action,
        "who": entry.act.who,
        "reason": entry.act.reason,
        "against": entry.act.against or None,
        "share_before": entry.before.effective_share if entry.before is not None else None,
        "share_after": entry.after.effective_share,
        "held_back_until": _held_until(entry),
    }
