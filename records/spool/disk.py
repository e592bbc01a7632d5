"""The spool's disk: the thread that makes appended bytes durable, and what is held while the disk hangs.

One fdatasync serves all waiters, at most every 100 ms. It comes at least once a second, and so detects a
hanging disk before the event loop does, whose write() still succeeds into the page cache for some seconds
(ADR 8).
"""

import asyncio
import os
import threading
import time
from pathlib import Path

import structlog

from records.errors import SpoolFull
from records.shared.whole_file import sync_folder

SYNC_EVERY_S = 0.1
SYNC_AT_LEAST_EVERY_S = 1.0
HANGS_AFTER_S = 1.0


class Sync:
    """Syncs a writer's current segment; syncs rotated segments a last time and closes them.

    `is_dirty`: a sync is to come. `began`: the monotonic second at which the running sync began, or None.
    """

    def __init__(self, folder: Path, fd: int) -> None:
        self._folder = folder
        self.began: float | None = None
        self._fd = fd
        self._retired: list[int] = []
        self._new_name = True
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stop = threading.Event()
        self.is_dirty = False
        self._thread = threading.Thread(target=self._run, name="spool-sync", daemon=True)
        self._thread.start()

    def dirty(self) -> None:
        """Request a sync for appended bytes."""
        self.is_dirty = True
        self._wake.set()

    def hangs(self) -> bool:
        """True while a sync has been running for over a second, so that a write() might not return either."""
        began = self.began
        return began is not None and time.monotonic() - began > HANGS_AFTER_S

    def replace(self, fd: int) -> None:
        """Switch to `fd`; the previous file is synced and closed."""
        with self._lock:
            self._retired.append(self._fd)
            self._fd = fd
            self._new_name = True
        self.is_dirty = True
        self._wake.set()

    async def wait(self) -> None:
        """Wait for a sync that starts after this call. Raises SpoolFull when the sync fails."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            self._waiters.append((loop, future))
        self.is_dirty = True
        self._wake.set()
        await future

    def close(self) -> None:
        """Sync once more and end the thread. The caller closes the current segment."""
        self._stop.set()
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.wait(SYNC_AT_LEAST_EVERY_S)
            self._round()
            self._stop.wait(SYNC_EVERY_S)
        self._round()

    def _round(self) -> None:
        self._wake.clear()
        self.is_dirty = False  # before the sync, so that later appends set it again
        with self._lock:
            waiters, self._waiters = self._waiters, []
            retired, self._retired = self._retired, []
            fd, new_name, self._new_name = self._fd, self._new_name, False
        self.began = time.monotonic()
        results = [_synced(each) for each in [*retired, fd]]
        for each in retired:
            os.close(each)
        if new_name:
            results.append(_synced_folder(self._folder))
        self.began = None
        for loop, future in waiters:
            _tell(loop, future, all(results))


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[None], kept: bool) -> None:
    def settle() -> None:
        if future.done():
            return
        if kept:
            future.set_result(None)
        else:
            future.set_exception(
                SpoolFull("the disk did not store the record: free space or replace the disk")
            )

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed, so nothing waits any more
        return


def _synced(fd: int) -> bool:
    try:
        os.fdatasync(fd)
    except OSError:
        return False
    return True


def _synced_folder(folder: Path) -> bool:
    try:
        sync_folder(folder)
    except OSError:
        return False
    return True


# Frames held in a worker's memory while the spool's disk hangs (ADR 8), lost if the worker is killed.


log = structlog.get_logger()

HELD_BYTES = 32 << 20


class Held:
    """Held frames in order, up to a bound: `size` bytes. `records` counts their outcomes and feedback."""

    def __init__(self, most_bytes: int = HELD_BYTES) -> None:
        self.records = self.size = 0
        self._frames = bytearray()
        self._most_bytes = most_bytes

    def put(self, frame: bytes, records: int) -> bool:
        """Hold a frame. False when the bound is reached."""
        if self.size + len(frame) > self._most_bytes:
            return False
        if not self.size:
            log.warning("spool.disk_hangs", effect="records wait in memory, feedback is refused")
        self._frames += frame
        self.size += len(frame)
        self.records += records
        return True

    def take(self) -> tuple[bytearray, int]:
        """Return all held frames and the number of their records, and hold none."""
        taken = self._frames, self.records
        self._frames, self.records, self.size = bytearray(), 0, 0
        log.warning("spool.disk_answers", records=taken[1])
        return taken
