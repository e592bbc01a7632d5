"""The agent, beside the workers of a replica (`--role traffic`), in place of an admin process.

The agent ships the spool to the store, publishes outcomes to the leader, keeps the plan file fresh, and
counts for Prometheus. It judges nothing and takes no orders.
"""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from alerts.incidents.incident import LEAST_ROOM_BYTES, SPOOL_FULL
from canary import __version__
from canary.config import Config
from canary.programs.config_pipe import FollowedConfig
from canary.programs.listeners import access_to, listen
from canary.programs.process import ShutdownSignal, WorkerArgs, boot_id, run
from common.clock import every
from console.app import health_app
from control.feed.events import MetricsListener, TracingListener, WorkerRegistry
from control.feed.joins import FeedbackJoins
from control.feed.sessions import SessionsPublisher
from control.feed.spool import SpoolShippers, SpoolSource
from control.feed.stream import StreamPublisher
from control.fleet.metrics import AgentMetrics, ConfigMetrics
from control.fleet.publisher import ServiceAvailability, StatesFollower, TrialsFile, looking
from records.errors import SharedDown, StoreDown
from records.exports.prometheus import Meters
from records.facts.price_list import PriceListUpdates
from records.facts.standing import FILE
from records.shared import held_units, states_channel
from records.shared.fleet_clock import FleetClock
from records.shared.states_channel import StatesChannel
from records.shared.stream import OutgoingQueue, SessionsStream
from records.store.leader import HELD, Checkpoints, LeaderLeases, states_in
from records.store.shipper import name_of_spool

POLL_S = 0.05
CLOCK_S = 1.0
ASK_EVERY_S = 0.3
SILENT_AFTER_S = 2.5
"""Admins refresh the plan every second. After this long without a refresh the store is asked."""

UNHEARD_AFTER_S = 30.0


