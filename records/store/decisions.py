"""What people decided about canaries, and their requests to promote one: written once, with an audit
entry."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from sqlalchemy import select

from records.store import Act, Audited, Store, tables
from records.store.store import audited
from routing.states import State

Choice = Literal["ship", "dont_ship", "extend"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision on a canary's run. `at` is UTC seconds; `despite`: the misses that it outweighs, as they
    stood (`verdict.decision.decide`), each with its `name`."""

    at: float
    canary: str
    run: int
    decision: Choice
    who: str
    reason: str
    despite: Sequence[Mapping[str, Any]] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the misses that it outweighs."""
        return tuple(dict.fromkeys(str(miss["name"]) for miss in self.despite or ()))


class Decisions:
    """The decisions of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, decision: Decision, state: State, *, minutes: float | None = None) -> None:
        """Store a decision and its audit entry, with the minutes that it took, in one transaction.

        The canary's `state` does not change.
        """
        unchanged = state.document
        words = f"{decision.decision}: {decision.reason}"
        words += f" (despite {', '.join(decision.names)})" if decision.names else ""
        entry = {
            "at": decision.at,
            "canary": decision.canary,
            "action": "decide",
            "who": decision.who,
            "reason": words,
            "before": unchanged,
            "after": unchanged,
            "minutes": minutes,
        }
        with self._store.writing() as connection:
            connection.execute(tables.decisions.insert().values(**asdict(decision)))
            connection.execute(tables.audit.insert().values(**entry))

    def latest(self, canary: str, run: int | None, *, until: float | None = None) -> Decision | None:
        """Return the newest decision on a run, or on any run when `run` is None; `until` this UTC second, if
        given."""
        table = tables.decisions
        query = select(table).where(table.c.canary == canary).order_by(table.c.id.desc()).limit(1)
        if run is not None:
            query = query.where(table.c.run == run)
        if until is not None:
            query = query.where(table.c.at <= until)
        with self._store.asking() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        values = dict(row._mapping)
        del values["id"]
        return Decision(**values)


# Requests to promote a canary, in the audit log: entries of who asked, when, why and in which state.


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
