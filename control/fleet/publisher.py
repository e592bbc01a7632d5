"""Takes the states to the workers: of one machine by a file, of every replica by Redis, which keeps each
file as new as the newest states received. Trials of standing canaries come from the store to each machine's
own file. And whether a service of others answers.

Older states and repetitions are ignored. Only an admin's refresh keeps the states fresh: a machine that
receives none falls to share 0 (`records/shared/states_file.py`).
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from common.clock import every
from common.whole_file import SpareDescriptor, read_document, write_document
from records.errors import SharedDown, StoreDown
from records.facts.arm_texts import FILE
from records.shared import held_units, states_file
from records.shared.held_units import NOBODY_KNOWN, HeldUnits, has_unknown_holds
from records.store import Store
from records.store.arm_texts import ArmTextsInStore
from records.store.standing import Standings
from routing.states import NO_STATES, States

if TYPE_CHECKING:  # redis takes memory, which one machine does without
    from records.shared.states_channel import StatesChannel

log = structlog.get_logger()


async def looking(seconds: float, look: Callable[[], object]) -> None:
    """Look at the store in a thread, at once and then so often, without end. While the store is down, which
    others say, what was seen last stays."""

    async def safely() -> None:
        with suppress(StoreDown):
            await asyncio.to_thread(look)

    await every(seconds, safely, at_once=True)


class ServiceAvailability:
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
    """Writes the file of a machine's states (`plan.json`). Workers look at it ten times a second."""

    refresh_every_s = 5.0

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found = read_document(path, States)
        self._spare = SpareDescriptor()

    async def published(self) -> States | None:
        """The states that an earlier process left, which running workers may have taken."""
        return self._found

    def put(self, states: States) -> None:
        """Replace the states. From any thread, one at a time. Raises OSError where the disk refuses."""
        with self._spare.given():
            states_file.write(self._path, states)

    def put_held(self, units: HeldUnits) -> None:
        """Replace the units that keep an earlier state. As `put`."""
        held_units.write(self._path.with_name(held_units.NAME), units)

    async def held(self, newer_than: float) -> HeldUnits | None:
        """The published ones, if they are of after this UTC second."""
        units = held_units.read(self._path.with_name(held_units.NAME))
        return units if units is not None and units.at > newer_than else None

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """Nothing has to run."""
        return []

    async def is_outspoken(self) -> bool:
        """False: nobody else writes this machine's file."""
        return False


AGAIN_S = 0.5


class RedisPublisher:
    """Publishes states by Redis. Made inside the event loop that runs it."""

    refresh_every_s = 1.0

    def __init__(
        self,
        channel: "StatesChannel",
        availability: ServiceAvailability,
        *,
        keep: Callable[[HeldUnits], None] = lambda units: None,
    ) -> None:
        """`keep` stores the units that keep an earlier state, for replicas that Redis does not reach."""
        self._channel, self._availability, self._keep = channel, availability, keep
        self._loop = asyncio.get_running_loop()
        self._states = NO_STATES
        self._held = self._sent = NOBODY_KNOWN
        self._fresh = asyncio.Event()

    def put(self, states: States) -> None:
        """Publish these states, in place of some that are not out yet. From any thread."""
        if states.version >= self._states.version:
            self._states = states
        self._loop.call_soon_threadsafe(self._fresh.set)

    def put_held(self, units: HeldUnits) -> None:
        """Publish the units that keep an earlier state. As `put`, but it waits for the store."""
        self._held = units
        self._loop.call_soon_threadsafe(self._fresh.set)
        self._keep(units)

    async def held(self, newer_than: float) -> HeldUnits | None:
        """The published ones, whoever leads, if they are of after this UTC second."""
        try:
            return await self._channel.read_held(newer_than)
        except SharedDown:
            return None

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [self.run()]

    async def run(self) -> None:
        """Pass states on as they come. What Redis does not take is in the store, and comes with the next
        ones."""
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            try:
                await self._channel.publish(self._states)
                if self._held is not self._sent:
                    held = self._held
                    await self._channel.publish_held(held)
                    self._sent = held
            except SharedDown as problem:
                self._availability.failed(problem)
                await asyncio.sleep(AGAIN_S)

    async def published(self) -> States | None:
        """The newest states that any admin has published; None while Redis does not answer."""
        try:
            return await self._channel.read()
        except SharedDown as problem:
            self._availability.failed(problem)
            return None

    async def is_outspoken(self) -> bool:
        """True when another admin has published after us."""
        states = await self.published()
        return states is not None and states.refreshed_at > self._states.refreshed_at


