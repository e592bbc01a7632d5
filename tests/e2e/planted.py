"""Looks for planted texts in all files of a folder, those of a running server too."""

from collections.abc import Iterable
from pathlib import Path


def holding(files: Iterable[Path], texts: Iterable[str]) -> list[str]:
    """What was found, as "FILE: TEXT". A file that goes meanwhile holds nothing any more."""
    wanted = [text.encode() for text in texts]
    found = []
    for path in files:
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:
            continue
        found += [f"{path.name}: {text.decode()}" for text in wanted if text in data]
    return found
