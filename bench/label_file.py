"""A dataset's file as people label it: read whole, changed by one line, replaced atomically."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.dataset import parse
from bench.errors import BenchError
from bench.example import fingerprint
from bench.labelling import Line
from records.whole_file import write_whole


class LineGone(BenchError):
    """The line was changed or has left the file since it was read."""


class NothingLeft(BenchError):
    """A dataset would have no example any more."""


def read_lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a valid dataset. Raises BadDataset, OSError."""
    return [json.loads(text) for text in _texts(file)]


def stamp(line: Line) -> str:
    """What names a line as it is: any change makes another stamp."""
    return fingerprint(line)


def change(file: Path, wanted: str, new: Callable[[Line], Line]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Replace the line with the stamp `wanted` by `new` of it; all other bytes stay. Returns the line before
    and after. Raises LineGone, BadDataset (also if the new line is not valid), OSError."""
    with _locked(file):
        texts = _texts(file)
        for place, text in enumerate(texts):
            before = json.loads(text)
            if stamp(before) == wanted:
                after = dict(new(before))
                texts[place] = json.dumps(after, ensure_ascii=False)
                _write(file, texts)
                return before, after
    raise LineGone("this example was changed or removed meanwhile")


def split(file: Path, leaves: Callable[[Line], bool], to: Path) -> int:
    """Move the lines that leave to the end of another file, and return how many. They are written there
    before they leave here, so a crash loses none. Raises NothingLeft, BadDataset, OSError."""
    with _locked(file):
        texts = _texts(file)
        gone = [text for text in texts if leaves(json.loads(text))]
        if not gone:
            return 0
        if len(gone) == len(texts):
            raise NothingLeft("every example would leave; sample new ones first")
        known = to.read_text(encoding="utf-8").splitlines() if to.exists() else []
        _replace(to, [*known, *(text for text in gone if text not in known)])
        _replace(file, [text for text in texts if text not in gone])
    return len(gone)


def _texts(file: Path) -> list[str]:
    """The file's lines that are not blank, if all are valid."""
    text = file.read_text(encoding="utf-8").removeprefix("\ufeff")
    texts = [each for each in text.split("\n") if each.strip()]
    if texts:
        parse(text)
    return texts


def _write(file: Path, texts: Sequence[str]) -> None:
    if texts:
        parse("\n".join(texts))
    _replace(file, texts)


def _replace(file: Path, texts: Sequence[str]) -> None:
    """Replace the file, which keeps its mode."""
    target = file.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    write_whole(target, "".join(f"{text}\n" for text in texts).encode())
    target.chmod(mode)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Only one process changes the datasets of a folder at a time. The folder is locked, because the file
    itself is replaced."""
    folder = os.open(file.resolve().parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