WRITE_EVERY_S = 5.0
"""How often a mere refresh is written. Workers need one every 15 minutes."""


class StatesFollower:
    """The states of one machine. `newest` are those that were received or found in the file last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.newest = read_document(path, States) or NO_STATES
        self._heard_mono = self._written_mono = float("-inf")
        self._unwritten = False
        self._held_path = path.with_name(held_units.NAME)
        self.held = held_units.read(self._held_path) or NOBODY_KNOWN

    def hear(self, states: States | None, mono: float) -> bool:
        """Take received states, None for none. True when they were new."""
        if states is None or _order(states) <= _order(self.newest):
            return False
        changed = states.version != self.newest.version
        self.newest, self._heard_mono = states, mono
        if changed or self._unwritten or mono - self._written_mono >= WRITE_EVERY_S:
            self._write(mono)
        return True

    @property
    def holds(self) -> bool:
        """True while units keep an earlier state."""
        return any(state.holds for state in self.newest.states.values())

    @property
    def has_unknown_holds(self) -> bool:
        """True while it is not known which ones do."""
        return has_unknown_holds(self.newest, self.held)

    def hear_held(self, units: HeldUnits | None) -> None:
        """Take the units that keep an earlier state, None for none that are newer. What a full disk refuses
        is heard again."""
        if units is None or units.at <= self.held.at:
            return
        try:
            held_units.write(self._held_path, units)
        except OSError as error:
            log.error("plan.not_written", file=str(self._held_path), problem=str(error))
        else:
            self.held = units

    def silent_s(self, mono: float) -> float:
        """Seconds since the last new states; infinite before the first."""
        return mono - self._heard_mono

    def _write(self, mono: float) -> None:
        """Write the states. A full disk is logged, and the next ones are tried again."""
        try:
            states_file.write(self._path, self.newest)
        except OSError as error:
            self._unwritten = True
            log.error("plan.not_written", file=str(self._path), problem=str(error))
        else:
            self._unwritten = False
            self._written_mono = mono


def _order(states: States) -> tuple[int, float]:
    return states.version, states.refreshed_at


class TrialsFile:
    """Keeps a machine's `trials.json` as the store has it, and `texts.json` beside it."""

    def __init__(self, store: Store, path: Path, wanted: Callable[[], bool]) -> None:
        """`wanted` is False while the config has no standing canary, and no arm a text of its own."""
        self._standings, self._path, self._wanted = Standings(store), path, wanted
        self._texts = ArmTextsInStore(store)
        self._written: frozenset[tuple[str, str]] | None = None
        self._writing = threading.Lock()

    def write(self) -> None:
        """Bring the files to what the store has. May raise StoreDown. A full disk is tried again."""
        try:
            with self._writing:  # what is read later is written later
                write_document(self._path, self._standings.all())
                begun = self._texts.definitions()
                if begun != self._written:  # the texts may be long
                    write_document(self._path.with_name(FILE), self._texts.started())
                    self._written = begun
        except OSError as problem:
            log.error("trials.not_written", file=str(self._path), problem=str(problem))

    def follow(self) -> None:
        """Write what has changed, if the config needs it. May raise StoreDown."""
        if self._wanted() or self._path.exists():  # an entry that left may come back
            self.write()
