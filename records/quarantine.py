"""What a spool's readers set aside: damaged places, and records that the database refused. Counts nothing."""

import os
from pathlib import Path

import structlog

log = structlog.get_logger()

CAP_BYTES = 64 << 20


def set_aside(spool: Path, name: str, data: bytes) -> None:
    """Keep `data` under this name, which makes it the same file when it is met again. What finds no room
    there, or on the disk, is let go, and that is said: reading goes on."""
    folder = spool / "quarantine"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if sum(entry.stat().st_size for entry in os.scandir(folder)) + len(data) <= CAP_BYTES:
            (folder / name).write_bytes(data)
            return
        problem = f"it holds {CAP_BYTES >> 20} MiB already: look through it, and empty it"
    except OSError as error:
        problem = str(error)
    log.error("quarantine.no_room", file=name, bytes=len(data), problem=problem)
