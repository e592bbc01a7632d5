"""The controller: judges every canary, rolls back, ramps, pages, and keeps the states fresh.

A single machine and a fleet differ in three parts. The *source* brings evidence and keeps what was learnt
from it: the spool and a file, or a Redis stream and the store. The *leader* says whether this controller may
act: always, or by a lease. The *publisher* takes the states to the workers: by a file, or by Redis.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from alerts.incidents.notifier import Announcement, deliver, notifier_client
from bench.settings import BenchSettings
from common.clock import every, utc_now
from control.feed.events import MetricsListener, WorkerRegistry
from control.fleet.leadership import Leadership, SoleLeader
from control.fleet.publisher import FilePublisher, RedisPublisher, ServiceAvailability, TrialsFile, looking
from control.jobs.aftermath import AftermathWords
from control.jobs.drift import DriftJob
from control.jobs.release_metrics import ReleaseMetrics
from control.jobs.reports import Announcer, ReportJob, week_after_news
from control.jobs.segment_job import SegmentJob, SegmentProgram, expiring
from control.monitor.monitor import DECIDE_EVERY_S, Monitor
from control.operator.operator import Operator
from control.operator.retiring import KnownRetirements
from control.operator.standing import Misfit, StandingOrders
from control.settings import ControlSettings, LeftBaseline
from control.states.activity import UnitActivity
from control.states.preflights import PreflightCandidates, Preflights
from control.states.rollouts import REMOVED, PendingRollbacks, Rollouts, redefinitions
from judge.runs.job import JudgeJob
from judge.runs.metrics import JudgeMetrics, JudgeStatus
from judge.terms import JudgedRun
from records.errors import StoreDown
from records.exports.prometheus import Meters
from records.facts.prices import UnpricedArm
from records.store import Store
from records.store.leader import COURSES, Checkpoints, StoredCheckpoint
from records.store.reports import StoredEvaluation
from records.store.standing import Standings
from routing.cohort import unit_hash
from routing.states import NO_STATES, State, States
from verdict.archive.archivist import Archivist, NightlyLooks

if TYPE_CHECKING:
    from control.feed.spool import SpoolSource
    from control.feed.stream import StreamSource  # needs a Redis client
    from verdict.decision.document import Sentences

log = structlog.get_logger()

TURN_EVERY_S = 1.0
COURSES_EVERY_S = 60.0
"""Charts lose at most so much where a process is killed."""
TOLD_FOR_S = 86_400.0
"""So long a page says that a promoted baseline has left with its entry."""
OUTRUN_FOR_S = 3.0
"""So long another admin's change or rollback may be on its way into the store."""
SAVE_WITHIN_S = 2.0
"""A page waits no longer for a disk or a store that takes no checkpoint."""


