"""Requests to promote a canary, in the audit log: entries of who asked, when, why and in which state."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select

from records import tables
from records.store import Act, Audited, Store
from records.store.store import audited
from routing.plan import State

ASKED = "promote_asked"


class PromoteRequests:
    """The requests of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, canary: str, act: Act, state: State) -> None:
        """Store a request, made in this state. The state does not change."""
        unchanged = state.document
        entry = {**asdict(act), "canary": canary, "action": ASKED, "before": unchanged, "after": unchanged}
        with self._store.writing() as connection:
            connection.execute(tables.audit.insert().values(**entry))

    def since(self, canary: str, at: float) -> Sequence[Audited]:
        """The requests after this UTC second, newest first."""
        table = tables.audit
        query = select(table).where(table.c.canary == canary, table.c.action == ASKED, table.c.at > at)
        with self._store.asking() as connection:
            return [audited(row) for row in connection.execute(query.order_by(table.c.id.desc()))]
