"""Where segments lie: a folder, or a prefix in an object store."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from records.errors import StoreDown
from records.segments.object_store import ObjectStore
from records.whole_file import sync_folder, write_whole

IN_STORE: Final = "store"
"""In place of a folder: the database itself keeps the segments, for replicas that share nothing else."""

OUTCOMES: Final = "outcomes"
"""The folder where the config names none, relative to the data folder."""

FOLDER: Final = "segment_folder"
"""The execution option of a store's connections that has its SegmentFolder, or None."""

OBJECT_STORES = ("s3://", "gs://", "az://")

_DAMAGE = re.compile(r"[Pp]arquet|thrift|decompress|[Cc]orrupt")
_PROBE = "canary-doctor"


class SegmentFolder:
    """One folder of segments. Paths are relative to it, with "/" between their parts.

    Arrow is loaded with the first use. Every method may raise StoreDown.
    """

    def __init__(self, place: str) -> None:
        """`place` is an absolute path, or a URL as in `object_store`. Raises ValueError for others."""
        self.place = place
        self._store = ObjectStore.at(place) if place.startswith(OBJECT_STORES) else None
        self._system: Any = None

    @classmethod
    def at(cls, outcomes: str, data: Path) -> "SegmentFolder | None":
        """The folder of the config's `outcomes`, a relative one in `data`; None for the database itself."""
        if outcomes == IN_STORE:
            return None
        return cls(outcomes if outcomes.startswith(OBJECT_STORES) else str(data.absolute() / outcomes))

    @property
    def is_local(self) -> bool:
        """True for a folder of this machine's file system."""
        return self._store is None

    def write(self, path: str, content: Any) -> None:
        """Write a file as a whole, durably: it appears under its name when all of it is there."""
        with self._working(path, "written"):
            if self._store is None:
                _write_local(Path(self.place), path, content)
                return
            with self._files().open_output_stream(self._named(path)) as file:
                file.write(content)

    @contextmanager
    def open(self, path: str) -> Iterator[Any]:
        """Open a file for reading in the block, as Arrow does."""
        with self._working(path, "read"), self._opened(path) as file, sound(path, self.place):
            yield file

    def delete(self, path: str) -> None:
        """Delete a file, and nothing if it is gone."""
        with self._working(path, "deleted"), suppress(FileNotFoundError):
            if self._store is None:
                _delete_local(Path(self.place), path)
                return
            self._files().delete_file(self._named(path))

    def trouble(self) -> tuple[str, str] | None:
        """Write an empty object into the object store and delete it: what is wrong, and what to do ("" if the
        first says it); None if it works, and for a local folder."""
        if self._store is None:
            return None
        try:
            with self._files().open_output_stream(self._named(_PROBE)):
                pass
            self._files().delete_file(self._named(_PROBE))
        except (OSError, ValueError) as problem:
            return self._store.explained(problem), self._store.remedy(problem)
        return None

    def _opened(self, path: str) -> Any:
        try:
            return self._files().open_input_file(self._named(path))
        except FileNotFoundError:
            raise StoreDown(
                f"the segment {path} is missing in {self.place}: name the place that has it as `outcomes`, "
                "or restore it from a backup"
            ) from None

    def _named(self, path: str) -> str:
        return f"{self.place if self._store is None else self._store.folder}/{path}"

    def _files(self) -> Any:
        """The file system."""
        if self._system is None:
            from pyarrow.fs import LocalFileSystem

            self._system = LocalFileSystem() if self._store is None else self._store.file_system()
        return self._system

    @contextmanager
    def _working(self, path: str, done: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as problem:
            said = one_line(problem) if self._store is None else self._store.explained(problem)
            raise StoreDown(f"the segment {path} cannot be {done} in {self.place}: {said}") from problem


@contextmanager
def sound(path: str, place: str) -> Iterator[None]:
    """Wraps code that reads the content of a segment. Raises StoreDown if that is no Parquet."""
    try:
        yield
    except (OSError, ValueError) as problem:
        if not (isinstance(problem, ValueError) or _DAMAGE.search(str(problem))):
            raise
        raise StoreDown(
            f"the segment {path} in {place} is damaged: restore it from a backup, or give up its outcomes as "
            f"docs/operations.md says ({one_line(problem)})"
        ) from problem


def one_line(problem: Exception) -> str:
    """The message of an error, without the line breaks and control characters that Arrow's have."""
    return " ".join("".join(each if each.isprintable() else " " for each in str(problem)).split())


def _write_local(top: Path, path: str, content: Any) -> None:
    whole = top / path
    _create(whole.parent)
    write_whole(whole, content)


def _create(folder: Path) -> None:
    """Create the folder and those above it, durably, for the server alone."""
    if not folder.is_dir():
        _create(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def _delete_local(top: Path, path: str) -> None:
    """Delete the file, what a crash left of one half written, and the folders that are empty then."""
    folder = (top / path).parent
    for file in folder.glob(f"*{Path(path).name}*"):
        file.unlink(missing_ok=True)
    with suppress(OSError):
        while folder != top:
            folder.rmdir()
            folder = folder.parent
