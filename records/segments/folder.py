"""Where segments lie: a folder, or a prefix in an object store."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from records.errors import StoreDown
from records.whole_file import sync_folder, write_whole

IN_STORE: Final = "store"
"""In place of a folder: the database itself keeps the segments, for replicas that share nothing else."""

OUTCOMES: Final = "outcomes"
"""The folder where the config names none, relative to the data folder."""

FOLDER: Final = "segment_folder"
"""The execution option of a store's connections that has its SegmentFolder, or None."""

OBJECT_STORES = ("s3://", "gs://", "az://")


class SegmentFolder:
    """One folder of segments. Paths are relative to it, with "/" between their parts.

    The library is loaded with the first use. Every method may raise StoreDown.
    """

    def __init__(self, place: str) -> None:
        """`place` is an absolute path or the URL of an object store's prefix, s3://, gs:// or az://."""
        self.place = place
        self._opened: tuple[Any, str] | None = None

    @classmethod
    def at(cls, outcomes: str, data: Path) -> "SegmentFolder | None":
        """The folder of the config's `outcomes`, a relative one in `data`; None for the database itself."""
        if outcomes == IN_STORE:
            return None
        return cls(outcomes if outcomes.startswith(OBJECT_STORES) else str(data.absolute() / outcomes))

    def write(self, path: str, content: Any) -> None:
        """Write a file as a whole, durably: it appears under its name when all of it is there."""
        with self._working(path):
            if self.is_local:
                whole = Path(self.place, path)
                _create(whole.parent)
                write_whole(whole, content)
                return
            system, prefix = self._system()
            with system.open_output_stream(f"{prefix}/{path}") as file:
                file.write(content)

    def open(self, path: str) -> Any:
        """Open a file for reading, as Arrow does."""
        with self._working(path):
            system, prefix = self._system()
            try:
                return system.open_input_file(f"{prefix}/{path}")
            except FileNotFoundError:
                raise StoreDown(
                    f"the segment {path} is missing in {self.place}: name the place that has it as "
                    "`outcomes` in the config, or restore it from a backup"
                ) from None

    def delete(self, path: str) -> None:
        """Delete a file, and nothing if it is gone."""
        with self._working(path):
            if self.is_local:
                whole = Path(self.place, path)
                for part in whole.parent.glob(f"{whole.name}*"):  # what a killed process was writing, too
                    part.unlink(missing_ok=True)
                _delete_empty(whole.parent, Path(self.place))
                return
            system, prefix = self._system()
            with suppress(FileNotFoundError):
                system.delete_file(f"{prefix}/{path}")

    @property
    def is_local(self) -> bool:
        """True for a folder of a disk."""
        return not self.place.startswith(OBJECT_STORES)

    def _system(self) -> tuple[Any, str]:
        """The file system, and the folder in it."""
        if self._opened is None:
            from pyarrow.fs import FileSystem, LocalFileSystem

            self._opened = (
                (LocalFileSystem(), self.place) if self.is_local else FileSystem.from_uri(self.place)
            )
        return self._opened

    @contextmanager
    def _working(self, path: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as problem:
            raise StoreDown(f"the segment {path} in {self.place}: {problem}") from problem


def _create(folder: Path) -> None:
    """Create the folder and those above it, durably, for the server alone."""
    if not folder.is_dir():
        _create(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def _delete_empty(folder: Path, top: Path) -> None:
    """Delete the folder and those above it, as far as they are empty."""
    with suppress(OSError):
        while folder != top:
            folder.rmdir()
            folder = folder.parent
