"""What people decided of canaries, in the store: written once, never changed, with an audit entry each."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from sqlalchemy import select

from records import tables
from records.store import Store
from routing.plan import State

Choice = Literal["ship", "dont_ship", "extend"]
CHOICES: tuple[Choice, ...] = get_args(Choice)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision of a canary's run. `at` is UTC seconds; `compensating` what outweighs a missed bound."""

    at: float
    canary: str
    run: int
    decision: Choice
    who: str
    reason: str
    compensating: str | None = None


class Decisions:
    """The decisions of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, decision: Decision, state: State) -> None:
        """Keep a decision, and say so in the audit log in the same transaction; `state` stays what it is."""
        kept = asdict(state)
        words = f"{decision.decision}: {decision.reason}"
        entry = {
            "at": decision.at,
            "canary": decision.canary,
            "action": "decide",
            "who": decision.who,
            "reason": f"{words} (compensating: {decision.compensating})" if decision.compensating else words,
            "before": kept,
            "after": kept,
        }
        with self._store.writing() as connection:
            connection.execute(tables.decisions.insert().values(**asdict(decision)))
            connection.execute(tables.audit.insert().values(**entry))

    def latest(self, canary: str, run: int | None) -> Decision | None:
        """The newest decision of a run (None: of any)."""
        table = tables.decisions
        query = select(table).where(table.c.canary == canary).order_by(table.c.id.desc()).limit(1)
        if run is not None:
            query = query.where(table.c.run == run)
        with self._store.asking() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        found = dict(row._mapping)
        del found["id"]
        return Decision(**found)
