"""The evidence of one machine: passes the spool's outcomes, heartbeats and worker exits to its listeners.

The listeners' memory and the position in the spool are saved in one file. After a crash, the frames since the
last save are read again and lead to the same memory: nothing is forgotten or counted twice (ADR 2).
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from common.clock import every, put_off_without_descriptors
from common.whole_file import write_whole
from control.feed.events import (
    EventListener,
    StatefulListener,
    StatefulMemory,
    WorkerEvents,
    checkpoint_of,
    of_batch,
    restore,
)
from control.feed.joins import LOOK_EVERY_S, FeedbackJoins
from records.exports.prometheus import Meters
from records.outcome import Record
from records.spool.reader import DONE, SpoolChunk, SpoolReader
from records.spool.writer import room_bytes
from records.store import Store
from records.store.captures import CaptureShipper, CaptureStore
from records.store.shipper import Shipper

log = structlog.get_logger()

POLL_S = 0.05
SHORT_S = 0.2
BATCH = 1000
IDLE_SAVE_S = 10.0
"""How old the checkpoint of a server without traffic may be. After a crash, later frames are read again."""


class SpoolSource:
    """Where the controller of one machine hears what happened, and keeps what was learnt of it. Belongs to
    the event loop's thread."""

    save_every_s = 1.0
    hears = True
    """Heartbeats come by files."""

    def __init__(
        self,
        folder: Path,
        checkpoint: Path,
        *,
        boot: str,
        joins: FeedbackJoins,
        others: Sequence[EventListener] = (),
        dated: Callable[[Sequence[Record]], list[Record]] | None = None,
    ) -> None:
        """Follow one spool folder. `joins` finds the arms of feedback about sessions and units. `others`
        listen beside those that are attached. `dated` gives this boot's records the times of a fleet."""
        self._folder, self._checkpoint, self._boot = folder, checkpoint, boot
        self._document = _read(checkpoint)
        self.listeners: list[EventListener] = list(others)
        self._joins = joins
        self._stateful: Sequence[StatefulMemory] = ()
        ours = None if dated is None else partial(_dated, boot, dated)
        self.reader = SpoolReader(folder, self._document.get("cursors", {}), quarantine=False, dated=ours)
        self._pending: dict[str, int] = {}
        self._saved, self._saved_at = b"", float("-inf")
        self._problem = ""
        self._writer = ThreadPoolExecutor(1)  # its own: the others may all wait for a store

    def attach(
        self, workers: EventListener, *stateful: StatefulListener, also: Sequence[EventListener] = ()
    ) -> None:
        """Pass events to these, too, from where the last checkpoint ends, and restore the stateful ones."""
        self.listeners = [workers, *also, *stateful, *self.listeners]
        self._stateful = [*stateful, self._joins]
        if self._document:
            restore(self._stateful, self._document, self._boot)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [self.follow(), every(LOOK_EVERY_S, self._join)]

    async def follow(self) -> None:
        """Tell what is new, twenty times a second. Without a descriptor to read it, it waits in the spool."""
        while True:
            more, wait_s = False, SHORT_S
            with put_off_without_descriptors():
                more, wait_s = self.turn(), POLL_S
            await asyncio.sleep(0 if more else wait_s)

    def turn(self) -> bool:
        """Tell what is new; True when there may be more to tell at once."""
        batch = self.reader.read(BATCH)
        self._pending.update(batch.cursors)
        self._tell(self._joins.join(of_batch(batch, self._boot)))
        return not batch.is_empty

    def _tell(self, events: WorkerEvents) -> None:
        for listener in self.listeners:
            listener.take(events)

    async def _join(self) -> None:
        """Tell the feedback that has waited for its arm."""
        found = await self._joins.look()
        if found:
            strangers = sum(map(self._joins.is_stranger, found))
            self._tell(WorkerEvents(records=found, strangers=strangers))

    def drain(self) -> None:
        """Tell everything that the workers left."""
        while self.turn():
            pass

    async def begin(self) -> None:
        """Nothing: what was known is there since `attach`."""

    async def stand_by(self) -> None:
        """Never asked: on one machine nobody else leads."""

    async def save(self) -> None:
        """Write the checkpoint in a thread; only then do the cursors count. Where only heartbeats came, the
        one of a moment ago will do.

        A disk that takes nothing is logged once; it may take the next one.
        """
        pending, memory = dict(self._pending), checkpoint_of(self._stateful, self._boot)
        fresh = time.monotonic() - self._saved_at < IDLE_SAVE_S
        if memory == self._saved and fresh and DONE not in pending.values():
            return
        cursors = {**self.reader.committed, **pending}
        cursors = {name: place for name, place in cursors.items() if (self._folder / name).exists()}
        # One more member of the object that is encoded already: the memory of a busy server is large.
        encoded = memory[:-1] + b',"cursors":' + msgspec.json.encode(cursors) + b"}"
        if await asyncio.get_running_loop().run_in_executor(self._writer, self._write, encoded):
            self._saved, self._saved_at = memory, time.monotonic()
            self.reader.committed.update(pending)
            self._pending = dict(self._pending.items() - pending.items())

    def _write(self, document: bytes) -> bool:
        before, self._problem = self._problem, ""
        try:
            write_whole(self._checkpoint, document)
        except OSError as error:
            self._problem = str(error)
            if self._problem != before:
                log.error("checkpoint.not_saved", file=str(self._checkpoint), problem=self._problem)
        return not self._problem


