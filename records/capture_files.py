"""Files of captured exchanges that wait for the database: written atomically, deleted once stored."""

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
    """One file and its captures; no captures when the file is unreadable."""

    path: Path
    captures: tuple[Capture, ...]


def write(folder: Path, captures: Sequence[Capture]) -> bool:
    """Write the captures to a new file. False when the folder already holds 256 MiB or the write fails."""
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
    """Yield every complete file, oldest first."""
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
    """Delete files whose captures have all expired, and temporary files left by a crash."""
    for file in unstored(folder):
        if all(capture.about.expires_at <= now for capture in file.captures):
            file.path.unlink(missing_ok=True)
    for path in folder.glob("*.tmp") if folder.is_dir() else ():
        if now - path.stat().st_mtime > _LEFT_BEHIND_S:
            path.unlink(missing_ok=True)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except FileNotFoundError:  # stored and deleted just now
        return 0
