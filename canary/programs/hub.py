"""The admin process of several replicas (`--role admin`): one of them leads, all of them answer operators.

Whoever leads takes in what the replicas' agents tell by Redis, looks in the store for the rest, judges, rolls
back, ramps and pages; its memory is kept in the store for the next. The others show that memory, and pass on
orders: the store decides between two.
"""

import asyncio
import os
import time
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry

from alerts.notify import deliver, notifier_client
from canary.config import Config
from canary.judging.archiving import Archivist
from canary.news.counting import Counting
from canary.news.intake import Intake
from canary.news.listener import News
from canary.news.live import JUDGE_EVERY_S, Live
from canary.news.memory import Memory
from canary.news.shared_meters import AdminMeters
from canary.news.workers import Workers
from canary.operator import Operator
from canary.programs.admin import boot_id
from canary.programs.expiring import expiring
from canary.programs.listening import access_to, listen, own_url
from canary.programs.process import (
    Ending,
    Orders,
    Reading,
    WatchedConfig,
    run,
)
from canary.secrets import Keys
from canary.states.announcing import Announcing
from canary.states.leadership import RENEW_EVERY_S, Leadership
from canary.states.pulled import PulledBack
from canary.states.reach import Reach
from canary.states.redefinitions import redefinitions
from canary.states.rollouts import Rollouts
from console.app import admin_app
from records import spool_name
from records.errors import StoreDown
from records.meters import Meters
from records.shared import link
from records.shared.plan_channel import PlanChannel
from records.store import Store
from records.store.kept import Checkpoints
from records.store.lease import Leases

log = structlog.get_logger()

KEEP_EVERY_S = 5.0
WATCHING = ("leading", "alone")


