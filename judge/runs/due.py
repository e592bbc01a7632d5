"""What a judge does of one run: which captures wait for it, which are next, and what it is asked about each.

They are chosen so that a day's number lasts for the rare categories too. A stratum is a category, or one
arm's answers in it, or one arm's sessions. Each has an equal part of the day's number. At a fraction of the
day it has accrued that fraction of its part; what it has accrued and not used is free for the others. What it
has not accrued yet is its own, so a rare stratum finds room when it comes, and by midnight the whole number
may be used.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from sqlalchemy import Select, case, false, func, literal, or_, select

from bench.answers.results import together
from judge.judgements import BudgetSpent, Judgements, session_id, session_of
from judge.model import Calls, Judge, JudgementSubject, answer_subject, pair_subject, session_subject
from judge.terms import JudgedRun, Kind
from records.captures.capture import takes_session
from records.store import Store, tables
from records.store.captures import CaptureStore

_DAY_S = 86400
Stratum = tuple[str, str]
"""(category, arm); the arm is "" for pairs, the category for sessions."""

Progress = Callable[[int, int], None]

NEWEST = 5000
"""What a look every few seconds reads of the newest captures: it takes as long after a month as on a day."""


SILENCE_S = 1800.0
"""A session is over after so long without a request."""

SESSION_DAYS = 2
"""Days of captures in which a look every few seconds finds sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnjudgedExchange:
    """A captured exchange that waits for the judge, or a session by its `session_id`.

    `arm` is "" for a pair. Of a stratum the one with the highest `rank` is first: the newest, by its UTC
    seconds, or a session by a number in [0, 1) that is its own.
    """

    exchange_id: str
    category: str
    arm: Literal["", "baseline", "candidate"]
    rank: float


def unjudged(
    store: Store, canary: str, run: int, kind: Kind, *, each: int, now: float, newest: int | None = None
) -> list[UnjudgedExchange]:
    """The captures of the run without a judgement, the first `each` of a category and arm, the first first;
    of the canary's `newest` captures (None: of all), of SESSION_DAYS (None: of all) for sessions. May raise
    StoreDown.

    A truncated answer is left out, and one that another arm gave in a fallback.
    """
    if kind == "session":
        since = 0.0 if newest is None else now - SESSION_DAYS * _DAY_S
        found = _sessions(store, canary, run, since=since, over_by=now - SILENCE_S)
        ranked = sorted(found, key=lambda one: -one.rank)
        return [
            one for arm in ("baseline", "candidate") for one in [o for o in ranked if o.arm == arm][:each]
        ]
    return _exchanges(store, canary, run, kind, each=each, newest=newest)


def _exchanges(
    store: Store, canary: str, run: int, kind: Kind, *, each: int, newest: int | None
) -> list[UnjudgedExchange]:
    selected = _pairs if kind == "pair" else _answers
    found = selected(canary, run, newest).subquery()
    place = func.row_number().over(partition_by=(found.c.category, found.c.arm), order_by=found.c.at.desc())
    ranked = select(found, place.label("place")).subquery()
    query = select(ranked).where(ranked.c.place <= each).order_by(ranked.c.at.desc(), ranked.c.exchange_id)
    with store.reading() as connection:
        rows = connection.execute(query).all()
    return [
        UnjudgedExchange(
            exchange_id=row.exchange_id,
            category=row.category,
            arm="" if kind == "pair" else row.arm,
            rank=row.at,
        )
        for row in rows
    ]


def _sessions(
    store: Store, canary: str, run: int, *, since: float, over_by: float
) -> Iterator[UnjudgedExchange]:
    """The sessions whose every exchange was drawn, which had one arm and are over, and whose last exchange is
    captured, or failed; none that is judged or being judged."""
    with store.reading() as connection:
        rows = connection.execute(_whole_sessions(canary, run, since, over_by)).all()
    for row in rows:
        if takes_session(row.session, row.rate):
            yield UnjudgedExchange(exchange_id=row.id, category="", arm=row.arm, rank=_own_number(row.id))


