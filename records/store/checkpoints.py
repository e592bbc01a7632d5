"""What the leader has learnt, kept in the store for whoever leads next: one row, replaced whole."""

import zlib
from dataclasses import dataclass

from sqlalchemy import select, update

from records.store.lease import NAME
from records.store.store import Store
from records.tables import checkpoints

_QUICK = 1


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A document (empty: nothing was kept yet) and the term of the leader that kept it."""

    term: int
    document: bytes


class Checkpoints:
    """Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def load(self) -> StoredCheckpoint:
        """What was kept last."""
        with self._store.asking() as connection:
            row = connection.execute(select(checkpoints).where(checkpoints.c.name == NAME)).one()
        return StoredCheckpoint(row.term, zlib.decompress(row.document) if row.document else b"")

    def save(self, kept: StoredCheckpoint, now: float) -> bool:
        """Keep a document; False, with nothing changed, when a leader of a later term has kept one."""
        values = {"term": kept.term, "saved_at": now, "document": zlib.compress(kept.document, _QUICK)}
        with self._store.writing() as connection:
            done = connection.execute(
                update(checkpoints)
                .where(checkpoints.c.name == NAME, checkpoints.c.term <= kept.term)
                .values(**values)
            )
        return done.rowcount == 1