class Hub:
    """Everything one admin owns."""

    def __init__(self, orders: Orders, reading: Reading | None) -> None:
        self.orders = orders
        self.own_url = own_url(orders)
        self.config = WatchedConfig(Path(orders.config), self._reloaded, reading)
        current = self.config.current
        self.store = Store.at(current.store, orders.folder)
        self.leases = Leases(self.store)
        name = spool_name.of(orders.folder / "spool")
        self.leadership = Leadership(self.leases, name, utc=time.time, mono=time.monotonic)
        self.redis = link.connect(current.shared)
        self.shared, self.stored = Reach("redis"), Reach("store")
        self.announcing = Announcing(PlanChannel(self.redis), self.shared)
        self.intake = Intake(
            self.redis,
            self.store,
            self.shared,
            canaries=lambda: list(self.config.current.canaries),
            tell=self._take,
        )
        self.workers = Workers()
        self.meters = Meters(canaries=current.canaries, feedback_metrics=current.metrics, mono=time.monotonic)
        pulled = PulledBack(orders.folder / "rollbacks.json")
        self.rollouts = Rollouts(self.store, self.announcing.put, pulled=pulled)
        self.live = Live(meters=self.meters, rollouts=self.rollouts, config=current)
        self.operator = Operator(
            config=self.config,
            store=self.store,
            rollouts=self.rollouts,
            live=self.live,
            workers=self.workers,
            troubles=self._troubles,
            keys=Keys(os.environ, orders.folder),
            problems=[],
        )
        self.archivist = Archivist(
            self.store,
            lambda: self.config.current,
            lambda: self.leadership.standing() == "leading",
        )
        checkpoints = Checkpoints(self.store)
        self.memory = Memory(checkpoints, [Counting(self.meters), self.live], boot=boot_id())
        self.knows = False
        """True once what earlier leaders learnt is taken in, since this one leads."""
        self.wants: Config | None = None
        """The config that the states were brought to."""
        self.told = asyncio.Event()

    @property
    def hears(self) -> bool:
        """True while this admin takes in evidence."""
        return self.knows and self.leadership.standing() != "standby"

    @property
    def watches(self) -> bool:
        """True while this admin judges, and does something about it."""
        return self.knows and self.leadership.standing() in WATCHING

    async def run(self) -> None:
        """Do all of it until told to end; then let the next one lead."""
        ending = Ending(asyncio.get_running_loop(), partial(self.config.check, force=True))
        registry = CollectorRegistry()
        registry.register(
            AdminMeters(
                self.meters,
                leads=lambda: self.watches,
                shared_up=lambda: self.shared.down is None,
                lag_s=lambda: self.intake.lag_s,
            )
        )
        loops = [self._clock(ending), self._judge(), self._keep(), self.intake.hear(), self.intake.search()]
        loops += [self.announcing.run(), self.rollouts.settling(), self.operator.rollbacks_known.following()]
        loops += [self.archivist.run(), expiring(self.store, self._retention)]
        app = admin_app(self.operator, registry, access_to(self.orders), closing=lambda: ending.asked)
        try:
            await listen(app, self.orders, ending, loops)
        finally:
            await self._resign()
            await self.redis.aclose()
            self.store.close()

    def _take(self, news: News) -> None:
        self.workers.take(news)
        if self.hears:
            self.live.take(news)

    async def _judge(self) -> None:
        while True:
            await asyncio.sleep(JUDGE_EVERY_S)
            if self.watches and self.live.judge(time.time(), time.monotonic()):
                self.told.set()

    async def _keep(self) -> None:
        """Keep what is known, and only then tell it: a page that went out is known to the next leader."""
        kept_at = float("-inf")
        async with notifier_client() as client:
            while True:
                await _within(self.told, JUDGE_EVERY_S)
                if not self.watches:
                    continue
                due = bool(self.live.outbox.due(time.time()))
                if self.told.is_set() or time.monotonic() - kept_at >= KEEP_EVERY_S:
                    self.told.clear()
                    kept_at = time.monotonic()
                    await self._save()
                if due and self.watches:
                    console = self.config.current.admin_url or self.own_url
                    await deliver(self.live.outbox, client, time.time(), console)
                    await self._save()

    async def _save(self) -> None:
        """Not while the store is silent: pages wait for no store."""
        lease, position = self.leadership.lease, self.intake.position
        if lease is not None and position is not None and self.leadership.standing() == "leading":
            await self.memory.save(lease.term, position)

    async def _clock(self, ending: Ending) -> None:
        """Once a second: who leads, what others changed, the ramps, a sign of life."""
        before = time.monotonic()
        while True:
            ending.check_parent()
            await asyncio.to_thread(self.leadership.turn)
            await self._look()
            self.config.check()
            now = time.monotonic()
            standing = self.leadership.standing()
            if standing == "standby":
                self.knows = False
                self.intake.end()
                self.live.look(now)
            elif not self.knows:
                await self._begin_to_lead()
            elif standing == "leading":
                await self._lead(now - before)
            if standing == "unsure":
                if await self.announcing.outspoken():
                    self.leadership.heard_other()
            elif self.watches:
                self.rollouts.publish()
                self.meters.set_plan(self.rollouts.plan)
            before = now
            await asyncio.sleep(RENEW_EVERY_S)

    async def _look(self) -> None:
        """What is in the store, as others may have changed it; in standby what the leader knows, too."""
        try:
            self.rollouts.adopt(await asyncio.to_thread(self.store.states))
            if self.leadership.standing() == "standby":
                await self.memory.recall(again=False)
            self.stored.answered()
        except StoreDown as problem:
            self.stored.failed(problem)

    async def _begin_to_lead(self) -> None:
        """Go on where the last leader was, and keep that under this term: what the last one says is void."""
        try:
            document = await self.memory.recall(again=True)
            await asyncio.to_thread(self._reconcile, self.config.current)
        except StoreDown as problem:
            self.stored.failed(problem)
            return
        self.intake.begin(document)
        self.knows = True
        await self._save()

    async def _lead(self, passed_s: float) -> None:
        """Let the ramps' clocks run, and the states be what a reloaded config wants."""
        config, held, thin = self.config.current, self.live.holding(), self.live.thin()
        tick = partial(self.rollouts.tick, config, passed_s=passed_s, held=held, thin=thin, now=time.time())
        try:
            if self.wants is not config:
                await asyncio.to_thread(self._reconcile, config)
            await asyncio.to_thread(tick)
        except StoreDown as problem:
            log.error("ramp.not_stored", problem=str(problem))

    def _retention(self) -> float | None:
        return self.config.current.retention_s if self.leadership.standing() == "leading" else None

    async def _resign(self) -> None:
        if self.watches:
            await self._save()
        lease = self.leadership.resign()
        if lease is not None:
            try:
                await asyncio.to_thread(self.leases.give_back, lease)
            except StoreDown as problem:
                log.error("lease.not_given_back", problem=str(problem))

    def _troubles(self) -> list[str]:
        found = []
        if self.stored.down is not None:
            found.append(f"the store does not answer: {self.stored.down}")
        if self.leadership.standing() == "alone":
            found.append("no store to tell who leads: the ramps stand still, rollbacks go out by Redis")
        if self.shared.down is not None:
            found.append(f"outcomes and the plan go by the store: {self.shared.down}")
        return found

    def _reloaded(self, config: Config) -> None:
        self.operator.problems = redefinitions(config, self.rollouts.states)
        self.live.configure(config)

    def _reconcile(self, config: Config) -> None:
        """Bring the states to what the config wants. The leader's part: two configs must not fight. May raise
        StoreDown."""
        self.operator.problems = self.rollouts.reconcile(config, time.time())
        self.wants = config
        for problem in self.operator.problems:
            log.error("config.refused", problem=problem)


async def _within(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return


async def _hub(orders: Orders, reading: Reading | None) -> None:
    await Hub(orders, reading).run()


def main() -> None:
    """Entry point of `python -m canary.programs.hub ORDERS`."""
    run(_hub)


if __name__ == "__main__":
    main()
