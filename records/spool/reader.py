"""The reading side of the spool: yields every readable record of a folder once, in order per writer. Writes
only to the quarantine.

The states of a file for one reader:

    live      the writer holds the lock: read complete frames, wait for the rest of a torn frame
    final     a later segment exists, or the file is unlocked: read to the end, quarantine a torn frame
    done      final and read to the end, the writer's death reported: cursor DONE
    deleted   by `sweep`, once every reader has committed DONE
"""

import fcntl
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import structlog

from common.whole_file import SpareDescriptor
from records.outcome import Feedback, Heartbeat, Outcome, Record
from records.spool.frame import FrameScan, scan

MOST = 2_500
"""Records kept, some 5 MiB: a quarter of a second of a busy machine. What is dropped is decoded twice."""


class DecodedScans:
    """Scans by file and the offset at which they begin. Each is taken once; the oldest are dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scans: dict[tuple[str, int], FrameScan] = {}
        self._records = 0

    def put(self, file: str, start: int, scan: FrameScan) -> None:
        """Keep a scan. One with damage is left to the other reader, which may have to quarantine it."""
        if scan.bad or not scan.records:
            return
        with self._lock:
            self._scans[file, start] = scan
            self._records += len(scan.records)
            while self._records > MOST:
                self._records -= len(self._scans.pop(next(iter(self._scans))).records)

    def take(self, file: str, start: int) -> FrameScan | None:
        """Take the scan that begins here; None if there is none."""
        with self._lock:
            scan = self._scans.pop((file, start), None)
            if scan is not None:
                self._records -= len(scan.records)
            return scan

    def next_start(self, file: str, after: int) -> int | None:
        """The offset at which the file's next scan begins; None if there is none."""
        with self._lock:
            return min((at for name, at in self._scans if name == file and at > after), default=None)


@dataclass(slots=True)
class WriterProgress:
    """The state of one writer, up to the reader's cursor."""

    last: Heartbeat | None = None
    recorded_since: int = 0
    dropped: int = 0

    def see(self, records: Sequence[Record]) -> int:
        """Process records and return the number of newly reported drops."""
        before = self.dropped
        for record in records:
            if type(record) is Heartbeat:
                self.last, self.recorded_since = record, 0
                self.dropped = max(self.dropped, record.dropped)
            elif type(record) is Outcome and not record.mirror and self.last is not None:
                # An exchange that started after the last heartbeat is not in its `started`.
                self.recorded_since += record.mono <= self.last.mono
        return self.dropped - before

    def lost(self) -> int | None:
        """Return a lower bound of the exchanges started and never recorded; None after a clean shutdown."""
        if self.last is None or self.last.closing:
            return None
        return max(0, self.last.started - self.last.finished - self.recorded_since)


log = structlog.get_logger()

CAP_BYTES = 64 << 20


def set_aside(spool: Path, name: str, data: bytes) -> None:
    """Write `data` to the quarantine. Writing the same name again replaces the file.

    Data that does not fit into the quarantine or on the disk is logged and discarded, and reading continues.
    """
    folder = spool / "quarantine"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if sum(entry.stat().st_size for entry in os.scandir(folder)) + len(data) <= CAP_BYTES:
            (folder / name).write_bytes(data)
            return
        problem = f"the quarantine already holds {CAP_BYTES >> 20} MiB: inspect it and empty it"
    except OSError as error:
        problem = str(error)
    log.error("quarantine.no_room", file=name, bytes=len(data), problem=problem)


DONE = -1
"""The cursor of a file that has nothing more for this reader."""

_BORN_WITHIN_S = 60.0
_CHUNK = 1 << 20
_NAME = re.compile(r"(w(\d+)-([0-9a-f]{8})[0-9a-f]*-(\d+))-(\d+)\.spool")


@dataclass(frozen=True, slots=True)
class WriterProcess:
    """A writing process: its worker slot, the boot of its machine (monotonic times are comparable within one
    boot) and its pid. `name` is unique to the process."""

    name: str
    worker: int
    boot: str
    pid: int


@dataclass(frozen=True, slots=True)
class SpoolChunk:
    """Records of one file, in write order."""

    file: str
    writer: WriterProcess
    records: list[Record]


@dataclass(frozen=True, slots=True)
class WriterDeath:
    """A writer that ended without a closing heartbeat; `lost` exchanges were started and never recorded."""

    writer: WriterProcess
    lost: int


