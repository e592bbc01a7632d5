"""Atomic replacement of small files. Not for files that grow."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from common.text import UNREADABLE

Stamp = tuple[int, ...]
T = TypeVar("T")
_UNREADABLE = (OSError, *UNREADABLE)
_FULL = (errno.ENOSPC, errno.EDQUOT)


def file_stamp(path: Path) -> Stamp:
    """Return a value that changes when the file is written or replaced. Raises OSError.

    The modification time is not enough: `mv` keeps a file's time, which may be older or equal.
    """
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size


def read_unnoted(path: Path) -> bytes:
    """Read a file without updating its access time, a write that would wait for a hanging disk (ADR 8)."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME), "rb") as file:
        return file.read()


class SpareDescriptor:
    """A file descriptor that is kept back, so that callers who take all others leave one for a file."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._keep()

    @contextmanager
    def given(self) -> Iterator[None]:
        """Give it back to the process for the block. What the block leaves open may take its place."""
        self.close()
        try:
            yield
        finally:
            self._keep()

    def close(self) -> None:
        """Give it back for good."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    __del__ = close

    def _keep(self) -> None:
        with suppress(OSError):
            self._fd = os.open("/", os.O_PATH | os.O_CLOEXEC)


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the file's content atomically. Only one thread at a time may write a path.

    `durable`: the data survives a power cut once this returns. Without `durable` the data survives `kill -9`,
    and the call never waits for an fsync; where the disk is full, a text goes over the old file's,
    if it fits there. Raises OSError and changes nothing when the write fails.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # hidden: who reads all files passes it over
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError as problem:
        beside.unlink(missing_ok=True)
        if durable or problem.errno not in _FULL or not _wrote_over(path, data):
            raise
    if durable:
        sync_folder(path.parent)


def _wrote_over(path: Path, data: bytes) -> bool:
    """Write a text into the blocks that its file has already, and keep them all by spaces at its end. False,
    with nothing changed, where they are too few.

    Who reads half of it cannot decode that, or sees a new time and reads again.
    """
    text = data.rstrip(b" ")
    if not path.exists() or len(text) > path.stat().st_blocks * 512:
        return False
    with path.open("r+b", buffering=0) as file:
        whole = text.ljust(path.stat().st_size)
        done = file.write(whole) == len(whole)
        os.utime(file.fileno())
    return done


def write_document(path: Path, value: object) -> None:
    """Write a JSON file, unless it says this already. The store has the same. Raises OSError."""
    data = msgspec.json.encode(value, order="deterministic")
    if not path.exists() or path.read_bytes() != data:
        write_whole(path, data, durable=False)


def read_document(path: Path, kind: type[T]) -> T | None:
    """What a JSON file says; None where it is missing or unreadable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except _UNREADABLE:
        return None


class FileWatch(Generic[T]):
    """A file that is replaced now and then, as one reader sees it. `decode` may raise msgspec's errors."""

    def __init__(self, path: Path, decode: Callable[[bytes], T]) -> None:
        self._path, self._decode = path, decode
        self._seen: Stamp | None = None

    def replacement(self) -> T | None:
        """What the file has since it was last replaced; None if it was not, is missing or unreadable.

        Costs one stat() unless the file was replaced.
        """
        try:
            seen = file_stamp(self._path)
            if seen == self._seen:
                return None
            found = self._decode(read_unnoted(self._path))
        except _UNREADABLE:
            return None
        self._seen = seen
        return found


def sync_whole(path: Path) -> None:
    """Make a file durable that was written with `durable=False`. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable, after a file was created or renamed."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
