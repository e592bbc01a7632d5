"""A disk that hangs on request: ext4 on a loop device whose image lies in another ext4.

Freezing the outer file system lets all I/O of the inner one's *device* wait; a write() goes on into the page
cache until the journal needs the device. Freezing the inner one, as a snapshot does, stops a write() at once.
"""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

Hangs = Literal["device", "file system"]
_FREEZE, _THAW = 0xC0045877, 0xC0045878
_GUARD = """
import fcntl, os, select, subprocess, sys
select.select([sys.stdin], [], [], 300.0)
for fd in map(int, sys.argv[1:3]):
    try:
        fcntl.ioctl(fd, 0xC0045878, 0)
    except OSError:
        pass
    os.close(fd)
for folder in sys.argv[3:]:
    if subprocess.run(["umount", folder], capture_output=True).returncode:
        subprocess.run(["umount", "--lazy", folder])
"""
"""Lets go and unmounts once its stdin is closed, by the test or by its death."""


@dataclass
class HangingDisk:
    """`hung_at` and `back_at` are the monotonic seconds of the last hang."""

    device: int
    file_system: int
    hung_at: float = 0.0
    back_at: float = 0.0

    @contextmanager
    def hanging(self, what: Hangs = "device") -> Iterator[None]:
        """Hang until the block ends."""
        fd = self.device if what == "device" else self.file_system
        fcntl.ioctl(fd, _FREEZE, 0)
        self.hung_at = time.monotonic()
        try:
            yield
        finally:
            fcntl.ioctl(fd, _THAW, 0)
            self.back_at = time.monotonic()


@contextmanager
def hanging_disk(folder: Path) -> Iterator[HangingDisk]:
    """A disk of 96 MiB under `folder`. Skips the test where loop devices cannot be mounted."""
    outer = folder.parent / f"{folder.name}-device"
    with ExitStack() as mounted:
        _mount(outer.with_suffix(".img"), 160, outer, mounted)
        _mount(outer / "disk.img", 96, folder, mounted)
        (folder / "lost+found").rmdir()
        fds = [os.open(each, os.O_RDONLY | os.O_DIRECTORY) for each in (outer, folder)]
        command = [sys.executable, "-c", _GUARD, *map(str, fds), str(folder), str(outer)]
        guard = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=fds)
        mounted.pop_all()
    try:
        yield HangingDisk(*fds)
    finally:
        for fd in fds:
            os.close(fd)
        guard.communicate()


def _mount(image: Path, mib: int, folder: Path, mounted: ExitStack) -> None:
    folder.mkdir(mode=0o700, parents=True)
    try:
        image.touch()
        os.truncate(image, mib << 20)
        subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, folder], check=True, capture_output=True)
        image.unlink()  # the mount holds it, and nobody need clear it away
    except subprocess.CalledProcessError as problem:
        pytest.skip(f"needs root and loop devices for a disk that hangs: {problem} {problem.stderr.decode()}")
    mounted.callback(subprocess.run, ["umount", str(folder)], check=False)
    folder.chmod(0o700)


def stands_still(pid: int, looks: int = 10) -> bool:
    """True when a process's first thread is found waiting for a disk every time in a fifth of a second."""
    for _ in range(looks):
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "D":
                return False
        time.sleep(0.2 / looks)
    return True
