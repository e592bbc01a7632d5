"""Counts the records waiting in the spool by hopping from frame header to frame header."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from records.frame import HEADER, MAX_PAYLOAD
from records.outcome import Feedback, Outcome
from records.spool_reader import DONE, Batch

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

    def committed(self, batch: Batch) -> None:
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