@dataclass(slots=True)
class SpoolBatch:
    """The result of one read, which its reader alone fills.

    `cursors`: offsets of the files that were read, DONE for finished files. `dropped`: records that writers
    reported as dropped. `quarantined`: number of damaged places.
    """

    chunks: list[SpoolChunk] = field(default_factory=list)
    cursors: dict[str, int] = field(default_factory=dict)
    deaths: list[WriterDeath] = field(default_factory=list)
    dropped: int = 0
    quarantined: int = 0

    def records(self) -> Iterator[Record]:
        """Yield every record, file by file."""
        for chunk in self.chunks:
            yield from chunk.records

    @property
    def size(self) -> int:
        """The number of records."""
        return sum(len(chunk.records) for chunk in self.chunks)

    @property
    def is_empty(self) -> bool:
        """True when there is nothing to commit."""
        return not self.cursors

    @property
    def has_news(self) -> bool:
        """False when it only passes heartbeats and exchanges in flight, of files that go on."""
        counts = self.dropped or self.quarantined or self.deaths or DONE in self.cursors.values()
        return bool(counts) or any(type(record) in (Outcome, Feedback) for record in self.records())

    def add(self, file: "_File", records: list[Record], bad: int, dropped: int, moved: int) -> None:
        """Add what was read of a file, `moved` bytes on."""
        if records:
            self.chunks.append(SpoolChunk(file.name, file.writer, records))
        self.quarantined += bad
        self.dropped += dropped
        file.offset += moved
        self.cursors[file.name] = file.offset


@dataclass(slots=True)
class _File:
    name: str
    writer: WriterProcess
    segment: int
    path: Path
    offset: int
    fd: int | None = None


