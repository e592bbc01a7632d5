"""What people decided about canaries, and their requests to promote one: written once, with an audit
entry."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from sqlalchemy import func, select

from records.store import Act, AuditEntry, Store, tables
from records.store.store import log_act
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

    def record(
        self, decision: Decision, state: State, *, minutes: float | None = None, stage: str = ""
    ) -> None:
        """Store a decision and its audit entry, with the minutes that it took, in one transaction.

        The canary's `state` does not change.
        """
        words = f"{decision.decision}: {decision.reason}"
        words += f" (despite {', '.join(decision.names)})" if decision.names else ""
        act = Act(
            at=decision.at, action="decide", who=decision.who, reason=words, minutes=minutes, stage=stage
        )
        with self._store.writing() as connection:
            connection.execute(tables.decisions.insert().values(**asdict(decision)))
            log_act(connection, decision.canary, act, state.document, state.document)

    def latest(self, canary: str, run: int | None, *, until: float | None = None) -> Decision | None:
        """Return the newest decision on a run, or on any run when `run` is None; `until` this UTC second, if
        given."""
        table = tables.decisions
        query = select(table).where(table.c.canary == canary).order_by(table.c.id.desc()).limit(1)
        if run is not None:
            query = query.where(table.c.run == run)
        if until is not None:
            query = query.where(table.c.at <= until)
        found = self._store.found(Decision, query)
        return found[0] if found else None

    def latest_of_runs(self, canaries: Collection[str]) -> dict[tuple[str, int], Decision]:
        """The newest decision on every run of these canaries."""
        table = tables.decisions
        of_runs = select(func.max(table.c.id)).where(table.c.canary.in_(canaries))
        last = of_runs.group_by(table.c.canary, table.c.run)
        found = self._store.found(Decision, select(table).where(table.c.id.in_(last)))
        return {(each.canary, each.run): each for each in found}

    def newest(self) -> dict[str, Decision]:
        """The newest decision on each canary, whichever its run."""
        table = tables.decisions
        last = select(func.max(table.c.id)).group_by(table.c.canary)
        found = self._store.found(Decision, select(table).where(table.c.id.in_(last)))
        return {each.canary: each for each in found}


ASKED = "promote_asked"


class PromoteRequests:
    """The requests to promote a canary, in the audit log of one database. Every method may raise
    StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, canary: str, act: Act, state: State) -> None:
        """Store a request, made in this state. The state does not change."""
        with self._store.writing() as connection:
            log_act(connection, canary, replace(act, action=ASKED), state.document, state.document)

    def since(self, canary: str, at: float) -> Sequence[AuditEntry]:
        """The requests after this UTC second, newest first."""
        table = tables.audit.c
        wanted = (table.canary == canary, table.action == ASKED, table.at > at)
        return self._store.acts(*wanted, newest_first=True)
