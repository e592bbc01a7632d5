"""Takes one machine's records to the store: the spool's in a thread of its own, captured texts beside it."""

import asyncio
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from records.capture_store import CaptureShipper, CaptureStore
from records.meters import Meters
from records.shipper import Shipper
from records.spool import room_bytes
from records.spool_reader import SpoolReader
from records.store import Store


class Shipping:
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
