"""Which stored outcomes are due to become segments, and what the program that rolls is told and answers.
Cheap to ask, and without Arrow."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from records.store.segments.columns import HOUR_S
from records.store.store import Store
from records.store.tables import fresh_outcomes, segments

ROWS = 200_000
"""The outcomes of a segment at most, and with this many fresh ones the oldest are rolled at once."""

GRACE_S = 120.0
"""After its end, an hour may still get outcomes: those of exchanges that lasted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingStanding:
    """`fresh` outcomes are in no segment yet, `segments` are whole. `is_due`: there is something to roll, to
    expire or to delete."""

    fresh: int
    segments: int
    is_due: bool


def standing(store: Store, now: float, before: float) -> RollingStanding:
    """How far rolling is as of UTC second `now`, where outcomes from before UTC second `before` expire."""
    table, fresh = segments.c, fresh_outcomes.c
    whole = table.state == "whole"
    with store.asking() as connection:
        rows, first = connection.execute(select(func.sum(fresh.rows), func.min(fresh.last_at))).one()
        number = connection.execute(select(func.count()).where(whole)).scalar_one()
        expires = connection.execute(select(table.id).where(whole, table.last_at < before).limit(1)).first()
        left = connection.execute(select(table.id).where(unfinished(store)).limit(1)).first()
    rolls = first is not None and (rows >= ROWS or first < _over(now))
    is_due = rolls or expires is not None or left is not None
    return RollingStanding(fresh=int(rows or 0), segments=number, is_due=is_due)


def unfinished(store: Store) -> ColumnElement[bool]:
    """Segments that are not whole, without those in a folder that the config names no more."""
    left = segments.c.state != "whole"
    return left if store.folder is not None else left & segments.c.content.is_not(None)


def newest_fresh(store: Store) -> int:
    """The id of the newest fresh row; 0 without one."""
    with store.asking() as connection:
        return connection.execute(select(func.max(fresh_outcomes.c.id))).scalar() or 0


def oldest_due(store: Store, now: float) -> list[int]:
    """The oldest fresh rows, as many as become segments together, if they are due as of `now`."""
    with store.asking() as connection:
        total = connection.execute(select(func.sum(fresh_outcomes.c.rows))).scalar() or 0
        return _oldest(connection, None if total >= ROWS else fresh_outcomes.c.last_at < _over(now))


def oldest_until(store: Store, newest_id: int) -> list[int]:
    """The oldest fresh rows up to this id, as many as become segments together."""
    with store.asking() as connection:
        return _oldest(connection, fresh_outcomes.c.id <= newest_id)


def _over(now: float) -> float:
    """The end of the last hour that is over."""
    return (now - GRACE_S) // HOUR_S * HOUR_S


def _oldest(connection: Connection, wanted: ColumnElement[bool] | None) -> list[int]:
    table = fresh_outcomes.c
    query = select(table.id, table.rows).order_by(table.last_at, table.id).limit(ROWS)
    return _first(connection.execute(query if wanted is None else query.where(wanted)))


def _first(rows: Iterable[Any]) -> list[int]:
    """The ids of as many rows as a segment takes; of one at least."""
    ids, outcomes = list[int](), 0
    for row in rows:
        if ids and outcomes + row.rows > ROWS:
            break
        ids.append(row.id)
        outcomes += row.rows
    return ids


# What the admin process tells the program that rolls, and what it answers: a JSON object each.


class RollingTurn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn: the store's URL, relative to the folder `data`; its `outcomes`, as in the config; and the UTC
    second `before` which they expire."""

    url: str
    data: str
    outcomes: str
    before: float

    def __repr__(self) -> str:
        return f"RollingTurn(data={self.data!r}, outcomes={self.outcomes!r})"  # the URL may have a password


class RollingResult(msgspec.Struct, frozen=True, kw_only=True):
    """How many outcomes went into how many segments, and how many expired. `problem`: why not all of it ("":
    nothing is left)."""

    rolled: int = 0
    segments: int = 0
    expired: int = 0
    problem: str = ""
