"""What a judge may still look at: captured pairs and answers without a judgement, in the store."""

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Select, false, func, or_, select

from records import tables
from records.judgements import Kind
from records.store import Store

NEWEST = 5000
"""What a look every few seconds reads of the newest captures: it takes as long after a month as on a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unjudged:
    """A captured exchange that waits for the judge. `at` is UTC seconds; `arm` is "" for a pair."""

    exchange_id: str
    category: str
    arm: Literal["", "baseline", "candidate"]
    at: float


def unjudged(
    store: Store, canary: str, run: int, kind: Kind, *, each: int, newest: int | None = None
) -> list[Unjudged]:
    """The newest captures of the run without a judgement, at most `each` of a category and arm, newest first;
    of the canary's `newest` captures, or of all. May raise StoreDown.

    A truncated answer is left out, and one that another arm gave in a fallback.
    """
    selected = _pairs if kind == "pair" else _answers
    found = selected(canary, run, newest).subquery()
    place = func.row_number().over(partition_by=(found.c.category, found.c.arm), order_by=found.c.at.desc())
    ranked = select(found, place.label("place")).subquery()
    query = select(ranked).where(ranked.c.place <= each).order_by(ranked.c.at.desc(), ranked.c.exchange_id)
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return [
        Unjudged(
            exchange_id=row.exchange_id,
            category=row.category,
            arm="" if kind == "pair" else row.arm,
            at=row.at,
        )
        for row in rows
    ]


def _answers(canary: str, run: int, most: int | None) -> Select[*tuple[Any, ...]]:
    """The newest whole answers of real exchanges that are not judged and not being judged."""
    table, done, calls = tables.captures, tables.judgements.c, tables.judge_calls.c
    newest = (
        select(table.c.exchange_id, table.c.category, table.c.at, table.c.truncated, table.c.about)
        .where(table.c.canary == canary, table.c.copy_of == "")
        .order_by(table.c.day.desc(), table.c.at.desc())
        .limit(most)
        .subquery()
    )
    real, about = newest.c, newest.c.about
    arm, served_by = about["arm"].as_string(), about["served_by"].as_string()
    judged = select(done.exchange_id).where(done.exchange_id == real.exchange_id, done.result != "")
    asked = select(calls.exchange_id).where(calls.exchange_id == real.exchange_id, calls.state == "asked")
    return select(real.exchange_id, real.category, real.at, arm.label("arm")).where(
        real.truncated == false(),
        about["run"].as_integer() == run,
        or_(served_by.is_(None), served_by == arm),
        ~judged.exists(),
        ~asked.exists(),
    )


def _pairs(canary: str, run: int, most: int | None) -> Select[*tuple[Any, ...]]:
    """The same of the baseline's answers whose request a copy repeats."""
    real, copies = _answers(canary, run, most).subquery(), tables.captures.alias("copies")
    copied = select(copies.c.copy_of).where(
        copies.c.copy_of == real.c.exchange_id, copies.c.truncated == false()
    )
    return select(real).where(real.c.arm == "baseline", copied.exists())
