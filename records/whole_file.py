"""A small file that is replaced whole or not at all. Not for anything that grows."""

import os
from pathlib import Path

Stamp = tuple[int, ...]


def file_stamp(path: Path) -> Stamp:
    """What changes whenever the file is written or another one takes its place. Raises OSError.

    Not the time alone: a file that `mv` puts there brings its own, which may be older or the same.
    """
    about = path.stat()
    return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size


def write_whole(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Replace the file's content with `data`. Only one thread at a time may write a path.

    `durable`: the data survives a power cut once this returns. Without it the data survives `kill -9`, and
    the call never waits for an fsync. Raises OSError where the disk refuses: then nothing has changed.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def sync_whole(path: Path) -> None:
    """Make durable what `write_whole` wrote without. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the folder's names durable, as a new or renamed file needs."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
