"""The shipper: a thread that moves records from the spool into the store and commits its cursor afterwards.

While the database is down the shipper retries, and unstored records stay in the spool. A record with a value
that the database refuses is set aside and counted, so that it does not block the others.
"""

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from common.clock import put_off_without_descriptors
from common.whole_file import write_whole
from records.errors import StoreDown, Unstorable
from records.outcome import Feedback, Outcome, Record
from records.spool.frame import HEADER, MAX_PAYLOAD, encode
from records.spool.reader import DONE, SpoolBatch, SpoolChunk, SpoolReader, set_aside, sweep
from records.store import SpoolCounts, Store

_CHUNK = 1 << 20
_KIND_AT = HEADER.size + 2
_COUNTED = frozenset(b"of")
"""The first letters of outcome and feedback. Heartbeats and exchanges in flight are not shipped."""


@dataclass(slots=True)
class _Waiting:
    """The number of records between a file's committed cursor and offset `upto`."""

    upto: int
    records: int = 0


class Backlog:
    """Counts the outcomes and feedback that a consumer at `cursors` has not committed yet."""

    def __init__(self, folder: Path, cursors: Mapping[str, int]) -> None:
        self._folder = folder
        self._files = {name: _Waiting(cursor) for name, cursor in cursors.items()}

    def committed(self, batch: SpoolBatch) -> None:
        """Subtract the records that the consumer has committed."""
        for chunk in batch.chunks:
            passed = sum(type(record) is Outcome or type(record) is Feedback for record in chunk.records)
            waiting = self._files.setdefault(chunk.file, _Waiting(0))
            waiting.records = max(0, waiting.records - passed)
        for name, cursor in batch.cursors.items():
            waiting = self._files.setdefault(name, _Waiting(0))
            if cursor == DONE or cursor >= waiting.upto:
                waiting.upto, waiting.records = cursor, 0  # also corrects miscounts caused by damaged frames

    def count(self) -> int:
        """Return the number of records waiting now; reads only frames that were not counted before."""
        present = {entry.name for entry in os.scandir(self._folder) if entry.name.endswith(".spool")}
        for gone in self._files.keys() - present:
            del self._files[gone]
        for name in present:
            waiting = self._files.setdefault(name, _Waiting(0))
            if waiting.upto != DONE:
                _count_on(self._folder / name, waiting)
        return sum(waiting.records for waiting in self._files.values())


def _count_on(path: Path, waiting: _Waiting) -> None:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        while data := os.pread(fd, _CHUNK + MAX_PAYLOAD, waiting.upto):
            moved, records = _hop(data)
            waiting.upto += moved
            waiting.records += records
            if not moved:  # a torn tail, or damage that the reader will skip
                return
    finally:
        os.close(fd)


def _hop(data: bytes) -> tuple[int, int]:
    """Return (bytes passed, outcomes and feedback in them)."""
    at, records, size, unpack = 0, 0, len(data), HEADER.unpack_from
    while at + HEADER.size < size:
        length: int = unpack(data, at)[0]
        end = at + HEADER.size + length
        if end > size or not 3 <= length <= MAX_PAYLOAD:
            break
        records += data[at + _KIND_AT] in _COUNTED
        at = end
    return at, records


def name_of_spool(folder: Path) -> str:
    """Return the folder's name among the spools of many machines in one store: 32 hex digits from a file
    beside the folder, created on first use."""
    path = folder.with_suffix(".name")
    try:
        name = path.read_text().strip()
    except FileNotFoundError:
        name = ""
    if not name:
        name = secrets.token_hex(16)
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, name.encode())
    return name


SHIP_EVERY_S = 0.25
"""Few large transactions cost less than many small ones."""
BACKOFF_S = (0.1, 5.0)
LATE_S = 5.0
BATCH = 5000
PASSED_EVERY_S = 5.0
"""How often a server without traffic stores its cursors, which heartbeats alone move: it notices a store that
does not answer by that, and reads the heartbeats since then again after a crash."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SpoolStanding:
    """The counts of one spool's records: totals from the store, and the number still waiting."""

    totals: SpoolCounts
    spooled: int


