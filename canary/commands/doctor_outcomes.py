"""The check of `canary doctor` on the place where outcomes lie: can it be written, and is it complete."""

import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import select

from canary.commands.doctor_findings import Diagnosis, broken, fine, warning
from canary.commands.doctor_machine import is_there, looking_into
from canary.config import Config
from records.errors import RecordError
from records.shared.segment_folder import SegmentFolder
from records.store import tables
from records.store.migrate import HEAD, version_of

_RESTORE = "restore {} from a backup, or name the place that has {} as `outcomes`"


class _Row(NamedTuple):
    """What the database knows of a file."""

    state: str
    bytes: int


def outcomes(read: Config, data: Path) -> list[Diagnosis]:
    """Whether segments can be written, and the folder has those that the database knows, in their sizes."""
    folder = SegmentFolder.at(read.outcomes, data)
    if folder is not None and not folder.is_local:
        return _written(folder)
    place = Path(folder.place) if folder is not None else None
    hindered = [] if place is None else _hindered(place)
    try:
        return [*hindered, *_compared(place, read.store, data)] or [_sound(place, read.store, data)]
    except RecordError as problem:
        says = f"the files that {place or 'the database'} should have are unknown: {problem}"
        return [*hindered, warning("outcomes", says, "see `store`")]


def _written(folder: SegmentFolder) -> list[Diagnosis]:
    found = folder.trouble()
    if found is None:
        return [fine("outcomes", f"{folder.place} can be written")]
    says, do = found
    return [broken("outcomes", f"{folder.place} cannot be written: {says}", do)]


def _hindered(place: Path) -> list[Diagnosis]:
    """Make a folder in the place, or in the nearest one above it that exists, and remove it."""
    nearest = _nearest(place)
    try:
        Path(tempfile.mkdtemp(prefix=".canary-doctor-", dir=nearest)).rmdir()
    except OSError as problem:
        do = "have it belong to the server's user, or name another as `outcomes`"
        says = f"{place} cannot be written: no folder can be made in {nearest}: {problem.strerror}"
        return [broken("outcomes", says, do)]
    return []


def _nearest(place: Path) -> Path:
    return next(each for each in (place, *place.parents) if each.exists())


def _compared(place: Path | None, url: str, data: Path) -> list[Diagnosis]:
    """The files that are missing, differ in size, or that no row names. The database is read before and
    after the folder, which the server changes meanwhile. Raises RecordError."""
    before = _known(url, data)
    files = {} if place is None else _sizes(place)
    after = _known(url, data)
    whole = {path for path, row in before.items() if row.state == "whole" and after.get(path) == row}
    if place is None:
        return _elsewhere(whole)
    return [
        *_missing(whole - files.keys(), place),
        *_damaged({path for path in whole & files.keys() if files[path] != before[path].bytes}, place),
        *_unknown(files.keys() - before.keys() - after.keys(), place),
    ]


def _sound(place: Path | None, url: str, data: Path) -> Diagnosis:
    """What is said of a place without a problem."""
    if place is None:
        return fine("outcomes", "the database keeps them")
    if not place.exists():
        says = f"{place} does not exist yet; the first file creates it, and {_nearest(place)} can be written"
        return fine("outcomes", says)
    whole = sum(row.state == "whole" for row in _known(url, data).values())
    has = f"has {_files(whole, 'the one file', 'all {} files')} that the database knows"
    return fine("outcomes", f"{place} can be written, and {has if whole else 'no file is to be there yet'}")


def _sizes(place: Path) -> Mapping[str, int]:
    """The size of each file by its path; one that is deleted meanwhile is left out."""
    found = {}
    for each in place.rglob("*.parquet"):
        with suppress(FileNotFoundError):
            found[str(each.relative_to(place))] = each.stat().st_size
    return found


def _elsewhere(paths: set[str]) -> list[Diagnosis]:
    if not paths:
        return []
    lie = _files(len(paths), "1 file of outcomes lies", "{} files of outcomes lie")
    says = f"{lie} in a folder, not in the database: what reads these hours fails"
    return [broken("outcomes", says, "name that folder as `outcomes`")]


def _missing(paths: set[str], place: Path) -> list[Diagnosis]:
    if not paths:
        return []
    one, all_ = f"1 file is missing in {place}: ", f"{{}} files are missing in {place}, the first "
    return [_lacking(paths, one, all_)]


def _damaged(paths: set[str], place: Path) -> list[Diagnosis]:
    if not paths:
        return []
    one = f"1 file in {place} does not have the size that was written: "
    all_ = f"{{}} files in {place} do not have the size that was written, the first "
    return [_lacking(paths, one, all_)]


def _lacking(paths: Iterable[str], one: str, several: str) -> Diagnosis:
    found = sorted(paths)
    says = f"{_files(len(found), one, several)}{found[0]}; what reads these hours fails"
    it = _files(len(found), "it", "them")
    return broken("outcomes", says, _RESTORE.format(it, it))


def _unknown(paths: set[str], place: Path) -> list[Diagnosis]:
    if not paths:
        return []
    one = f"the database does not know 1 file in {place}: "
    says = _files(len(paths), one, f"the database does not know {{}} files in {place}, for example ")
    do = "canary reads none of them; if a backup was restored, move them away: their outcomes may be twice"
    return [warning("outcomes", says + min(paths), do)]


def _files(count: int, one: str, several: str) -> str:
    """The words for one, or those for several with their number."""
    return one if count == 1 else several.replace("{}", str(count))


def _known(url: str, data: Path) -> Mapping[str, _Row]:
    """The files of outcomes by their paths; none without a store, or with one of an older version. Segments
    that the database itself keeps are not among them."""
    if not is_there(url, data):
        return {}
    with looking_into(url, data) as connection:
        if version_of(connection) != HEAD:
            return {}
        row = tables.segments.c
        found = connection.execute(select(row.path, row.state, row.bytes).where(row.content.is_(None)))
        return {each.path: _Row(each.state, each.bytes) for each in found}
