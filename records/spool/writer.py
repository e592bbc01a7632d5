"""The writing side of the spool: a worker's append-only files, the only files that a worker writes.

A file is named `w{worker}-{boot}-{pid}-{n}.spool`. `boot` is 8 hex digits of the machine's boot id and 8
random ones per process (containers reuse pids within one boot); `n` counts segments. The writer holds an
flock on the file while it may write, so readers can detect orphans. Each record is one write(), which
survives kill -9. `reader` is the reading side.

A thread makes appended bytes durable: one fdatasync serves all waiters, at most every 100 ms. It comes at
least once a second, and so detects a hanging disk before the event loop does, whose write() still succeeds
into the page cache for some seconds. While the disk hangs, records are held in memory (ADR 8).
"""

import asyncio
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import structlog

from common.whole_file import sync_folder
from records.errors import SpoolFull
from records.outcome import Heartbeat, InFlight, Record
from records.spool.frame import encode

log = structlog.get_logger()

T = TypeVar("T")

SYNC_EVERY_S = 0.1
SYNC_AT_LEAST_EVERY_S = 1.0
HANGS_AFTER_S = 1.0
HELD_BYTES = 32 << 20


class DiskSync:
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
        self._syncer = threading.Thread(target=self._run, name="spool-sync", daemon=True)
        self._syncer.start()

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
        self._syncer.join()

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
        results = [_kept(os.fdatasync, each) for each in [*retired, fd]]
        for each in retired:
            os.close(each)
        if new_name:
            results.append(_kept(sync_folder, self._folder))
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


def _kept(act: Callable[[T], None], what: T) -> bool:
    try:
        act(what)
    except OSError:
        return False
    return True


class HeldFrames:
    """Frames in memory while the disk hangs, in order, up to a bound: `size` bytes. They are lost if the
    worker is killed. `records` counts their outcomes and feedback."""

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


ROTATE_WHEN_FULL_EVERY_S = 1.0
MEASURE_WHEN_FULL_EVERY_S = 0.1
CAP_BYTES = 1 << 30
_ROOM_STEP = 1 << 20


class SpoolWriter:
    """One process's spool. Not thread-safe: call `append` and `synced` from the event loop's thread.

    `cap_bytes` bounds the folder over all workers, exceeded by at most 1 MiB per worker. `segment_bytes`
    bounds one file. `dropped` counts outcomes and feedback that were lost; `held` has the frames that wait
    for a hanging disk.
    """

    def __init__(
        self, folder: Path, *, worker: int, cap_bytes: int = CAP_BYTES, segment_bytes: int = 16 << 20
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.dropped = 0
        self.held = HeldFrames()
        self._folder = folder
        self._cap, self._segment_bytes = cap_bytes, segment_bytes
        self._stem = f"w{worker}-{_boot_id()[:8]}{secrets.token_hex(4)}-{os.getpid()}"
        self._segment = 0
        self._written = 0
        self._room = 0
        self._rotated_full_at = self._found_full_at = float("-inf")
        self._fd = self._open()
        self._sync = DiskSync(folder, self._fd)

    def append(self, record: Record) -> bool:
        """Write one record, or hold it while the disk hangs. The file never keeps a partial frame.

        False, and counted as dropped, when the folder is full, the write fails or the record is over 1 MiB.
        """
        records = 0 if type(record) is Heartbeat or type(record) is InFlight else 1
        try:
            frame = encode(record)
        except ValueError:
            return self._drop(records)
        sync = self._sync
        hangs = sync.began is not None and sync.hangs()
        if not (self.held.put(frame, records) if hangs else self._write(frame)):
            return self._drop(records)
        if records and not sync.is_dirty:
            sync.dirty()
        return True

    def append_all(self, records: Sequence[Record]) -> bool:
        """Write several records with one write(): either all are written or all count as dropped. They are
        never held, because their caller waits for `synced`."""
        try:
            frames = b"".join([encode(record) for record in records])
        except ValueError:
            return self._drop(len(records))
        if self._sync.hangs() or not self._write(frames):
            return self._drop(len(records))
        self._sync.dirty()
        return True

    async def synced(self) -> None:
        """Wait until all records appended so far are on disk. Raises SpoolFull when the sync fails."""
        await self._sync.wait()

    def close(self) -> None:
        """Sync and unlock the file, so that readers can finish it. An empty file is deleted. Waits for a
        hanging disk."""
        if self.held.size:
            self._write_held()
        unused = self._written == 0
        self._sync.close()
        if unused:
            self._path().unlink(missing_ok=True)
        os.close(self._fd)

    def _write_held(self) -> None:
        frames, records = self.held.take()  # from here on nothing is held
        if not self._write(frames):
            self._drop(records)
        self._sync.dirty()

    def _write(self, frames: bytes | bytearray) -> bool:
        """Write frames, behind those that are held."""
        if self.held.size:
            self._write_held()
        size = len(frames)
        if self._written and self._written + size > self._segment_bytes:
            self._rotate()
        try:
            if size > self._room and not self._find_room(size):
                return self._refused()
            done = os.write(self._fd, frames)
        except OSError:  # full, over quota, broken or missing: traffic continues in every case
            return self._refused()
        if done != size:
            self._take_back()
            return self._refused()
        self._written += size
        self._room -= size
        return True

    def _drop(self, count: int) -> bool:
        self.dropped += count
        return False

    def _take_back(self) -> None:
        """Undo a short write, so that the next frame starts at a frame boundary."""
        try:
            os.ftruncate(self._fd, self._written)
        except OSError:
            self._written = os.fstat(self._fd).st_size
            self._rotate()  # the reader will quarantine the partial frame

    def _refused(self) -> bool:
        """Rotate the segment when the folder is full: deleting a finished segment makes room again."""
        now = time.monotonic()
        if self._written and now - self._rotated_full_at >= ROTATE_WHEN_FULL_EVERY_S:
            self._rotated_full_at = now
            self._rotate()
        return False

    def _find_room(self, size: int) -> bool:
        # Measured at intervals: listing the folder on each append would cost more than the append.
        now = time.monotonic()
        if now - self._found_full_at < MEASURE_WHEN_FULL_EVERY_S:
            return False
        self._room = min(self._cap - used_bytes(self._folder), max(_ROOM_STEP, size))
        if size <= self._room:
            return True
        self._found_full_at = now
        return False

    def _rotate(self) -> None:
        segment, written = self._segment, self._written
        self._segment, self._written = segment + 1, 0
        try:
            fd = self._open()
        except OSError:  # no inode left: continue in the old file
            self._segment, self._written = segment, written
            return
        self._sync.replace(fd)
        self._fd = fd

    def _open(self) -> int:
        # Readers treat an empty, unlocked file as new, so creating and locking need not be atomic.
        fd = os.open(self._path(), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd

    def _path(self) -> Path:
        return self._folder / f"{self._stem}-{self._segment}.spool"


def used_bytes(folder: Path) -> int:
    """Return the total size of a folder's spool files."""
    return sum(_size(entry) for entry in os.scandir(folder) if entry.name.endswith(".spool"))


def room_bytes(folder: Path, *, cap_bytes: int = CAP_BYTES) -> int | None:
    """Return the bytes that still fit into a spool, limited by its disk and its cap. None when unknown, for
    example before the folder exists."""
    try:
        disk = os.statvfs(folder)
        return min(disk.f_bavail * disk.f_frsize, cap_bytes - used_bytes(folder))
    except OSError:
        return None


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # a reader has just deleted it
        return 0


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", "")
    except OSError:  # not on Linux: every start counts as a new boot
        return secrets.token_hex(4)