class Shipper:
    """Ships one spool folder.

    `others` are other readers of the folder, in other threads; a file is deleted when all readers are done.
    `shipped` is called after each stored batch. Any thread may read `spooled`, the number of waiting records,
    and `counts`, None until the store has answered.
    """

    def __init__(
        self,
        folder: Path,
        store: Store,
        *,
        others: Sequence[SpoolReader] = (),
        shipped: Callable[[SpoolBatch], None] = lambda batch: None,
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._store, self._others, self._shipped = folder, store, others, shipped
        self._reader: SpoolReader | None = None
        self._unshipped: SpoolBatch | None = None
        self._backlog = Backlog(folder, {})
        self._name = name_of_spool(folder)
        self._totals: SpoolCounts | None = None
        self._mono = mono
        self._asked_at: float | None = None
        self._answered_at = mono()
        self._problem: str | None = None
        self.spooled = 0
        self.counts: SpoolStanding | None = None

    @property
    def down(self) -> str | None:
        """Why the last attempt failed or the current one is slow; None when healthy. For any thread."""
        asked_at = self._asked_at
        if self._problem is None and asked_at is not None and self._mono() - asked_at > LATE_S:
            return f"no answer for {LATE_S:g} s"
        return self._problem

    def run(self, stop: threading.Event) -> None:
        """Ship until `stop` is set, then ship the rest while the database answers."""
        while not stop.is_set():
            shipped = None
            with put_off_without_descriptors():
                shipped = self._turn(stop)
            if shipped is None or shipped.size < BATCH:
                stop.wait(SHIP_EVERY_S)
        self.drain()
        if self._reader is not None:
            self._reader.close()

    def drain(self) -> bool:
        """Ship all waiting records. False when the database failed; the rest stays in the spool."""
        gave_up = threading.Event()
        gave_up.set()
        while self._turn(gave_up) is not None:
            pass
        return self.down is None

    def count(self) -> int:
        """Count the waiting records without shipping them."""
        if self._reader is None:
            self._begin()
        self._update_counts()
        return self.spooled

    def _turn(self, stop: threading.Event) -> SpoolBatch | None:
        """Ship one batch. None when nothing waits, or when the database was down until `stop`."""
        reader = self._reader or self._wait_for(self._begin, stop)
        if reader is None:
            return None
        batch = self._unshipped or reader.read(BATCH)
        if batch.is_empty:
            self._clean(reader, stop)
            self._update_counts()
            return None
        if batch.has_news or self._mono() - self._answered_at >= PASSED_EVERY_S:
            self._unshipped = batch
            if self._wait_for(lambda: self._store_batch(batch), stop) is None:
                return None
            self._unshipped = None
            self._shipped(batch)
        reader.commit(batch)
        self._backlog.committed(batch)
        self._clean(reader, stop)
        self._update_counts()
        return batch

    def _update_counts(self) -> None:
        """Update both counts together, so that accepted = stored + dropped + spooled always holds."""
        self.spooled = self._backlog.count()
        if self._totals is not None:
            self.counts = SpoolStanding(self._totals, self.spooled)

    def _begin(self) -> SpoolReader:
        cursors = self._store.cursors(self._name)
        gone = [name for name in cursors if not (self._folder / name).exists()]
        if gone:
            self._store.forget(gone, self._name)
        self._totals = self._store.totals(self._name)
        self._reader = SpoolReader(self._folder, cursors, ahead=next(iter(self._others), None))
        self._backlog = Backlog(self._folder, cursors)
        return self._reader

    def _wait_for(self, act: Callable[[], T], stop: threading.Event) -> T | None:
        """Retry until the database answers; None when `stop` is set first. Tries at least once."""
        delay, longest = BACKOFF_S
        while True:
            self._asked_at = self._mono()
            try:
                answer = act()
            except StoreDown as error:
                self._problem = str(error)
            else:
                self._problem, self._answered_at = None, self._mono()
                return answer
            finally:
                self._asked_at = None
            self._update_counts()
            if stop.wait(delay):
                return None
            delay = min(2 * delay, longest)

    def _clean(self, reader: SpoolReader, stop: threading.Event) -> None:
        deleted = sweep(self._folder, [reader, *self._others])
        if deleted:
            self._wait_for(lambda: self._forget(deleted), stop)

    def _forget(self, files: list[str]) -> bool:
        self._store.forget(files, self._name)
        return True

    def _store_batch(self, batch: SpoolBatch) -> bool:
        try:
            self._ship(batch)
        except Unstorable:
            sorted_out = [self._sort_out(chunk) for chunk in batch.chunks]
            refused = sum(len(chunk.records) for chunk in batch.chunks) - sum(map(len, sorted_out))
            chunks = [
                replace(chunk, records=records)
                for chunk, records in zip(batch.chunks, sorted_out, strict=True)
            ]
            self._ship(replace(batch, chunks=chunks, quarantined=batch.quarantined + refused))
        return True

    def _ship(self, batch: SpoolBatch) -> None:
        self._totals = self._store.ship(batch, self._name)

    def _sort_out(self, chunk: SpoolChunk) -> list[Record]:
        """Find the records that the database refuses by bisection and set them aside; return the others."""
        if not self._store.refuses(SpoolBatch(chunks=[chunk])):
            return chunk.records
        if len(chunk.records) == 1:
            self._set_aside(chunk)
            return []
        middle = len(chunk.records) // 2
        halves = chunk.records[:middle], chunk.records[middle:]
        return [record for half in halves for record in self._sort_out(replace(chunk, records=half))]

    def _set_aside(self, chunk: SpoolChunk) -> None:
        frame = encode(chunk.records[0])
        set_aside(self._folder, f"{chunk.file}@refused-{frame[4:8].hex()}", frame)
