"""Takes the states to the workers: of one machine by a file, of every replica by Redis, which keeps each
file as new as the newest states received. And whether a service of others answers.

Older states and repetitions are ignored. Only an admin's refresh keeps the states fresh: a machine that
receives none falls to share 0 (`records/shared/states_file.py`).
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from records.errors import SharedDown
from records.shared import states_file
from routing.states import NO_STATES, States

if TYPE_CHECKING:  # redis takes memory, which one machine does without
    from records.shared.states_channel import StatesChannel

log = structlog.get_logger()


class Availability:
    """`down` says why the service does not answer; None while it does."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.down: str | None = None

    def answered(self) -> None:
        """The service answered."""
        if self.down is not None:
            log.info(f"{self._name}.answers")
        self.down = None

    def failed(self, problem: Exception) -> None:
        """The service did not answer."""
        if self.down is None:
            log.error(f"{self._name}.silent", problem=str(problem))
        self.down = str(problem)


class FilePublisher:
    """Writes the plan file. Workers look at it ten times a second."""

    refresh_every_s = 5.0

    def __init__(self, path: Path) -> None:
        self._path = path

    def put(self, plan: States) -> None:
        """Replace the plan. From any thread, one at a time. Raises OSError where the disk refuses."""
        states_file.write(self._path, plan)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Nothing has to run."""
        return []

    async def is_outspoken(self) -> bool:
        """False: nobody else writes this machine's plan."""
        return False


AGAIN_S = 0.5


class RedisPublisher:
    """Publishes plans. Made inside the event loop that runs it."""

    refresh_every_s = 1.0

    def __init__(self, channel: "StatesChannel", availability: Availability) -> None:
        self._channel, self._availability = channel, availability
        self._loop = asyncio.get_running_loop()
        self._plan = NO_STATES
        self._fresh = asyncio.Event()

    def put(self, plan: States) -> None:
        """Publish this plan, in place of one that is not out yet. From any thread."""
        if plan.version >= self._plan.version:
            self._plan = plan
        self._loop.call_soon_threadsafe(self._fresh.set)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [self.run()]

    async def run(self) -> None:
        """Pass plans on as they come. One that Redis does not take is in the store, and in the next one."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            try:
                await self._channel.publish(self._plan)
            except SharedDown as problem:
                self._availability.failed(problem)
                await asyncio.sleep(AGAIN_S)

    async def is_outspoken(self) -> bool:
        """True when another admin has published a plan after ours."""
        try:
            plan = await self._channel.read()
        except SharedDown as problem:
            self._availability.failed(problem)
            return False
        return plan is not None and plan.refreshed_at > self._plan.refreshed_at


WRITE_EVERY_S = 5.0
"""How often a mere refresh is written. Workers need one every 15 minutes."""


class StatesFollower:
    """The plan of one machine. `plan` is the newest that was received or found in the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.plan = states_file.read(path) or NO_STATES
        self._heard_mono = self._written_mono = float("-inf")
        self._unwritten = False

    def hear(self, plan: States | None, mono: float) -> bool:
        """Take a received plan, None for none. True when the plan was new."""
        if plan is None or _order(plan) <= _order(self.plan):
            return False
        changed = plan.version != self.plan.version
        self.plan, self._heard_mono = plan, mono
        if changed or self._unwritten or mono - self._written_mono >= WRITE_EVERY_S:
            self._write(mono)
        return True

    def silent_s(self, mono: float) -> float:
        """Seconds since the last new plan; infinite before the first."""
        return mono - self._heard_mono

    def _write(self, mono: float) -> None:
        """Write the plan. A full disk is logged, and the next plan is tried again."""
        try:
            states_file.write(self._path, self.plan)
        except OSError as error:
            self._unwritten = True
            log.error("plan.not_written", file=str(self._path), problem=str(error))
        else:
            self._unwritten = False
            self._written_mono = mono


def _order(plan: States) -> tuple[int, float]:
    return plan.version, plan.refreshed_at