class ReplicaAgent:
    """Everything the agent owns."""

    def __init__(self, args: WorkerArgs, config: FollowedConfig) -> None:
        self.args = args
        spool = args.folder / "spool"
        self.config = config
        config.on_change(self._reloaded)
        current = self.config.current
        self.store = current.store_at(args.folder)
        self.leases = LeaderLeases(self.store)
        self.redis = states_channel.connect(current.shared)
        self.channel = StatesChannel(self.redis)
        self.outgoing = OutgoingQueue()
        self.following = StatesFollower(args.folder / "plan.json")
        self.trials = TrialsFile(self.store, args.folder / FILE, self._wants_trials)
        self.price_updates = PriceListUpdates(lambda: self.config.current.price_list)
        self.workers = WorkerRegistry()
        self.tracing = TracingListener(os.environ, __version__, lambda: self.config.current.base_urls)
        self.meters = Meters(
            canaries=current.canaries,
            feedback_metrics=current.metrics,
            callers=[each.name for each in current.callers],
            mono=time.monotonic,
        )
        self.sessions = SessionsPublisher(
            args.folder, self.store, args.session_news(), stream=SessionsStream(self.redis)
        )
        self.clock = FleetClock(self.redis)
        publisher = StreamPublisher(
            self.outgoing, replica=name_of_spool(spool), clock_offset_s=lambda: self.clock.offset_s
        )
        self.feed = SpoolSource(
            spool,
            args.folder / "live.json",
            boot=boot_id(),
            joins=FeedbackJoins(self.store, shared=True),
            others=[publisher, self.tracing],
            dated=self.clock.dated,
        )
        self.feed.attach(self.workers, MetricsListener(self.meters))
        self.shipping = SpoolShippers(args.folder, self.store, other=self.feed.reader)
        self.shared = ServiceAvailability("redis")
        self._started = time.monotonic()

    async def run(self) -> None:
        """Run until told to end, then ship the rest."""
        shutdown = ShutdownSignal(asyncio.get_running_loop())
        await self._ask_time()
        loops = [
            *self.feed.loops(),
            every(self.feed.save_every_s, self.feed.save),
            self._send(),
            self._listen(),
            every(CLOCK_S, self._ask_time),
            every(ASK_EVERY_S, self._ask, at_once=True),
            every(ASK_EVERY_S, self._ask_store, at_once=True),
        ]
        loops += [
            *self.sessions.loops(),
            *self.shipping.loops(),
            looking(1.0, self.trials.follow),
            self.config.follow(),
            self.price_updates.follow(),
            every(CLOCK_S, partial(self._clock, shutdown)),
        ]
        try:
            await listen(self._app(), self.args, self.config, shutdown, loops)
        finally:
            self.feed.drain()
            await self.feed.save()
            await self._send_the_rest()
            await asyncio.to_thread(self.tracing.close)
            await self.shipping.close()
            self.store.close()
            await self.redis.aclose()

    def _wants_trials(self) -> bool:
        config = self.config.current
        return bool(config.standing or config.text_files)

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
        """Receive a plan the moment it is published."""
        while True:
            try:
                async for plan in self.channel.listen():
                    self.following.hear(plan, time.monotonic())
            except SharedDown:
                await asyncio.sleep(ASK_EVERY_S)

    async def _ask_time(self) -> None:
        """Compare this machine's clock with Redis's. While Redis is silent, what was measured last counts."""
        with suppress(SharedDown):  # who asks for the plan says so
            await self.clock.ask()

    async def _ask(self) -> None:
        """Poll the key, which has what the channel missed."""
        try:
            self.following.hear(await self.channel.read(), time.monotonic())
            if self.following.holds:
                self.following.hear_held(await self.channel.read_held(self.following.held.at))
            self.shared.answered()
        except SharedDown as problem:
            self.shared.failed(problem)

    async def _ask_store(self) -> None:
        """Poll the store while Redis is down or has no fresh plan."""
        if self.shared.down or self.following.silent_s(time.monotonic()) > SILENT_AFTER_S:
            with suppress(StoreDown):  # the shipper says that the store is down
                plan = await asyncio.to_thread(states_in, self.store, self.leases)
                known = self.following.newest  # only Redis has how long to wait
                plan = replace(plan, patience=known.patience, silence=known.silence)
                self.following.hear(plan, time.monotonic())
                if self.following.has_unknown_holds:
                    kept = await asyncio.to_thread(Checkpoints(self.store, HELD).load)
                    self.following.hear_held(held_units.decode(kept.document))

    async def _clock(self, shutdown: ShutdownSignal) -> None:
        shutdown.check_parent()
        self.shipping.show(self.meters)

    def _app(self) -> Starlette:
        registry = CollectorRegistry()
        registry.register(self.meters)
        registry.register(ConfigMetrics(self.config.troubles))
        registry.register(
            AgentMetrics(
                dropped=lambda: self.outgoing.dropped,
                shared_up=lambda: self.shared.down is None,
                clock_offset_s=lambda: self.clock.offset_s,
            )
        )
        return health_app(self._degraded, registry, access_to(self.args))

    def _degraded(self) -> list[str]:
        """What does not work at the moment, in plain words."""
        now = time.monotonic()
        found = [*self.config.troubles(), *self.price_updates.troubles()]
        if self.shipping.down is not None:
            found.append(f"the store does not answer, records wait in the spool: {self.shipping.down}")
        room = self.shipping.room_bytes()
        if room is not None and room < LEAST_ROOM_BYTES:
            found.append(SPOOL_FULL)
        if self.shared.down is not None:
            found.append(f"the plan comes from the store: {self.shared.down}")
        if min(self.following.silent_s(now), now - self._started) > UNHEARD_AFTER_S:
            found.append("no admin refreshes the plan: after 15 minutes the shares fall to 0")
        if (wrong := self.clock.trouble) is not None:
            found.append(wrong)
        return [*found, *self.workers.troubles(now)]

    async def _reloaded(self, config: Config) -> None:
        callers = [each.name for each in config.callers]
        self.meters.configure(canaries=config.canaries, feedback_metrics=config.metrics, callers=callers)


def main() -> None:
    """Entry point of `python -m canary.programs.agent ARGS`."""
    run(lambda args, config: ReplicaAgent(args, config).run())


if __name__ == "__main__":
    main()
