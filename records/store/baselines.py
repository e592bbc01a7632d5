"""The rows of standing canaries, and what a trial's state makes of them: a part of `Store.swap`."""

from dataclasses import asdict, replace

import msgspec
from sqlalchemy import Connection, select, update

from records.facts.standing import OVER, PromotedBaseline, Standing, Withdrawal
from records.store import tables
from records.store.database import insert_new
from routing.states import State


def follow(
    connection: Connection, canary: str, before: State | None, after: State, ordered: Withdrawal
) -> bool:
    """Bring the baselines to what became of a trial, in the transaction that stores its state, and let the
    trials leave whose lanes would keep what is no baseline any more. `ordered` says by whom. False if
    somebody else changed them meanwhile."""
    was_promoted = before is not None and before.state == "promoted"
    if not (was_promoted or after.state in OVER):
        return True
    for name, (version, standing) in standings_in(connection).items():
        if canary not in standing.trials:
            continue
        changed = _brought(standing, canary, was_promoted, after, ordered)
        states = {row.canary: row.document["state"] for row in connection.execute(select(tables.states))}
        changed = changed.without(changed.leaving(states), ordered.at)
        return changed == standing or replace_standing(connection, name, version, changed)
    return True


def _brought(
    standing: Standing, canary: str, was_promoted: bool, after: State, ordered: Withdrawal
) -> Standing:
    """With the baseline that the trial's promotion brings, or without the one that it takes back."""
    if after.state == "ended" or was_promoted == (after.state == "promoted"):
        return standing
    if was_promoted:
        return standing.withdrawn(canary, after.run, ordered)
    arm = dict(standing.trials[canary].candidate)
    arm.pop("patience", None)  # nobody answers in a baseline's place
    newest = PromotedBaseline(arm=arm, canary=canary, run=after.run, at=ordered.at, who=ordered.who)
    return replace(standing, history=[*standing.history, newest])


def standings_in(connection: Connection) -> dict[str, tuple[int, Standing]]:
    """Every standing canary with its version."""
    found = connection.execute(select(tables.standing)).all()
    return {row.canary: (row.version, msgspec.convert(row.document, Standing)) for row in found}


def all_in(connection: Connection) -> dict[str, Standing]:
    """Every standing canary that something was begun of."""
    return {name: standing for name, (_, standing) in standings_in(connection).items()}


def replace_standing(connection: Connection, name: str, version: int, standing: Standing) -> bool:
    """Replace a standing canary if its version is still this one (0: none yet). False if it is not."""
    table, values = tables.standing, {"version": version + 1, "document": asdict(standing)}
    if version == 0:
        return insert_new(connection, table, [{"canary": name, **values}]) == 1
    same = (table.c.canary == name) & (table.c.version == version)
    return connection.execute(update(table).where(same).values(**values)).rowcount == 1
