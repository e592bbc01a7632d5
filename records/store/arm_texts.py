"""The texts of arms in the store: those of each canary's definition, which the start fixes.

canary waits       the texts of its newest definition (`keep`)
it has started     those of its definition, whatever its files say now (`started`)
its end is as old as records may be, and it is no baseline of a standing canary: none (`expire`)

A standing canary has those of its trials' and baselines' arms too (`records.facts.standing`). `expire`
deletes them where the trial left, or the baseline was taken back, as long ago.
"""

from collections.abc import Mapping

from sqlalchemy import Connection, delete, select, update

from records.facts.arm_texts import KeptTexts
from records.store import tables
from records.store.baselines import replace_standing, standings_in
from records.store.database import insert_new
from records.store.store import Store, states_in


class ArmTextsInStore:
    """The texts of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def keep(self, canary: str, definition: str, texts: Mapping[str, str]) -> None:
        """Store the texts, by file, of a canary that has not started with others."""
        with self._store.writing() as connection:
            table, values = tables.arm_texts, {"definition": definition, "texts": dict(texts)}
            known = connection.execute(select(table.c.definition).where(table.c.canary == canary)).scalar()
            if known == definition:
                return
            if known is None:
                insert_new(connection, table, [{"canary": canary, **values}])
                return
            state = states_in(connection).get(canary)
            if state is None or state.state.state == "waiting":
                connection.execute(update(table).where(table.c.canary == canary).values(**values))

    def expire(self, before: float) -> int:
        """Delete the texts of canaries that ended before this UTC second, which nobody can start again, but
        for those whose candidate is a standing baseline; return of how many. What changed meanwhile is
        looked at the next time."""
        with self._store.writing() as connection:
            table, states = tables.arm_texts, states_in(connection)
            standings = standings_in(connection)
            for name, (version, each) in standings.items():
                if (after := each.forgetting(before)) != each:
                    replace_standing(connection, name, version, after)
            ended = {
                name
                for name, known in states.items()
                if known.state.state == "ended" and (known.state.changed_at or 0.0) < before
            }
            over = ended.difference(*(each.kept for _, each in standings.values()))
            return connection.execute(delete(table).where(table.c.canary.in_(over))).rowcount if over else 0

    def definitions(self) -> frozenset[tuple[str, str]]:
        """The canaries that have started with texts of their own, with their definitions."""
        with self._store.asking() as connection:
            return frozenset(_begun(connection))

    def started(self) -> KeptTexts:
        """The texts of the canaries that have started."""
        with self._store.asking() as connection:
            return started_in(connection)


def started_in(connection: Connection) -> KeptTexts:
    """The texts of the canaries that have started."""
    begun = [name for name, _ in _begun(connection)]
    table = tables.arm_texts
    rows = connection.execute(select(table).where(table.c.canary.in_(begun))).all() if begun else ()
    return KeptTexts(by_canary={row.canary: row.texts for row in rows})


def _begun(connection: Connection) -> list[tuple[str, str]]:
    """The canaries whose texts are those of the definition with which they started, and that."""
    table, states = tables.arm_texts.c, tables.states.c
    same = select(table.canary, table.definition, states.document).where(table.canary == states.canary)
    return [
        (name, definition)
        for name, definition, state in connection.execute(same)
        if state["state"] != "waiting" and state["definition"] == definition
    ]
