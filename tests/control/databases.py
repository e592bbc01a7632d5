"""A database that may go away and come back."""

from pathlib import Path

from sqlalchemy import NullPool, create_engine

from records.store import Store


class Database:
    """SQLite, whose folder goes away and comes back."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._elsewhere = folder / "database", folder / "elsewhere"
        self.folder.mkdir()

    def open(self) -> Store:
        """A store that connects anew for every question, as over a network."""
        return Store(create_engine(f"sqlite:///{self.folder}/canary.db", poolclass=NullPool))

    def go(self) -> None:
        self.folder.rename(self._elsewhere)

    def come_back(self) -> None:
        self._elsewhere.rename(self.folder)
