"""The quarantine folder: damaged parts of spool files, and records that the database refused."""

import os
from pathlib import Path

import structlog

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
