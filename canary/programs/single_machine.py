"""The parts of a controller on a single machine: the spool, the plan file, and the shipping."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client.registry import Collector

from canary import __version__
from canary.programs.process import boot_id
from common.clock import every
from control.controller import Controller
from control.feed.events import TracingListener
from control.feed.spool import Shipping, SpoolFeed
from control.fleet.leadership import SoleLeader
from control.fleet.publisher import FilePublisher
from records.shared import states_file
from records.store import Store
from routing.states import NO_STATES

LOOK_EVERY_S = 1.0


class SingleMachine:
    """The parts of a single machine."""

    def __init__(self, data: Path, store: Store, base_urls: Callable[[], Mapping[str, str]]) -> None:
        self.tracing = TracingListener(os.environ, __version__, base_urls)
        self.source = SpoolFeed(data / "spool", data / "live.json", boot=boot_id(), others=[self.tracing])
        self.leader = SoleLeader()
        self.publisher = FilePublisher(data / "plan.json")
        self.last = states_file.read(data / "plan.json") or NO_STATES
        self._shipping = Shipping(data, store, other=self.source.reader)

    def metrics(self, controller: Controller) -> Collector:
        """The metrics that Prometheus scrapes."""
        return controller.meters

    def loops(self, controller: Controller) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the controller."""
        return [*self._shipping.loops(), every(LOOK_EVERY_S, partial(self._watch_records, controller))]

    def troubles(self) -> list[str]:
        """What does not work at the moment."""
        down = self._shipping.down
        return [f"the store does not answer, records wait in the spool: {down}"] if down is not None else []

    async def close(self) -> None:
        """Send the last traces and ship the last records."""
        await asyncio.to_thread(self.tracing.close)
        await self._shipping.close()

    async def _watch_records(self, controller: Controller) -> None:
        self._shipping.show(controller.meters)
        controller.watch_records(
            room_bytes=self._shipping.room_bytes(),
            waiting=self._shipping.waiting,
            down=self._shipping.down,
        )
