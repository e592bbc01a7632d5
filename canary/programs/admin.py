"""The admin process: the composition root of everything that watches. Started by the supervisor (`serve`)."""

import asyncio
import os
import threading
import time
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from alerts.notify import deliver, notifier_client
from canary.config import Config
from canary.judging.archiving import Archivist
from canary.news.counting import Counting
from canary.news.live import Live
from canary.news.spool_feed import SpoolFeed
from canary.news.tracing import Tracing
from canary.news.workers import Workers
from canary.operator import Operator
from canary.programs.expiring import expiring
from canary.programs.listening import access_to, ended, listen, own_url
from canary.programs.process import (
    Ending,
    Orders,
    Reading,
    WatchedConfig,
    run,
)
from canary.secrets import Keys
from canary.states.pulled import PulledBack
from canary.states.rollouts import Rollouts
from console.app import admin_app
from records import plans
from records.capture_store import CaptureShipper, CaptureStore
from records.errors import StoreDown
from records.meters import Meters
from records.shipper import Shipper
from records.spool import room_bytes
from records.store import Store
from routing.plan import NO_PLAN

log = structlog.get_logger()

POLL_S = 0.05
CLOCK_S = 1.0
REFRESH_EVERY_S = 5.0
NOTIFY_EVERY_S = 0.2


