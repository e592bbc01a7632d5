"""Canaries that have left the config: how each ended, by the audit log, and what it tried."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import select

from records import tables
from records.releases import Release, Releases
from records.store import Act, Audited, Store
from records.store.store import audited
from routing.plan import State, StateName

Ending = Literal["rolled_back", "promoted", "ended"]

_ENDED_BY: Mapping[Ending, str] = {"rolled_back": "rollback", "promoted": "promote", "ended": "end"}
"""The action in the audit log that brought each ending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCanary:
    """One canary that has left the config.

    `by` is who brought the ending of the last run, when and why; None if the audit log does not know.
    `was` is the canary's last state before it ended, at this share of the units. `left_at` (UTC seconds) is
    when it ended, None while it has not. `release` is what its last run tried; None if unknown.
    `rolled_back` are the runs that were rolled back.
    """

    name: str
    run: int
    ending: Ending
    by: Act | None
    was: StateName
    share: float
    left_at: float | None
    release: Release | None = None
    rolled_back: Sequence[int] = field(default=())


def past_canaries(store: Store, states: Mapping[str, State]) -> list[PastCanary]:
    """How the canaries with these states ended, in the same order. May raise StoreDown."""
    logged: dict[str, list[Audited]] = {name: [] for name in states}
    for entry in _endings(store, states):
        logged[entry.canary].append(entry)
    tried = _releases(store, states)
    return [past_of(name, state, logged[name], tried.get(name)) for name, state in states.items()]


def past_of(name: str, state: State, logged: Sequence[Audited], release: Release | None = None) -> PastCanary:
    """How a canary ended, by its present state and its entries in the audit log, oldest first."""
    end = next((entry for entry in reversed(logged) if entry.act.action == "end"), None)
    last = end.before if end is not None and end.before is not None and state.state == "ended" else state
    ending: Ending = last.state if last.state in ("rolled_back", "promoted") else "ended"
    brought = (entry for entry in logged if entry.act.action == _ENDED_BY[ending])
    runs = [entry.after.run for entry in logged if entry.act.action == "rollback"]
    return PastCanary(
        name=name,
        run=last.run,
        ending=ending,
        by=next((entry.act for entry in brought if entry.after.run == last.run), None),
        was=last.state,
        share=last.effective_share,
        left_at=state.changed_at if state.state == "ended" else None,
        release=release,
        rolled_back=tuple(dict.fromkeys(runs)),
    )


def _endings(store: Store, names: Iterable[str]) -> list[Audited]:
    table = tables.audit
    chosen = table.c.canary.in_(list(names)) & table.c.action.in_(_ENDED_BY.values())
    with store.asking() as connection:
        return [audited(row) for row in connection.execute(select(table).where(chosen).order_by(table.c.id))]


def _releases(store: Store, states: Mapping[str, State]) -> dict[str, Release]:
    """The release of each canary's present run, where it is known."""
    kept = Releases(store)
    releases = {release.id: release for release in kept.all()}
    return {
        run.canary: releases[run.release]
        for run in kept.runs()
        if run.canary in states and run.run == states[run.canary].run
    }