def _dated(boot: str, dated: Callable[[Sequence[Record]], list[Record]], chunk: SpoolChunk) -> list[Record]:
    """A chunk's records by another clock. Those of another boot have only their own."""
    return dated(chunk.records) if boot.startswith(chunk.writer.boot) else chunk.records


def _read(checkpoint: Path) -> Mapping[str, Any]:
    """The last checkpoint. One that cannot be read is put aside: counting begins anew, and says so."""
    try:
        document: dict[str, Any] = msgspec.json.decode(checkpoint.read_bytes())
    except FileNotFoundError:
        return {}
    except msgspec.DecodeError:
        log.error("checkpoint.unreadable", file=str(checkpoint))
        checkpoint.rename(checkpoint.with_suffix(".unreadable"))
        return {}
    return document


class SpoolShippers:
    """Made inside the event loop that runs it; the thread starts with `loops`."""

    def __init__(self, data: Path, store: Store, *, other: SpoolReader) -> None:
        """`other` reads the same spool: a file is deleted when both are done with it."""
        self._spool = data / "spool"
        self._shipper = Shipper(self._spool, store, others=[other])
        self._captures = CaptureShipper(data / "captures", CaptureStore(store))
        self._stop = threading.Event()
        self._thread: asyncio.Future[None] | None = None

    @property
    def down(self) -> str | None:
        """Why the store does not answer; None while it does."""
        return self._shipper.down

    @property
    def waiting(self) -> int:
        """How many records wait in the spool."""
        return self._shipper.spooled

    def room_bytes(self) -> int | None:
        """How much the spool may still take; None where that is unknown."""
        return room_bytes(self._spool)

    def show(self, meters: Meters) -> None:
        """Bring the gauges of records up to date."""
        counts = self._shipper.counts
        if counts is not None:
            meters.set_records(counts.totals, counts.spooled)
        if (room := self.room_bytes()) is not None:
            meters.set_room(room)

    def loops(self) -> list[Coroutine[Any, Any, None]]:
        """What has to run, without end."""
        return [self._ship(), self._captures.run()]

    async def close(self) -> None:
        """Ship what is left, as long as the store takes it."""
        self._stop.set()
        if self._thread is not None:
            await asyncio.wait([self._thread])
        await asyncio.to_thread(self._captures.turn, time.time())

    async def _ship(self) -> None:
        """Last as long as the thread, and raise what broke it. A cancellation leaves the thread alone."""
        self._thread = asyncio.get_running_loop().run_in_executor(None, self._shipper.run, self._stop)
        await asyncio.shield(self._thread)