class Admin:
    """Everything the admin process owns."""

    def __init__(self, orders: Orders, reading: Reading | None) -> None:
        self.orders = orders
        self.own_url = own_url(orders)
        data = orders.folder
        self.config = WatchedConfig(Path(orders.config), self._reloaded, reading)
        self.store = Store.at(self.config.current.store, data)
        self.rollouts = Rollouts(
            self.store,
            partial(plans.write, data / "plan.json"),
            last=plans.read(data / "plan.json") or NO_PLAN,
            pulled=PulledBack(data / "rollbacks.json"),
        )
        self.meters = Meters(
            canaries=self.config.current.canaries,
            feedback_metrics=self.config.current.metrics,
            mono=time.monotonic,
        )
        self.live = Live(meters=self.meters, rollouts=self.rollouts, config=self.config.current)
        self.workers = Workers()
        self.tracing = Tracing(os.environ)
        self.feed = SpoolFeed(
            data / "spool",
            data / "live.json",
            [Counting(self.meters), self.workers, self.live, self.tracing],
            boot=boot_id(),
        )
        self.shipper = Shipper(data / "spool", self.store, others=[self.feed.reader])
        self.captures = CaptureShipper(data / "captures", CaptureStore(self.store))
        self.archivist = Archivist(self.store, lambda: self.config.current)
        self.operator = Operator(
            config=self.config,
            store=self.store,
            rollouts=self.rollouts,
            live=self.live,
            workers=self.workers,
            troubles=self._troubles,
            keys=Keys(os.environ, data),
            problems=[],
        )
        self.wants: Config | None = self.config.current
        """The config that the states have not been brought to yet."""
        self._reconcile()
        self.rollouts.publish()  # while the store is down, the last plan goes on
        self._show()

    async def run(self) -> None:
        """Watch and answer until told to end; then ship what is left."""
        ending = Ending(asyncio.get_running_loop(), partial(self.config.check, force=True))
        stop_shipping = threading.Event()
        shipping = asyncio.get_running_loop().run_in_executor(None, self.shipper.run, stop_shipping)
        loops = [self._follow(), self._tend(ending), self._ramp(), self._notify(), ended(shipping)]
        loops += [self.rollouts.settling(), self.operator.rollbacks_known.following(), self.captures.run()]
        loops += [self.archivist.run(), expiring(self.store, lambda: self.config.current.retention_s)]
        try:
            await listen(self._app(ending), self.orders, ending, loops)
        finally:
            while self.feed.turn():
                pass
            self.live.judge(time.time(), time.monotonic())
            self.feed.save()
            stop_shipping.set()
            await asyncio.to_thread(self.tracing.close)
            await asyncio.wait([shipping])
            await asyncio.to_thread(self.captures.turn, time.time())
            self.store.close()

    async def _follow(self) -> None:
        while True:
            more = self.feed.turn()
            now = time.monotonic()
            if self.live.judge(time.time(), now):
                self.feed.save()  # before it is told: a page that went out is known after a crash
            self.feed.save_if_due(now)
            await asyncio.sleep(0 if more else POLL_S)

    async def _tend(self, ending: Ending) -> None:
        """Once a second: the config file, the records; when the plan changed or ages, the plan."""
        refreshed, version = time.monotonic(), self.rollouts.plan.version
        while True:
            await asyncio.sleep(CLOCK_S)
            now = time.monotonic()
            ending.check_parent()
            self.config.check()
            if now - refreshed >= REFRESH_EVERY_S or self.rollouts.plan.version != version:
                refreshed, version = now, self.rollouts.plan.version
                self.rollouts.publish()
            self._look_after_records(now)
            self._show()

    async def _ramp(self) -> None:
        """Once a second, apart from the rest: what needs the store, which may take its time."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(CLOCK_S)
            now = time.monotonic()
            if self.wants is not None:
                await asyncio.to_thread(self._reconcile)
            held, thin = self.live.holding(), self.live.thin()
            config, version = self.config.current, self.rollouts.plan.version
            try:
                await asyncio.to_thread(
                    self.rollouts.tick,
                    config,
                    passed_s=now - before,
                    held=held,
                    thin=thin,
                    now=time.time(),
                )
            except StoreDown as problem:
                log.error("ramp.not_stored", problem=str(problem))
            before = now
            if self.rollouts.plan.version != version:
                self.rollouts.publish()

    def _reconcile(self) -> None:
        """Bring the states to what the config wants. What the store does not take now is tried again."""
        wanted = self.wants
        if wanted is None:
            return
        try:
            problems = self.rollouts.reconcile(wanted, time.time())
        except StoreDown as problem:
            log.error("config.not_stored", problem=str(problem))
            return
        self.operator.problems = problems
        for each in problems:
            log.error("config.refused", problem=each)
        if self.wants is wanted:  # it may have changed meanwhile
            self.wants = None

    def _look_after_records(self, now_mono: float) -> None:
        if self.live.look_after_records(
            time.time(),
            now_mono,
            room_bytes=room_bytes(self.orders.folder / "spool"),
            waiting=self.shipper.spooled,
            down=self.shipper.down,
        ):
            self.feed.save()

    async def _notify(self) -> None:
        async with notifier_client() as client:
            while True:
                await asyncio.sleep(NOTIFY_EVERY_S)
                console = self.config.current.admin_url or self.own_url
                if await deliver(self.live.outbox, client, time.time(), console):
                    self.feed.save()  # a page that went out is known after a crash

    def _troubles(self) -> list[str]:
        found = list(self.live.keeping.troubles)
        if self.shipper.down is not None:
            found.append(f"the store does not answer, records wait in the spool: {self.shipper.down}")
        return found

    def _reloaded(self, config: Config) -> None:
        self.wants = config
        self.live.configure(config)

    def _show(self) -> None:
        """Bring the gauges up to date."""
        self.meters.set_plan(self.rollouts.plan)
        counts = self.shipper.counts
        if counts is not None:
            self.meters.set_records(counts.totals, counts.spooled)

    def _app(self, ending: Ending) -> Starlette:
        registry = CollectorRegistry()
        registry.register(self.meters)
        return admin_app(self.operator, registry, access_to(self.orders), closing=lambda: ending.asked)


def boot_id() -> str:
    """This boot of this machine, as spool files name it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")


async def _admin(orders: Orders, reading: Reading | None) -> None:
    await Admin(orders, reading).run()


def main() -> None:
    """Entry point of `python -m canary.programs.admin ORDERS`."""
    run(_admin)


if __name__ == "__main__":
    main()
