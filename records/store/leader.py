"""What the leader has in the store: its lease, its checkpoint, who is held, the states, and records that it
missed.

The lease is one row, changed only by compare-and-set. `control/fleet/leadership.py` decides when a lease has
expired and who takes it; this module has no clock.
"""

import zlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter

from msgspec import structs
from sqlalchemy import Row, select, update

from records.outcome import Feedback, Outcome
from records.store.segments.columns import FEEDBACK_COLUMNS
from records.store.segments.sources import just_ended
from records.store.store import Store
from records.store.tables import checkpoints, feedback, leases
from routing.states import States, states_of

NAME, HELD, COURSES = "leader", "held", "courses"
NOBODY = ""


@dataclass(frozen=True, slots=True)
class LeaderLease:
    """The row as read. `term` rises with every change of the holder. `refreshed_at` is the holder's last
    renewal, UTC seconds by its own clock. The holder of a returned lease is NOBODY."""

    holder: str
    term: int
    refreshed_at: float


class LeaderLeases:
    """The lease of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self) -> LeaderLease:
        """Read the lease."""
        with self._store.asking() as connection:
            row = connection.execute(select(leases).where(leases.c.name == NAME)).one()
        return LeaderLease(row.holder, row.term, row.refreshed_at)

    def take(self, holder: str, seen: LeaderLease, now: float) -> LeaderLease | None:
        """Make `holder` the leader if the lease still equals `seen`; None otherwise."""
        return self._replace(seen, LeaderLease(holder, seen.term + 1, now))

    def renew(self, mine: LeaderLease, now: float) -> LeaderLease | None:
        """Renew the lease at UTC second `now`; None when another holder has taken it."""
        return self._replace(mine, replace(mine, refreshed_at=now))

    def give_back(self, mine: LeaderLease) -> None:
        """Return the lease, so that another admin can lead at once."""
        self._replace(mine, replace(mine, holder=NOBODY))

    def _replace(self, before: LeaderLease, after: LeaderLease) -> LeaderLease | None:
        row = leases.c
        same = (row.term == before.term, row.holder == before.holder, row.refreshed_at == before.refreshed_at)
        values = {"holder": after.holder, "term": after.term, "refreshed_at": after.refreshed_at}
        with self._store.writing() as connection:
            done = connection.execute(update(leases).where(row.name == NAME, *same).values(**values))
        return after if done.rowcount == 1 else None


_QUICK = 1


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A document, empty before the first save, and the term of the leader that saved it."""

    term: int
    document: bytes


class Checkpoints:
    """A checkpoint of one database: what the leader knows, with the name HELD the units that it holds, with
    COURSES what its charts show.
    Every method may raise StoreDown."""

    def __init__(self, store: Store, name: str = NAME) -> None:
        self._store, self._name = store, name

    def load(self) -> StoredCheckpoint:
        """Return the last saved checkpoint."""
        with self._store.asking() as connection:
            row = connection.execute(select(checkpoints).where(checkpoints.c.name == self._name)).one()
        return StoredCheckpoint(row.term, zlib.decompress(row.document) if row.document else b"")

    def save(self, checkpoint: StoredCheckpoint, now: float) -> bool:
        """Save a checkpoint. False, with nothing changed, when a leader of a later term has saved one."""
        document = zlib.compress(checkpoint.document, _QUICK)
        values = {"term": checkpoint.term, "saved_at": now, "document": document}
        with self._store.writing() as connection:
            done = connection.execute(
                update(checkpoints)
                .where(checkpoints.c.name == self._name, checkpoints.c.term <= checkpoint.term)
                .values(**values)
            )
        return done.rowcount == 1


def states_in(store: Store, leases: LeaderLeases) -> States:
    """Read the states in force from the store, refreshed when the leader last renewed. May raise
    StoreDown."""
    refreshed_at = leases.read().refreshed_at
    states = store.states()
    return states_of({name: (found.version, found.state) for name, found in states.items()}, refreshed_at)


@dataclass(frozen=True, slots=True)
class MissedRecords:
    """Outcomes by their end and feedback by its time, each in order. Monotonic times are 0."""

    outcomes: Sequence[Outcome]
    feedback: Sequence[Feedback]


def records_since(store: Store, canaries: Collection[str], moment: float) -> MissedRecords:
    """Return these canaries' records after UTC second `moment`. May raise StoreDown.

    Feedback is selected by its time, outcomes by their end, on the clocks of the machines that recorded them.
    Callers therefore ask for an earlier moment than necessary and skip known records.
    """
    values = feedback.c
    of_feedback = (
        select(*(values[name] for name in FEEDBACK_COLUMNS))
        .where(values.at > moment, values.canary.in_(canaries))
        .order_by(values.at)
    )
    with store.reading() as connection:
        found = [
            structs.replace(each, mono=0.0)
            for each in just_ended(connection, moment)
            if each.canary in canaries
        ]
        return MissedRecords(
            sorted(found, key=attrgetter("ended_at")),
            [_feedback(row) for row in connection.execute(of_feedback)],
        )


def _feedback(row: Row) -> Feedback:  # type: ignore[type-arg]
    return Feedback(**{name: getattr(row, name) for name in FEEDBACK_COLUMNS}, mono=0.0)
