"""What a machine's processes tell one another of sessions: lines in a file that is in memory only.

A worker writes a line before the end of an answer goes out, and reads what others have written before it
takes a session for unknown. So whoever gets the next request of a session knows of the one before. The file
is the supervisor's; each child inherits its descriptor. It grows at its end and is forgotten at its
beginning.
"""

import mmap
import os
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from common.text import UNREADABLE
from routing.sessions import SessionArm

KEPT = 4 << 20
"""Bytes that are kept: 20,000 lines. A reader that is further behind misses some."""

PIECE = 1 << 20
"""Bytes that are forgotten at once."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(SessionArm).decode


def encoded(arms: Iterable[SessionArm]) -> bytes:
    """A line for each."""
    return b"".join([_encode(each) + b"\n" for each in arms])


def decoded(lines: bytes) -> list[SessionArm]:
    """The sessions again, without lines of another version or cut in two."""
    found = []
    for line in lines.split(b"\n"):
        try:
            found.append(_decode(line))
        except UNREADABLE:
            continue
    return found


def open_news() -> int:
    """A descriptor of a new file, for one process and those that inherit it."""
    return os.memfd_create("sessions", os.MFD_CLOEXEC)


class SessionNews:
    """One process's reader and writer of the file. It reads its own lines, too."""

    def __init__(self, fd: int) -> None:
        """Begin with the oldest line that is kept. The descriptor stays the caller's."""
        # of its own, so that appending is this process's, whoever opened the file
        self._fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._at = max(0, self._size() - KEPT)

    def close(self) -> None:
        """Read and write no more."""
        os.close(self._fd)

    def tell(self, arms: Iterable[SessionArm]) -> None:
        """Append a line for each. Without memory for them the others do not hear of it."""
        with suppress(OSError):
            written = os.write(self._fd, encoded(arms))
            if (size := self._size()) // PIECE != (size - written) // PIECE:
                self._forget(size - KEPT)

    def read(self) -> list[SessionArm]:
        """What has been told since the last call."""
        if (size := self._size()) <= self._at:
            return []
        self._at = max(self._at, size - KEPT)
        data = os.pread(self._fd, size - self._at, self._at)
        whole = data.rfind(b"\n") + 1  # the last line may be under way
        self._at += whole
        return decoded(data[:whole])

    def _size(self) -> int:
        return os.fstat(self._fd).st_size

    def _forget(self, until: int) -> None:
        """Give the memory back of what stands before this place. Offsets stay."""
        end = until // PIECE * PIECE
        first = max(0, end - KEPT)
        if end > first:
            with mmap.mmap(self._fd, end - first, offset=first) as mapped:
                mapped.madvise(mmap.MADV_REMOVE)
