"""The leader's checkpoint in the store, for the next leader: one row, replaced as a whole."""

import zlib
from dataclasses import dataclass

from sqlalchemy import select, update

from records.store.lease import NAME
from records.store.store import Store
from records.tables import checkpoints

_QUICK = 1


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A document, empty before the first save, and the term of the leader that saved it."""

    term: int
    document: bytes


class Checkpoints:
    """The checkpoint of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> StoredCheckpoint:
        """Return the last saved checkpoint."""
        with self._store.asking() as connection:
            row = connection.execute(select(checkpoints).where(checkpoints.c.name == NAME)).one()
        return StoredCheckpoint(row.term, zlib.decompress(row.document) if row.document else b"")

    def save(self, checkpoint: StoredCheckpoint, now: float) -> bool:
        """Save a checkpoint. False, with nothing changed, when a leader of a later term has saved one."""
        document = zlib.compress(checkpoint.document, _QUICK)
        values = {"term": checkpoint.term, "saved_at": now, "document": document}
        with self._store.writing() as connection:
            done = connection.execute(
                update(checkpoints)
                .where(checkpoints.c.name == NAME, checkpoints.c.term <= checkpoint.term)
                .values(**values)
            )
        return done.rowcount == 1
