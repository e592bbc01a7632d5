"""The agent: beside the workers of a replica (`--role traffic`), in place of an admin process.

It ships the spool into the store, tells the leader by the stream, keeps the plan file as new as it hears of,
and counts for Prometheus what happened here. It judges nothing, and takes no orders.
"""

import asyncio
import os
import threading
import time
from functools import partial
from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from canary.config import Config
from canary.news.counting import Counting
from canary.news.listener import Listener
from canary.news.shared_meters import AgentMeters
from canary.news.spool_feed import SpoolFeed
from canary.news.telling import Telling
from canary.news.tracing import Tracing
from canary.news.workers import Workers
from canary.programs.admin import boot_id
from canary.programs.listening import access_to, ended, listen
from canary.programs.process import (
    Ending,
    Orders,
    Reading,
    WatchedConfig,
    run,
)
from canary.states.following import Following
from canary.states.reach import Reach
from console.app import health_app
from records import spool_name
from records.capture_store import CaptureShipper, CaptureStore
from records.errors import SharedDown, StoreDown
from records.meters import Meters
from records.shared import link
from records.shared.plan_channel import PlanChannel
from records.shared.stream import Outgoing
from records.shipper import Shipper
from records.store import Store
from records.store.lease import Leases
from records.store.plan import plan_in

log = structlog.get_logger()

POLL_S = 0.05
CLOCK_S = 1.0
ASK_EVERY_S = 0.3
SILENT_AFTER_S = 2.5
"""Admins refresh the plan each second: longer without news, and the store is asked instead."""

UNHEARD_AFTER_S = 30.0


class Agent:
    """Everything the agent owns."""

    def __init__(self, orders: Orders, reading: Reading | None) -> None:
        self.orders = orders
        spool = orders.folder / "spool"
        self.config = WatchedConfig(Path(orders.config), self._reloaded, reading)
        current = self.config.current
        self.store = Store.at(current.store, orders.folder)
        self.leases = Leases(self.store)
        self.redis = link.connect(current.shared)
        self.channel = PlanChannel(self.redis)
        self.outgoing = Outgoing()
        self.following = Following(orders.folder / "plan.json")
        self.workers = Workers()
        self.tracing = Tracing(os.environ)
        self.meters = Meters(canaries=current.canaries, feedback_metrics=current.metrics, mono=time.monotonic)
        telling = Telling(self.outgoing, replica=spool_name.of(spool))
        listeners: list[Listener] = [Counting(self.meters), self.workers, telling, self.tracing]
        self.feed = SpoolFeed(spool, orders.folder / "live.json", listeners, boot=boot_id())
        self.shipper = Shipper(spool, self.store, others=[self.feed.reader])
        self.captures = CaptureShipper(orders.folder / "captures", CaptureStore(self.store))
        self.shared = Reach("redis")

    async def run(self) -> None:
        """Do all of it until told to end; then ship what is left."""
        ending = Ending(asyncio.get_running_loop(), partial(self.config.check, force=True))
        stop_shipping = threading.Event()
        shipping = asyncio.get_running_loop().run_in_executor(None, self.shipper.run, stop_shipping)
        loops = [self._follow(), self._send(), self._listen(), self._ask(), self._ask_store()]
        loops += [self.captures.run(), self._clock(ending), ended(shipping)]
        try:
            await listen(self._app(), self.orders, ending, loops)
        finally:
            while self.feed.turn():
                pass
            self.feed.save()
            await self._send_the_rest()
            stop_shipping.set()
            await asyncio.to_thread(self.tracing.close)
            await asyncio.wait([shipping])
            await asyncio.to_thread(self.captures.turn, time.time())
            self.store.close()
            await self.redis.aclose()

    async def _follow(self) -> None:
        while True:
            more = self.feed.turn()
            self.feed.save_if_due(time.monotonic())
            await asyncio.sleep(0 if more else POLL_S)

    async def _send(self) -> None:
        while True:
            try:
                await self.outgoing.send(self.redis)
            except SharedDown as problem:
                self.shared.failed(problem)
                await asyncio.sleep(ASK_EVERY_S)
            await asyncio.sleep(POLL_S)

    async def _send_the_rest(self) -> None:
        try:
            await self.outgoing.send(self.redis)
        except SharedDown as problem:
            self.shared.failed(problem)

    async def _listen(self) -> None:
        """The quick way: told of a plan the moment it is published."""
        while True:
            try:
                async for plan in self.channel.listen():
                    self.following.hear(plan, time.monotonic())
            except SharedDown:
                await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self) -> None:
        """The sure way: whatever was missed stands under the key."""
        while True:
            try:
                self.following.hear(await self.channel.read(), time.monotonic())
                self.shared.answered()
            except SharedDown as problem:
                self.shared.failed(problem)
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask_store(self) -> None:
        """The slow way, while Redis is silent about the plan or as a whole."""
        while True:
            if self.shared.down or self.following.silent_s(time.monotonic()) > SILENT_AFTER_S:
                try:
                    plan = await asyncio.to_thread(plan_in, self.store, self.leases)
                    self.following.hear(plan, time.monotonic())
                except StoreDown:
                    log.debug("plan.unheard")  # the shipper says that the store is down
            await asyncio.sleep(ASK_EVERY_S)

    async def _clock(self, ending: Ending) -> None:
        while True:
            await asyncio.sleep(CLOCK_S)
            ending.check_parent()
            self.config.check()
            counts = self.shipper.counts
            if counts is not None:
                self.meters.set_records(counts.totals, counts.spooled)

    def _app(self) -> Starlette:
        registry = CollectorRegistry()
        registry.register(self.meters)
        registry.register(
            AgentMeters(dropped=lambda: self.outgoing.dropped, shared_up=lambda: self.shared.down is None)
        )
        return health_app(self._degraded, registry, access_to(self.orders))

    def _degraded(self) -> list[str]:
        """What does not work at the moment, in plain words."""
        now = time.monotonic()
        found = []
        if self.config.problem:
            found.append(f"the config file is bad, the old one stays: {self.config.problem}")
        if self.shipper.down is not None:
            found.append(f"the store does not answer, records wait in the spool: {self.shipper.down}")
        if self.shared.down is not None:
            found.append(f"the plan comes from the store: {self.shared.down}")
        if self.following.silent_s(now) > UNHEARD_AFTER_S:
            found.append("no admin gave a sign of life: without one the shares fall to 0 after 15 minutes")
        if not self.workers.alive(now):
            found.append("no traffic worker gave a sign of life")
        return found

    def _reloaded(self, config: Config) -> None:
        self.meters.configure(canaries=config.canaries, feedback_metrics=config.metrics)


async def _agent(orders: Orders, reading: Reading | None) -> None:
    await Agent(orders, reading).run()


def main() -> None:
    """Entry point of `python -m canary.programs.agent ORDERS`."""
    run(_agent)


if __name__ == "__main__":
    main()
