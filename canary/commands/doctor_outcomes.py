"""The check of `canary doctor` on the place where outcomes lie: can it be written, and is it complete."""

import os
from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select

from canary.commands.doctor_findings import Diagnosis, broken, fine, warning
from canary.commands.doctor_machine import is_there, looking_into
from canary.config import Config
from records import migrations, tables
from records.errors import RecordError
from records.segments.folder import SegmentFolder
from records.store.migrate import version_of

_PROBE = "canary-doctor"


def outcomes(read: Config, data: Path) -> list[Diagnosis]:
    """Whether segments can be written, and the folder has those that the database knows."""
    folder = SegmentFolder.at(read.outcomes, data)
    if folder is None:
        return [fine("outcomes", "the database keeps them")]
    if not folder.is_local:
        return _written(folder)
    place = Path(folder.place)
    nearest = next(each for each in (place, *place.parents) if each.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)):
        says = f"{place} cannot be written"
        return [
            broken("outcomes", says, "have it belong to the server's user, or name another as `outcomes`")
        ]
    return (
        _compared(place, read.store, data)
        if place.exists()
        else [fine("outcomes", f"{place} comes with the first")]
    )


def _written(folder: SegmentFolder) -> list[Diagnosis]:
    """Write an empty object, and delete it."""
    try:
        folder.write(_PROBE, b"")
        folder.delete(_PROBE)
    except RecordError as problem:
        return [
            broken("outcomes", str(problem), "fix its credentials or rights, or `outcomes` in the config")
        ]
    return [fine("outcomes", f"{folder.place} can be written")]


def _compared(place: Path, url: str, data: Path) -> list[Diagnosis]:
    """What of it is missing, and what no row names. The database is read before and after the folder, which
    the server changes meanwhile."""
    try:
        before = _known(url, data)
        files = {str(each.relative_to(place)) for each in place.rglob("*.parquet")}
        after = _known(url, data)
    except RecordError as problem:
        return [warning("outcomes", f"what {place} should have is unknown: {problem}", "see `store`")]
    whole = {path for path in before if "whole" == before[path] == after.get(path)}
    return [
        *_missing(sorted(whole - files), place),
        *_unknown(files - before.keys() - after.keys(), place),
    ] or [fine("outcomes", f"{place} can be written, and has all {len(whole)} segments")]


def _missing(paths: list[str], place: Path) -> list[Diagnosis]:
    if not paths:
        return []
    says = f"{len(paths)} files are missing in {place}, the first {paths[0]}: what reads these hours fails"
    do = "restore them from a backup, or name the place that has them as `outcomes`"
    return [broken("outcomes", says, do)]


def _unknown(paths: set[str], place: Path) -> list[Diagnosis]:
    if not paths:
        return []
    says = f"the database knows nothing of {len(paths)} files in {place}, for example {min(paths)}"
    do = "canary reads none of them; if a backup was restored, move them away: their outcomes may be twice"
    return [warning("outcomes", says, do)]


def _known(url: str, data: Path) -> Mapping[str, str]:
    """The state of each segment by its path; none without a store, or with one of an older version."""
    if not is_there(url, data):
        return {}
    with looking_into(url, data) as connection:
        if version_of(connection) != migrations.HEAD:
            return {}
        found = connection.execute(select(tables.segments.c.path, tables.segments.c.state))
        return {row.path: row.state for row in found}