class SpoolReader:
    """One consumer's reader of a spool folder. Not thread-safe.

    The folder is made if no writer has begun yet. `cursors` are the offsets that this consumer has committed
    (file name → offset or DONE). With `quarantine=False` damage is counted but not copied; use this for the
    second consumer of a folder.
    `ahead` is another reader of the folder, in another thread: what it has decoded is not decoded again.
    `dated` returns a chunk's records with the times of a fleet's clock; without it that of `ahead` does.
    """

    def __init__(
        self,
        folder: Path,
        cursors: Mapping[str, int] | None = None,
        *,
        quarantine: bool = True,
        ahead: "SpoolReader | None" = None,
        dated: "Callable[[SpoolChunk], list[Record]] | None" = None,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._quarantines = quarantine
        self.decoded = DecodedScans()
        self._ahead = ahead.decoded if ahead is not None else None
        if dated is None and ahead is not None:
            dated = ahead.dated
        self.dated: Callable[[SpoolChunk], list[Record]] | None = dated
        self._files: dict[str, _File] = {}
        self._tracks: dict[str, WriterProgress] = {}
        self._turn = 0
        self.committed: dict[str, int] = dict(cursors or {})
        self._to_list, self._to_read = SpareDescriptor(), SpareDescriptor()

    def read(self, limit: int = 2000) -> SpoolBatch:
        """Read about `limit` new records at most. Cheap when there are none.

        Raises OSError for a file that cannot be opened, unless others were read: these are told first.
        """
        with self._to_list.given():
            writers = self._list()
        with self._to_read.given():
            return self._read(writers, limit)

    def _read(self, writers: Mapping[str, list[_File]], limit: int) -> SpoolBatch:
        batch = SpoolBatch()
        names = sorted(writers)
        self._turn += 1
        for place in range(len(names)):
            name = names[(place + self._turn) % len(names)]
            try:
                self._read_writer(name, writers[name], batch, limit)
            except OSError:
                if batch.is_empty:
                    raise
                break
            if batch.size >= limit:
                break
        if self.dated is not None:
            batch.chunks = [replace(each, records=self.dated(each)) for each in batch.chunks]
        return batch

    def commit(self, batch: SpoolBatch) -> None:
        """Commit the batch: `sweep` uses its cursors from now on."""
        self.committed.update(batch.cursors)

    def close(self) -> None:
        """Close every file."""
        self._to_list.close()
        self._to_read.close()
        for file in self._files.values():
            _close(file)

    def _list(self) -> dict[str, list[_File]]:
        """Return the folder's files by writer, oldest segment first."""
        writers: dict[str, list[_File]] = {}
        present = set()
        for entry in os.scandir(self._folder):
            file = self._files.get(entry.name) or self._meet(entry.name)
            if file is not None:
                present.add(entry.name)
                writers.setdefault(file.writer.name, []).append(file)
        for files in writers.values():
            files.sort(key=lambda file: file.segment)
        self._forget_all_but(present, writers)
        return writers

    def _forget_all_but(self, present: set[str], writers: Mapping[str, list[_File]]) -> None:
        for name in self._files.keys() - present:
            _close(self._files.pop(name))
        for name in self.committed.keys() - present:
            del self.committed[name]
        for name in self._tracks.keys() - writers.keys():
            del self._tracks[name]

    def _meet(self, name: str) -> _File | None:
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        stem, worker, boot, pid, segment = match.groups()
        writer = WriterProcess(stem, int(worker), boot, int(pid))
        file = _File(name, writer, int(segment), self._folder / name, self.committed.get(name, 0))
        self._files[name] = file
        return file

    def _track(self, writer: str, files: Sequence[_File]) -> WriterProgress:
        track = self._tracks.get(writer)
        if track is None:
            track = WriterProgress()
            for file in files:  # after a restart: replay the heartbeats before the cursor
                if file.offset:
                    track.see(_read_back(file))
            self._tracks[writer] = track
        return track

    def _read_writer(self, writer: str, files: list[_File], batch: SpoolBatch, limit: int) -> None:
        track = self._track(writer, files)
        for file in files:
            if file.offset == DONE:
                continue
            rotated = file is not files[-1]
            if not self._read_file(file, rotated, track, batch, limit):
                return

    def _read_file(
        self, file: _File, rotated: bool, track: WriterProgress, batch: SpoolBatch, limit: int
    ) -> bool:
        """Continue reading one file. True when it is done and the writer's next segment may follow."""
        fd = _open(file)
        final, size = rotated, _CHUNK
        while True:
            while self._take_decoded(file, track, batch):
                if batch.size >= limit:
                    return False
            room = self._until_decoded(file, size)
            data = os.pread(fd, room, file.offset)
            at_end = len(data) < room
            found = scan(data, limit=limit - batch.size, final=final and at_end)
            self.decoded.put(file.name, file.offset, found)
            for bad in found.bad:
                self._put_aside(file, data, bad.start, bad.end)
            if found.end:
                batch.add(file, found.records, len(found.bad), track.see(found.records), found.end)
            if at_end and (found.torn or found.end == len(data)):
                if final:
                    return self._finish(file, track, batch)
                if not _orphaned(fd):
                    return False
                final = True  # all writes before the unlock are visible now: read once more
            elif batch.size >= limit:
                return False
            elif found.torn and not found.end:  # longer than a chunk: a large frame, or damage
                size = max(os.fstat(fd).st_size - file.offset, _CHUNK) + 1

    def _take_decoded(self, file: _File, track: WriterProgress, batch: SpoolBatch) -> bool:
        """Add what the reader ahead decoded at this place. False if there is nothing."""
        found = self._ahead.take(file.name, file.offset) if self._ahead is not None else None
        if found is not None:
            batch.add(file, found.records, 0, track.see(found.records), found.end)
        return found is not None

    def _until_decoded(self, file: _File, size: int) -> int:
        """How much to read, at most `size`: a chunk only up to what the reader ahead has decoded."""
        if self._ahead is None or size != _CHUNK:
            return size
        start = self._ahead.next_start(file.name, file.offset)
        return size if start is None else min(size, start - file.offset)

    def _finish(self, file: _File, track: WriterProgress, batch: SpoolBatch) -> bool:
        _close(file)
        file.offset = batch.cursors[file.name] = DONE
        successor = f"{file.writer.name}-{file.segment + 1}.spool"
        lost = track.lost()
        if lost is not None and not (self._folder / successor).exists():
            batch.deaths.append(WriterDeath(file.writer, lost))
        return True

    def _put_aside(self, file: _File, data: bytes, start: int, end: int) -> None:
        if self._quarantines:
            place = f"{file.name}@{file.offset + start}-{file.offset + end}"
            set_aside(self._folder, place, data[start:end])


def sweep(folder: Path, readers: Sequence[SpoolReader]) -> list[str]:
    """Delete the files that all `readers` have committed as DONE, and return their names.

    Call it in the first reader's thread; the other readers may continue in theirs and notice deleted files.
    """
    done = [name for name, cursor in readers[0].committed.items() if cursor == DONE]
    done = [name for name in done if all(reader.committed.get(name) == DONE for reader in readers[1:])]
    for name in done:
        (folder / name).unlink(missing_ok=True)
        readers[0].committed.pop(name)
    return done


def _orphaned(fd: int) -> bool:
    """True when the writer has released its lock, so that the file no longer grows."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    status = os.fstat(fd)
    being_born = status.st_size == 0 and time.time() - status.st_mtime < _BORN_WITHIN_S
    return not being_born


def _read_back(file: _File) -> list[Record]:
    """The records before the cursor; none of a file that has been swept since it was listed."""
    try:
        data = file.path.read_bytes()
    except FileNotFoundError:
        return []
    return scan(data if file.offset == DONE else data[: file.offset], limit=1 << 60, final=True).records


def _open(file: _File) -> int:
    if file.fd is None:
        file.fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC)
    return file.fd


def _close(file: _File) -> None:
    if file.fd is not None:
        os.close(file.fd)
        file.fd = None
