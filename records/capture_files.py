"""Captured exchanges on their way into the database: files, each written whole and deleted once stored."""

import os
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from records.capture import Capture
from records.whole_file import write_whole

ENDING = ".capture"
CAP_BYTES = 256 << 20
_LEFT_BEHIND_S = 3600.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(tuple[Capture, ...]).decode


@dataclass(frozen=True, slots=True)
class Unstored:
    """One file and what is in it; empty where nothing can be read."""

    path: Path
    captures: tuple[Capture, ...]


def write(folder: Path, captures: Sequence[Capture]) -> bool:
    """Put these into a new file. False when the folder holds 256 MiB already or the disk refuses."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    document = _encode(captures)
    if sum(_size(entry) for entry in os.scandir(folder)) + len(document) > CAP_BYTES:
        return False
    name = f"{time.time_ns():020}-{os.getpid()}-{secrets.token_hex(4)}{ENDING}"
    try:
        write_whole(folder / name, document)
    except OSError:
        return False
    return True


def unstored(folder: Path) -> Iterator[Unstored]:
    """Every whole file, oldest first."""
    if not folder.is_dir():
        return
    for path in sorted(folder.glob(f"*{ENDING}")):
        try:
            yield Unstored(path, _decode(path.read_bytes()))
        except FileNotFoundError:
            continue
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield Unstored(path, ())


def clear(folder: Path, *, now: float) -> None:
    """Delete the files whose captures have all expired, and what a crash left half-written."""
    for file in unstored(folder):
        if all(each.about.expires_at <= now for each in file.captures):
            file.path.unlink(missing_ok=True)
    for path in folder.glob("*.tmp") if folder.is_dir() else ():
        if now - path.stat().st_mtime > _LEFT_BEHIND_S:
            path.unlink(missing_ok=True)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # stored and deleted just now
        return 0