class Controller:
    """Decides about every canary, as one admin process. Belongs to the event loop's thread."""

    def __init__(
        self,
        source: "SpoolSource | StreamSource",
        leader: Leadership | SoleLeader,
        publisher: FilePublisher | RedisPublisher,
        *,
        store: Store,
        roller: SegmentProgram,
        settings: ControlSettings,
        pending: PendingRollbacks,
        assignment_key: Callable[[], bytes],
        ids_keys: Callable[[], Sequence[bytes]] = tuple,
        own_url: str,
        troubles: Callable[[], Sequence[str]],
        sentences: "Sentences",
        aftermath: AftermathWords,
        unpriced: Callable[[], Sequence[UnpricedArm]] = tuple,
        config_problem: Callable[[], str] = str,
        candidates: PreflightCandidates | None = None,
        judge: Callable[[], BenchSettings] | None = None,
        environment: Mapping[str, str] = {},
        trials: Path,
        misfit: Misfit = lambda name, trials: "",
        last: States = NO_STATES,
    ) -> None:
        """`candidates` are asked before canaries start by themselves. `judge` is the config's part that says
        who judges real answers; its key may stand in the `environment`. `last` are the states in force until
        the store answers; `own_url` is the page's address where the config names none; `roller` rolls
        outcomes; `trials` is the file with what was begun of standing canaries, and `misfit` says why the
        config cannot take a trial; `config_problem` says why the file is refused, "" while it is in force;
        `troubles` says what else does not work in this process; `unpriced` are the arms without a price;
        `sentences` puts a report's reasons in words, `aftermath` what follows a drift.
        """
        self.source, self.leader, self.publisher = source, leader, publisher
        self.settings = settings
        self._own_url, self._other_troubles = own_url, troubles
        self._config_problem = config_problem
        self.stored = ServiceAvailability("store")
        self.workers = WorkerRegistry(lambda: source.hears)
        self.meters = Meters(
            canaries=settings.canaries, feedback_metrics=settings.metrics, mono=time.monotonic
        )
        self.rollouts = Rollouts(
            store, publisher.put, last=last, pending=pending, canary=lambda name: self.settings.canary(name)
        )
        self.activity = UnitActivity(
            store,
            self.rollouts,
            self.workers,
            publisher,
            settings=lambda: self.settings,
            works=self._leads,
        )
        self._astray: set[tuple[str, str]] = set()
        retirements = KnownRetirements(store, lambda: self.settings)
        self.monitor = Monitor(
            meters=self.meters,
            rollouts=self.rollouts,
            settings=settings,
            has_retired=retirements.has_retired,
        )
        self._courses = Checkpoints(store, COURSES)
        self._knows_courses = False
        self.preflights = Preflights(candidates, self.rollouts)
        self._announcer = Announcer(lambda: self.settings)
        self._judge_job = judge and JudgeJob(
            store,
            bench=judge,
            wanted=lambda: any(each.judge is not None for each in self.settings.canaries.values()),
            runs=self._judged_runs,
            works=self._leads,
            environment=environment,
        )
        self._trials = TrialsFile(store, trials, lambda: bool(self.settings.standing or self.settings.texts))
        source.attach(self.workers, MetricsListener(self.meters), self.monitor, also=[self.activity])
        self.operator = Operator(
            settings=lambda: self.settings,
            store=store,
            rollouts=self.rollouts,
            monitor=self.monitor,
            preflights=self.preflights,
            workers=self.workers,
            troubles=self._troubles,
            assignment_key=assignment_key,
            ids_keys=ids_keys,
            judge=self._judge_job.document if self._judge_job else lambda: None,
            announce=self._announcer.put,
            sentences=sentences,
            unpriced=unpriced,
            held=lambda name, phase, unit: self.activity.keeps(name, phase, unit_hash(ids_keys()[0], unit)),
            held_units=self.activity.document,
            retirements=retirements,
            standing=StandingOrders(store, self.rollouts, lambda: self.settings, self._trials, misfit),
        )
        self._store = store
        self.release_metrics = ReleaseMetrics(store, self._leads)
        self.judge_metrics = JudgeMetrics(
            store,
            self._leads,
            canaries=lambda: self.settings.canaries.keys(),
            standing=self._judge_standing,
        )
        self.rolling = SegmentJob(
            store,
            roller,
            before=lambda now: now - self.settings.retention_s,
            works=self._leads,
        )
        self._archivist = Archivist(
            store, lambda: self.settings.reports, sentences, self._leads, self._tell_week_after
        )
        self._nightly_looks = NightlyLooks(store, lambda: self.settings.reports, self._leads)
        self.drift_job = DriftJob(
            store,
            settings=lambda: self.settings,
            states=self._known_states,
            bench=judge,
            announce=self._announcer.put,
            works=self._leads,
            environment=environment,
            words=aftermath,
        )
        self._report_job = ReportJob(
            store, lambda: self.settings, self._announcer.put, sentences, self._leads
        )
        self._begun: int | None = None
        """The term for which the source has restored what earlier leaders learnt."""
        self._reconciled: ControlSettings | None = None
        self._left: list[LeftBaseline] = []
        self._turned_at = time.monotonic()
        self._outrun_since: float | None = None
        self._has_notices = asyncio.Event()
        self._saving: asyncio.Task[None] | None = None

    def _known_states(self) -> Mapping[str, State]:
        """The canaries' states, those that are known."""
        found = ((name, self.rollouts.state(name)) for name in self.settings.canaries)
        return {name: state for name, state in found if state is not None}

    def _leads(self) -> bool:
        return self.leader.standing() == "leading"

    @property
    def watches(self) -> bool:
        """True while this controller judges and acts."""
        begun = self._begun is not None and self._begun == self.leader.term
        return begun and self.leader.standing() in ("leading", "alone")

    def configure(self, settings: ControlSettings) -> None:
        """Use a changed config. The next `turn` brings the states to what it wants."""
        self.settings = settings
        self.monitor.configure(settings)
        self.preflights.changed()

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [
            *self.source.loops(),
            *self.publisher.loops(),
            every(DECIDE_EVERY_S, self._decide),
            self._notify(),
            self._refresh(),
            every(TURN_EVERY_S, self.turn, at_once=True),
            every(COURSES_EVERY_S, self._keep_courses),
            self.rollouts.settling(),
            self.activity.run(),
            *self.operator.loops(),
            looking(1.0, self._trials.follow),
            self._announcer.run(),
            self._archivist.run(),
            self._nightly_looks.run(),
            self._report_job.run(),
            self.drift_job.run(),
            *([self._judge_job.run()] if self._judge_job else []),
            self.release_metrics.run(),
            self.judge_metrics.run(),
            self.rolling.run(),
            expiring(self._store, lambda: self.settings.retention_s if self._leads() else None),
        ]

    async def close(self) -> None:
        """Judge the last events, save the memory, and let the next controller lead."""
        await self.preflights.close()
        self.source.drain()
        if self.watches:
            self.monitor.decide(utc_now(), time.monotonic())
            await self._save()
            await self._keep_courses()
        try:
            await asyncio.to_thread(self.leader.resign)
        except StoreDown as problem:
            log.error("lease.not_given_back", problem=str(problem))

    def watch_records(self, *, room_bytes: int | None, waiting: int, down: str | None) -> None:
        """Page when records are dropped or wait too long.

        `waiting` records are in a spool with `room_bytes` left (None: unknown); `down` is why the store does
        not answer.
        """
        if self.monitor.watch_records(
            utc_now(), time.monotonic(), room_bytes=room_bytes, waiting=waiting, down=down
        ):
            self._has_notices.set()

    async def _decide(self) -> None:
        if not self.watches:
            return
        now_utc, now = utc_now(), time.monotonic()
        refused = self.monitor.watch_config("; ".join(self._refused()), now_utc, now)
        if self.monitor.decide(now_utc, now) or refused:
            self._has_notices.set()

    def _refused(self) -> list[str]:
        """Why the config file is not in force, wholly or for some canaries."""
        problem = self._config_problem()
        return [problem] if problem else redefinitions(self.settings.canaries, self.rollouts.states)

    async def _notify(self) -> None:
        """Save the memory, then send notices: after a crash, a notice that was sent is known."""
        saved_at = float("-inf")
        async with notifier_client() as client:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._has_notices.wait(), DECIDE_EVERY_S)
                if not self.watches:
                    await asyncio.sleep(DECIDE_EVERY_S)  # a set event would not yield to the loop
                    continue
                due = bool(self.monitor.outbox.due(time.time()))
                if self._has_notices.is_set() or time.monotonic() - saved_at >= self.source.save_every_s:
                    self._has_notices.clear()
                    saved_at = time.monotonic()
                    await self._save()
                if due and self.watches:
                    public = self.settings.admin_url
                    await deliver(
                        self.monitor.outbox, client, time.time(), public or self._own_url, public=public
                    )
                    await self._save()

    async def _save(self) -> None:
        """Save the memory. A disk or store that hangs is waited for SAVE_WITHIN_S, then left behind."""
        if self._saving is None or self._saving.done() or await self._saved():
            self._saving = asyncio.create_task(self.source.save())
            await self._saved()

    async def _saved(self) -> bool:
        assert self._saving is not None  # noqa: S101
        done, _ = await asyncio.wait({self._saving}, timeout=SAVE_WITHIN_S)
        if not done:
            log.error("checkpoint.late", waited_s=SAVE_WITHIN_S)
            return False
        self._saving.result()
        return True

    async def _refresh(self) -> None:
        """Once a second, without the store: update gauges, publish states that changed or aged."""
        refreshed, version = float("-inf"), NO_STATES.version
        while True:
            standing, states, now = self.leader.standing(), self.rollouts.in_force, time.monotonic()
            aged = now - refreshed >= self.publisher.refresh_every_s or states.version != version
            if standing == "unsure":
                if await self.publisher.is_outspoken():
                    self.leader.heard_other()
            elif self.watches and aged:
                patience = self.monitor.patience
                self.rollouts.wait_for_candidates(patience.by_canary(now), patience.silence(now))
                if self.rollouts.publish():
                    refreshed, version = now, states.version
            if self.watches:
                self.meters.set_states(states)
                self._log_astray(time.time())
            await asyncio.sleep(TURN_EVERY_S)

    def _log_astray(self, now: float) -> None:
        """Log once what is wrong with most requests, and once that it is over."""
        found = {(each.canary, each.kind): each for each in self.monitor.astray(now)}
        for canary, kind in self._astray - found.keys():
            log.info("traffic.well", canary=canary, kind=kind)
        for key in found.keys() - self._astray:
            each = found[key]
            log.warning(
                "traffic.astray",
                canary=each.canary,
                kind=each.kind,
                requests=each.requests,
                of=each.of,
                problem=each.sentence,
            )
        self._astray = set(found)

    async def turn(self) -> None:
        """Do what needs the store: leadership, states that others changed, config changes, ramps."""
        await asyncio.to_thread(self.leader.turn)
        now = time.monotonic()
        passed_s, self._turned_at = now - self._turned_at, now
        if self.leader.is_shared:
            self.rollouts.hear(None if self._leads() else await self.publisher.published())
        try:
            if self.leader.is_shared:
                self.rollouts.adopt(await asyncio.to_thread(self._store.states))
            await self._act(passed_s, now)
            await asyncio.to_thread(self.rollouts.count_users, self.settings, now)
            self.stored.answered()
        except StoreDown as problem:
            self.stored.failed(problem)

    async def _act(self, passed_s: float, now: float) -> None:
        term = self.leader.term
        if term is None:
            try:
                await self.source.stand_by()
            finally:
                self.monitor.look(now)
            return
        if self._begun != term:
            await self.source.begin()
            await self._take_courses()
            if self.leader.is_shared:
                self.activity.begin()
            self._begun, self._reconciled = term, None
        if self._leads():
            await self._lead(passed_s)

    async def _keep_courses(self) -> None:
        """The leader stores what its charts show; the others take it."""
        if self.leader.term is None:
            await self._take_courses()
        elif self._leads() and await self._has_courses():
            kept = StoredCheckpoint(self.leader.term, self.monitor.courses())
            with suppress(StoreDown):
                await asyncio.to_thread(self._courses.save, kept, time.time())

    async def _has_courses(self) -> bool:
        """Whether the stored charts were read once: what was not read must not be replaced."""
        if not self._knows_courses:
            await self._take_courses()
        return self._knows_courses

    async def _take_courses(self) -> None:
        """Go on with the stored charts. Those that cannot be understood begin anew."""
        try:
            stored = await asyncio.to_thread(self._courses.load)
            self._knows_courses = True
            self.monitor.take_courses(stored.document)
        except (StoreDown, msgspec.MsgspecError) as problem:
            log.warning("courses.not_read", problem=str(problem))

    async def _lead(self, passed_s: float) -> None:
        """Bring the states to what the config wants, and advance the ramps."""
        settings = self.settings
        await self._stay_ahead()
        if self._reconciled != settings:
            await asyncio.to_thread(self._reconcile, settings)
        self.preflights.turn(settings)
        self.monitor.page_of_preflights(self.preflights.failed)
        tick = partial(self.rollouts.tick, settings, passed_s=passed_s, now=time.time())
        held, thin, before = self.monitor.holding(), self.monitor.thin(), self.rollouts.in_force.version
        caps = self.monitor.caps(time.monotonic())
        await asyncio.to_thread(tick, held=held, thin=thin)
        await asyncio.to_thread(self.rollouts.end_holdbacks, time.time())
        for name, quota in caps.items():
            await asyncio.to_thread(self.rollouts.cap, name, quota, time.time())
        if self.rollouts.in_force.version != before:
            self.rollouts.publish()
        await self.monitor.log_pages(self._store)

    async def _stay_ahead(self) -> None:
        """Overtake workers that have followed newer states than the store's for a while. May raise
        StoreDown."""
        published, now = await self.publisher.published() or NO_STATES, time.monotonic()
        version = max(published.version, self.workers.newest_version(now))
        if version <= self.rollouts.in_force.version:
            self._outrun_since = None
        elif self._outrun_since is None:
            self._outrun_since = now
        elif now - self._outrun_since >= OUTRUN_FOR_S:
            await asyncio.to_thread(self.rollouts.overtake, published, version, time.time())

    def _reconcile(self, settings: ControlSettings) -> None:
        """Only the leader does this: two configs must not fight. May raise StoreDown; the next turn tries
        again."""
        begun = Standings(self._store).all()
        left = [each for each in settings.left(begun, self._reconciled) if not each.taken_by]
        news = [
            each
            for each in left
            if each.is_in_force({name: known.state for name, known in self.rollouts.states.items()})
        ]
        problems = self.rollouts.reconcile(settings, time.time(), awaits=self.preflights.awaits)
        self._reconciled = settings
        self._left = [each for each in left if self._left_lately(each)]
        for each in news:
            log.warning("standing.left", canary=each.name, problem=each.sentence)
            about = {"canary": each.name}
            self._announcer.put(
                Announcement(kind="baseline_left", about=about, headline=each.sentence, at=time.time())
            )
        for problem in problems:
            log.error("config.refused", problem=problem)

    def _left_lately(self, baseline: LeftBaseline) -> bool:
        """True for a day after its entry left the config."""
        state = self.rollouts.state(baseline.canary)
        since = None if state is None or state.reason != REMOVED else state.changed_at
        return since is not None and time.time() - since < TOLD_FOR_S

    def _tell_week_after(self, stored: StoredEvaluation) -> None:
        if (news := week_after_news(stored)) is not None:
            self._announcer.put(news)

    def _judged_runs(self) -> list[JudgedRun]:
        """The runs that have begun, of the canaries that the model judges."""
        found = []
        for name, wanted in self.settings.canaries.items():
            state = self.rollouts.state(name)
            if state is not None and state.started_at is not None:
                found.append(wanted.judged_run(state.run))
        return [each for each in found if each is not None]

    def _judge_standing(self) -> JudgeStatus | None:
        told = self._judge_job.document() if self._judge_job else None
        if told is None:
            return None
        reason = told["reason"].replace(" ", "_")
        return JudgeStatus(budget_usd=told["daily_budget_usd"], paused=reason)

    def _troubles(self) -> Sequence[str]:
        """What does not work at the moment, in plain words."""
        found = [*self._other_troubles(), *self.monitor.record_alarm.troubles, *self._report_job.troubles]
        found += [each.sentence for each in self._left if self._left_lately(each)]
        found += [*self._nightly_looks.troubles, *self.drift_job.troubles]
        if self._judge_job and self._judge_job.trouble:
            found.append(self._judge_job.trouble)
        if self.rolling.trouble:
            found.append(self.rolling.trouble)
        if self.leader.is_shared and self.stored.down is not None:
            found.append(f"the store does not answer: {self.stored.down}")
        if self.leader.standing() == "alone":
            found.append("no store to tell who leads: the ramps stand still, rollbacks go out by Redis")
        return found