def _whole_sessions(canary: str, run: int, since: float, over_by: float) -> Select[*tuple[Any, ...]]:
    known, done, calls = tables.sessions.c, tables.judgements.c, tables.judge_calls.c
    found = _captured_sessions(canary, run, since).subquery()
    of_it = (known.canary == canary) & (known.run == run) & (known.session == found.c.session)
    to_its_end = known.abandoned | (found.c.last_at >= known.last_at)
    judged = select(done.exchange_id).where(done.exchange_id == found.c.id, done.result != "")
    asked = select(calls.exchange_id).where(calls.exchange_id == found.c.id, calls.state == "asked")
    return (
        select(found)
        .join(tables.sessions, of_it)
        .where(known.last_at <= over_by, to_its_end, ~judged.exists(), ~asked.exists())
    )


def _captured_sessions(canary: str, run: int, since: float) -> Select[*tuple[Any, ...]]:
    """The sessions that had one arm, of the captures since then, with the lowest rate at which any was
    drawn."""
    table = tables.captures.c
    arm, rate = table.about["arm"].as_string(), table.about["rate"].as_float()
    real = (table.canary == canary) & (table.copy_of == "") & (table.session != "")
    return (
        select(
            table.session,
            (literal(session_id(canary, run, "")) + table.session).label("id"),
            func.min(arm).label("arm"),
            func.min(rate).label("rate"),
            func.max(table.at).label("last_at"),
        )
        .where(real, table.day >= int(since // _DAY_S), table.about["run"].as_integer() == run)
        .group_by(table.session)
        .having(func.min(arm) == func.max(arm), func.sum(case((table.truncated, 1), else_=0)) == 0)
    )


def _own_number(id: str) -> float:
    """A number in [0, 1) that is always this id's: a draw that both arms share, and every process."""
    return int.from_bytes(blake2b(id.encode(), digest_size=6).digest()) / (1 << 48)


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


def choose(
    waiting: Sequence[UnjudgedExchange],
    begun: Mapping[Stratum, int],
    *,
    number: int,
    of_day: float,
    most: int,
) -> list[UnjudgedExchange]:
    """What is judged next, at most `most`, in this order: the strata with the fewest first, and in each the
    highest rank first.

    `begun` counts the day's judgements so far, by all strata that the run has had (0 for those without one
    today). `number` is the day's, `of_day` the part of the day that is over, in [0, 1]. Strata without room
    now are left out. One that is first seen after the whole number was used waits for the next day.
    """
    queues: dict[Stratum, list[UnjudgedExchange]] = {}
    for each in sorted(waiting, key=lambda each: each.rank):
        queues.setdefault((each.category, each.arm), []).append(each)
    used = {place: begun.get(place, 0) for place in {*begun, *queues}}
    chosen: list[UnjudgedExchange] = []
    while len(chosen) < most:
        order = sorted((place for place, queue in queues.items() if queue), key=_fewest_first(used, queues))
        place = next((each for each in order if _has_room(each, used, number, of_day)), None)
        if place is None:
            break
        chosen.append(queues[place].pop())
        used[place] += 1
    return chosen


def _fewest_first(
    used: Mapping[Stratum, int], queues: Mapping[Stratum, Sequence[UnjudgedExchange]]
) -> Callable[[Stratum], tuple[int, float]]:
    return lambda place: (used[place], -queues[place][-1].rank)


def _has_room(place: Stratum, used: Mapping[Stratum, int], number: int, of_day: float) -> bool:
    """True if every other stratum could still have as many as this one has, as far as its own room goes."""
    left, part = number - sum(used.values()), number / len(used)
    others = (
        min(_own_room(count, part, of_day), max(0, used[place] - count))
        for other, count in used.items()
        if other != place
    )
    return left >= 1 + sum(others)


def _own_room(count: int, part: float, of_day: float) -> int:
    """What a stratum with this count has not used of its part, and not left to the others."""
    return max(0, int(min(part - count, part * (1.0 - of_day))))


@dataclass(frozen=True, slots=True, kw_only=True)
class DueJudgements:
    """What is judged `now`, and why more has to wait for another day or hour ("" if nothing has)."""

    now: list[UnjudgedExchange]
    held: str = ""


def due_now(store: Store, run: JudgedRun, now: float, *, most: int) -> DueJudgements:
    """What is judged next at `now`, UTC seconds. May raise StoreDown."""
    begun = Judgements(store).begun(run.canary, run.run, run.kind, now=now)
    if sum(begun.values()) >= run.number:
        return DueJudgements(now=[], held=f"the day's `{run.kind}s: {run.number}` is used up")
    waiting = unjudged(store, run.canary, run.run, run.kind, each=most, now=now, newest=NEWEST)
    if run.kind == "session" and not waiting and not begun:
        return DueJudgements(now=[], held="no session is whole yet, 30 minutes after its last request")
    chosen = choose(waiting, begun, number=run.number, of_day=now % _DAY_S / _DAY_S, most=most)
    held = len(chosen) < min(len(waiting), most)
    words = f"{run.kind}s wait, because their categories' part of today is used"
    return DueJudgements(now=chosen, held=words if held else "")


def more(store: Store, run: JudgedRun, now: float) -> list[UnjudgedExchange]:
    """`number` more, whatever the day has had: evenly, and the rest from those that have more."""
    waiting = unjudged(store, run.canary, run.run, run.kind, each=run.number, now=now)
    return choose(waiting, {}, number=run.number, of_day=1.0, most=run.number)


def subject_of(store: Store, run: JudgedRun, exchange_id: str, judge: str) -> JudgementSubject | None:
    """The questions about it; None once its texts have expired. May raise StoreDown."""
    captures = CaptureStore(store)
    if run.kind == "session":
        found = captures.session(run.canary, session_of(exchange_id), run.run)
        terms = {"judge": judge, "criteria": run.criteria}
        return session_subject(exchange_id, found, **terms, redact=run.redact) if found else None
    if run.kind == "answer":
        real = captures.one(exchange_id)
        if real is None:
            return None
        return answer_subject(real, judge=judge, criteria=run.criteria, redact=run.redact)
    pair = captures.pair(run.canary, exchange_id)
    if pair is None:
        return None
    return pair_subject(*pair, judge=judge, criteria=run.criteria, redact=run.redact)


@dataclass(slots=True)
class JudgedNow:
    """What came of it. `ids` were judged, `refused` counts those that the provider refused for what they say,
    in its `words`. `stopped` says why the rest was not asked about: "budget", "small budget" (no day has room
    for the call), or the provider's words; "" if all were."""

    ids: list[str] = field(default_factory=list)
    refused: int = 0
    words: str = ""
    stopped: str = ""


async def judge_now(
    judge: Judge, run: JudgedRun, due: Sequence[UnjudgedExchange], store: Store, *, progress: Progress
) -> JudgedNow:
    """Judge these, `at_once` at a time; a failure of the provider ends it. May raise StoreDown."""
    now, waiting, working = JudgedNow(), list(reversed(due)), 0

    async def work() -> None:
        nonlocal working
        working += 1
        while waiting and not now.stopped:
            each = waiting.pop()
            subject = await asyncio.to_thread(subject_of, store, run, each.exchange_id, judge.source.name)
            try:
                calls = await judge.begin(subject) if subject is not None else {}
            except BudgetSpent as problem:
                # What others have in flight is reserved at its highest price: only the last one knows.
                waiting.append(each)
                small = problem.needed_usd > judge.source.daily_budget_usd
                now.stopped = ("small budget" if small else "budget") if working == 1 else now.stopped
                break
            if subject is not None and calls:
                await _ask(judge, subject, calls, now)
                progress(len(now.ids), len(due))
        working -= 1

    await together(work() for _ in range(min(judge.source.at_once, len(due))))
    return now


async def _ask(judge: Judge, subject: JudgementSubject, calls: Calls, now: JudgedNow) -> None:
    ended = await judge.ask(subject, calls)
    if ended == "judged":
        now.ids.append(subject.judgement.exchange_id)
    elif ended == "refused":
        now.refused, now.words = now.refused + 1, judge.problem
    else:
        now.stopped = now.stopped or judge.problem
