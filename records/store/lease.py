"""The lease in the store: one row that names the leader, changed only by compare-and-set.

`control/fleet/leadership.py` decides when a lease has expired and who takes it; this module has no clock.
"""

from dataclasses import dataclass, replace

from sqlalchemy import select, update

from records.store.store import Store
from records.tables import leases

NAME = "leader"
NOBODY = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """The row as read. `term` rises with every change of the holder. `refreshed_at` is the holder's last
    renewal, UTC seconds by its own clock. The holder of a returned lease is NOBODY."""

    holder: str
    term: int
    refreshed_at: float


class Leases:
    """The lease of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> Lease:
        """Read the lease."""
        with self._store.asking() as connection:
            row = connection.execute(select(leases).where(leases.c.name == NAME)).one()
        return Lease(row.holder, row.term, row.refreshed_at)

    def take(self, holder: str, seen: Lease, now: float) -> Lease | None:
        """Make `holder` the leader if the lease still equals `seen`; None otherwise."""
        return self._replace(seen, Lease(holder, seen.term + 1, now))

    def renew(self, mine: Lease, now: float) -> Lease | None:
        """Renew the lease at UTC second `now`; None when another holder has taken it."""
        return self._replace(mine, replace(mine, refreshed_at=now))

    def give_back(self, mine: Lease) -> None:
        """Return the lease, so that another admin can lead at once."""
        self._replace(mine, replace(mine, holder=NOBODY))

    def _replace(self, before: Lease, after: Lease) -> Lease | None:
        row = leases.c
        same = (row.term == before.term, row.holder == before.holder, row.refreshed_at == before.refreshed_at)
        values = {"holder": after.holder, "term": after.term, "refreshed_at": after.refreshed_at}
        with self._store.writing() as connection:
            done = connection.execute(update(leases).where(row.name == NAME, *same).values(**values))
        return after if done.rowcount == 1 else None
