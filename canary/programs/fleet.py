"""The parts of a controller in a fleet: the stream, the lease, and Redis for the plan."""

import time
from collections.abc import Callable, Collection, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client.registry import Collector

from canary.programs.process import boot_id
from common.clock import rfc3339
from control.controller import Controller
from control.feed.stream import StreamSource
from control.fleet.leadership import Leadership
from control.fleet.metrics import ControllerMetrics
from control.fleet.publisher import RedisPublisher, ServiceAvailability
from records.errors import StoreDown
from records.shared import states_channel
from records.shared.fleet_clock import FleetClock
from records.shared.held_units import HeldUnits, encode
from records.shared.states_channel import StatesChannel
from records.store import Store
from records.store.leader import HELD, Checkpoints, LeaderLeases, StoredCheckpoint
from records.store.shipper import name_of_spool
from routing.states import NO_STATES

STALE_AFTER_S = 20.0
"""The leader stores its figures every 5 s, for admins in standby to show."""


class FleetParts:
    """The parts of one admin process among several."""

    def __init__(
        self, data: Path, store: Store, shared: str, canaries: Callable[[], Collection[str]]
    ) -> None:
        self._redis = states_channel.connect(shared)
        self._availability = ServiceAvailability("redis")
        name = name_of_spool(data / "spool")
        self.leader = Leadership(LeaderLeases(store), name, utc=time.time, mono=time.monotonic)
        self._held = Checkpoints(store, HELD)
        self.publisher = RedisPublisher(StatesChannel(self._redis), self._availability, keep=self._keep)
        self.clock = FleetClock(self._redis)
        self.source = StreamSource(
            self._redis,
            store,
            availability=self._availability,
            checkpoints=Checkpoints(store),
            boot=boot_id(),
            leadership=self.leader,
            canaries=canaries,
            clock=self.clock,
        )
        self.last = NO_STATES

    def metrics(self, controller: Controller) -> Collector:
        """The metrics that Prometheus scrapes."""
        return ControllerMetrics(
            controller.meters,
            leads=lambda: controller.watches,
            shared_up=lambda: self._availability.down is None,
            lag_s=lambda: self.source.lag_s,
            clock_offset_s=lambda: self.clock.offset_s,
        )

    def loops(self, controller: Controller) -> list[Coroutine[Any, Any, None]]:
        """Nothing runs beside the controller: the agents ship."""
        return []

    def _keep(self, units: HeldUnits) -> None:
        with suppress(StoreDown):  # only what Redis does not reach lacks it
            self._held.save(StoredCheckpoint(self.leader.term or 0, encode(units)), units.at)

    def troubles(self) -> list[str]:
        """What does not work at the moment."""
        down, at = self._availability.down, self.source.recalled_at
        found = [f"outcomes and the plan go by the store: {down}"] if down is not None else []
        if self.leader.standing() == "standby" and at is not None and time.time() - at > STALE_AFTER_S:
            found.append(f"the figures are of {rfc3339(at)}: the leading admin has stored none since")
        if (wrong := self.clock.trouble) is not None:
            found.append(wrong)
        return found

    async def close(self) -> None:
        """Close the connections to Redis."""
        await self._redis.aclose()
