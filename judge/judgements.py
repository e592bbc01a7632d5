"""What a judge said of captured answers, and what its calls cost, in the store.

A call is noted, with the highest price that it can have, before it is made. One whose answer was lost counts
as paid at that price and is not made again; one that the provider refused costs nothing and may be made
again.

Of a run the judgements of the newest judge with its newest words count: another judge's taste, or other
words, would be another metric.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, Subquery, case, func, insert, select, text, update

from judge.terms import Kind
from records.store import Store, tables
from records.store.captures import Better, Label

Result = Literal["", "candidate", "baseline", "tie", "mark", "no_mark"]
"""The better answer's arm; "" while calls are to come, "mark" for an answer or a session that has one."""

CallState = Literal["asked", "answered", "failed", "lost"]

FIRST, SECOND = 1, 2
"""The turns of a pair: the baseline's answer stands first, then the candidate's. Others have one turn."""

DONE, NOT_DONE = "yes", "no"
"""The second word of what is said of a session: whether its task was done."""

LOST_AFTER_S = 900.0
"""A call without an answer for so long lost it with its process: no call takes this long."""

_DAY_S = 86400
_ROUNDING = 1e-9
_LOCK = 7_016_000_018
"""PostgreSQL's advisory lock under which calls are noted, so that two processes keep one budget."""


class BudgetSpent(Exception):
    """The day's budget has no room for the highest price of these calls, `needed_usd`."""

    def __init__(self, needed_usd: float) -> None:
        super().__init__(needed_usd)
        self.needed_usd = needed_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCall:
    """One question to the judge. `said` is "A", "B", "SAME", a mark from "1" to "5", of a session "4 yes" or
    "4 no", or "" without a readable one. `cost_usd` is None until it is known; then `reserved_usd` counts.
    The reason is redacted, and "" once it has expired. `request_id` is the provider's."""

    turn: int
    state: CallState
    said: str
    reason: str
    reserved_usd: float
    cost_usd: float | None
    request_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedExchange:
    """A pair, an answer or a session that the judge looked at.

    `exchange_id` is the real exchange's, also of a pair, and `session_id` of a session; `at` is its time and
    `asked_at` the judge's, UTC seconds. `unit` is a hash. `arm` is that of a single answer or a session, ""
    for a pair. `judge`, `baseline` and `candidate` are `provider/model`, "" without an answer of that arm;
    the lengths are characters. `mark` is from 1 to 5. `done`: the session's task was done, None for others.
    """

    exchange_id: str
    canary: str
    run: int
    kind: Kind
    arm: Literal["", "baseline", "candidate"] = ""
    unit: str
    category: str
    at: float
    asked_at: float
    judge: str
    words_sha256: str
    baseline: str = ""
    candidate: str = ""
    baseline_length: int | None = None
    candidate_length: int | None = None
    result: Result = ""
    mark: float | None = None
    done: bool | None = None
    calls: tuple[JudgeCall, ...] = ()

    @property
    def preference(self) -> float | None:
        """1 for a pair that the candidate won, .5 for a tie, 0 for one that it lost; None without these."""
        return {"candidate": 1.0, "tie": 0.5, "baseline": 0.0}.get(self.result)

    @property
    def order_decided(self) -> bool | None:
        """As `order_decided` has it for a pair; None for an answer."""
        return order_decided({call.turn: call.said for call in self.calls}) if self.kind == "pair" else None

    @property
    def cost_usd(self) -> float:
        """What its calls cost, or may have cost."""
        return sum(call.reserved_usd if call.cost_usd is None else call.cost_usd for call in self.calls)


def session_id(canary: str, run: int, session: str) -> str:
    """What stands for an exchange's id where a session of a run is judged; `session` is its hash."""
    return f"{canary}/{run}/{session}"


def session_of(id: str) -> str:
    """The session's hash in its `session_id`."""
    return id.rpartition("/")[2]


def place(exchange_id: str) -> float:
    """A pair's place, from 0 to 1, in the random order in which people label, which its id decides."""
    return int.from_bytes(hashlib.sha256(exchange_id.encode()).digest()[:6], "big") / 2**48


class Judgements:
    """The judgements of one database. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(
        self,
        judged: JudgedExchange,
        reserves: Mapping[int, float],
        *,
        budget_usd: float,
        expires_at: float,
    ) -> Mapping[int, int]:
        """Note the calls that are to be made at `judged.asked_at`, and return their ids by turn. `reserves`
        has each turn's highest price.

        Turns that were answered, and those in flight, are left out, so nothing is left of what is judged. A
        judgement of which every call was refused is of the judge, the words and the time of this one.
        Raises BudgetSpent, and then nothing is noted.
        """
        day = int(judged.asked_at // _DAY_S)
        with self._store.writing() as connection:
            _lock(connection)
            _lose(connection, judged.asked_at - LOST_AFTER_S)
            result = _result_of(connection, judged.exchange_id)
            before = _calls(connection, [judged.exchange_id]).get(judged.exchange_id, {})
            turns = [turn for turn in reserves if turn not in before or before[turn].state == "failed"]
            if result or not turns:
                return {}
            wanted = sum(reserves[turn] for turn in turns)
            if _spent(connection, day) + wanted > budget_usd + _ROUNDING:
                raise BudgetSpent(wanted)
            _note(connection, judged, is_known=result is not None, anew=len(turns) == len(reserves))
            noted = {
                "exchange_id": judged.exchange_id,
                "day": day,
                "at": judged.asked_at,
                "expires_at": expires_at,
                "state": "asked",
                "said": "",
                "reason": "",
                "request_id": "",
            }
            made = insert(tables.judge_calls).returning(tables.judge_calls.c.id)
            return {
                turn: connection.execute(
                    made.values(**noted, turn=turn, reserved_usd=reserves[turn])
                ).scalar_one()
                for turn in turns
            }

    def answered(
        self, call: int, *, said: str, reason: str, cost_usd: float | None, request_id: str = ""
    ) -> None:
        """Store a call's answer, "" if it is unreadable. A cost that is not known (None) is the reserved."""
        self._end(call, state="answered", said=said, reason=reason, cost_usd=cost_usd, request_id=request_id)

    def failed(self, call: int, request_id: str = "") -> None:
        """The provider refused this call: it cost nothing, and may be made again."""
        self._end(call, state="failed", said="", reason="", cost_usd=0.0, request_id=request_id)

    def lost(self, call: int, request_id: str = "") -> None:
        """The call may have been paid, and its answer is lost: it is not made again."""
        self._end(call, state="lost", said="", reason="", cost_usd=None, request_id=request_id)

    def spent(self, now: float) -> float:
        """The dollars of this UTC day: costs, and the highest prices of the calls whose cost is not known."""
        with self._store.asking() as connection:
            return _spent(connection, int(now // _DAY_S))

    def begun(self, canary: str, run: int, kind: Kind, *, now: float) -> Mapping[tuple[str, str], int]:
        """How many judgements of the run were begun on this UTC day, by category and arm: 0 for those of
        earlier days only."""
        table, day = tables.judgements.c, now // _DAY_S * _DAY_S
        today = func.sum(case((table.asked_at >= day, 1), else_=0))
        query = (
            select(table.category, table.arm, today)
            .where(table.canary == canary, table.run == run, table.kind == kind)
            .group_by(table.category, table.arm)
        )
        with self._store.reading() as connection:
            return {(row.category, row.arm): int(row[2]) for row in connection.execute(query)}

    def give_up(self, now: float) -> None:
        """End what waits for an answer that was lost with its process."""
        with self._store.writing() as connection:
            _lose(connection, now - LOST_AFTER_S)

    def of(self, canary: str, run: int | None = None) -> list[JudgedExchange]:
        """Every judgement of a canary, or of one of its runs, in the order of the exchanges."""
        table = tables.judgements
        query = select(table).where(table.c.canary == canary).order_by(table.c.at, table.c.exchange_id)
        if run is not None:
            query = query.where(table.c.run == run)
        with self._store.reading() as connection:
            rows = connection.execute(query).all()
            calls = _calls(connection, [row.exchange_id for row in rows])
        return [_judgement(row, calls.get(row.exchange_id, {})) for row in rows]

    def about(self, exchange_ids: Sequence[str]) -> Mapping[str, JudgedExchange]:
        """The judgements of these exchanges, by exchange id."""
        table = tables.judgements
        with self._store.reading() as connection:
            rows = connection.execute(select(table).where(table.c.exchange_id.in_(exchange_ids))).all()
            calls = _calls(connection, [row.exchange_id for row in rows])
        return {row.exchange_id: _judgement(row, calls.get(row.exchange_id, {})) for row in rows}

    def ended(self, canary: str, run: int, kind: Kind, *, since: float) -> int:
        """How many judgements of the run that were begun since that moment, UTC seconds, have a result."""
        table = tables.judgements.c
        of_run = (table.canary == canary) & (table.run == run) & (table.kind == kind)
        found = of_run & (table.asked_at >= since) & (table.result != "")
        with self._store.reading() as connection:
            return connection.execute(select(func.count()).where(found)).scalar_one()

    def _end(self, call: int, *, state: CallState, **values: str | float | None) -> None:
        table = tables.judge_calls
        changed = (
            update(table)
            .where(table.c.id == call)
            .values(state=state, **values)
            .returning(table.c.exchange_id)
        )
        with self._store.writing() as connection:
            _decide(connection, connection.execute(changed).scalar_one())


def result_of(kind: Kind, said: Mapping[int, str]) -> Result:
    """The result of all turns' words. The same answer both times wins; unreadable words leave no mark."""
    if not all(said.values()):
        return "no_mark"
    if kind != "pair":
        return "mark"
    first = {"A": "baseline", "B": "candidate"}.get(said[FIRST])
    second = {"A": "candidate", "B": "baseline"}.get(said[SECOND])
    if first is None or first != second:
        return "tie"
    return "candidate" if first == "candidate" else "baseline"


def order_decided(said: Mapping[int, str]) -> bool | None:
    """True for the first answer both times, or the second, of the words by turn; None without both."""
    first, second = said.get(FIRST, ""), said.get(SECOND, "")
    return first == second != "SAME" if first and second else None


def longer_won(result: Result, candidate: int | None, baseline: int | None) -> bool | None:
    """Whether the longer answer won, by both lengths; None for a pair that none won, or of one length."""
    won = result in ("candidate", "baseline")
    if not won or candidate is None or baseline is None or candidate == baseline:
        return None
    return (candidate > baseline) == (result == "candidate")


def _decide(connection: Connection, exchange_id: str) -> None:
    """Set the judgement's result once no call of it is to come. Its row is locked: of two calls that end at
    the same moment, the later one sees both."""
    table = tables.judgements
    locked = select(table.c.kind).where(table.c.exchange_id == exchange_id).with_for_update()
    kind: Kind | None = connection.execute(locked).scalar()
    if kind is None:
        return  # it has expired
    calls = _calls(connection, [exchange_id])[exchange_id]
    turns = (FIRST, SECOND) if kind == "pair" else (FIRST,)
    lost = any(call.state == "lost" for call in calls.values())
    if not lost and not all(turn in calls and calls[turn].state == "answered" for turn in turns):
        return
    said = {turn: calls[turn].said if turn in calls else "" for turn in turns}
    result = result_of(kind, said)
    mark, _, task = said[FIRST].partition(" ") if result == "mark" else ("", "", "")
    found = {"mark": float(mark) if mark else None, "done": task == DONE if task else None}
    connection.execute(update(table).where(table.c.exchange_id == exchange_id).values(result=result, **found))


def _note(connection: Connection, judged: JudgedExchange, *, is_known: bool, anew: bool) -> None:
    """Store what is judged; if it `is_known`, again only where it is asked about `anew`."""
    table = tables.judgements
    if not is_known:
        connection.execute(insert(table).values(**_values(judged)))
    elif anew:
        of_this = table.c.exchange_id == judged.exchange_id
        connection.execute(update(table).where(of_this).values(**_values(judged)))


def _lose(connection: Connection, before: float) -> None:
    """Give up the calls that were made before this moment and never ended."""
    table = tables.judge_calls
    late = (table.c.state == "asked") & (table.c.at < before)
    given_up = update(table).where(late).values(state="lost").returning(table.c.exchange_id)
    for exchange_id in set(connection.execute(given_up).scalars()):
        _decide(connection, exchange_id)


def _lock(connection: Connection) -> None:
    """SQLite's writers wait for each other anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _spent(connection: Connection, day: int) -> float:
    table = tables.judge_calls.c
    cost = func.coalesce(table.cost_usd, table.reserved_usd)
    return float(connection.execute(select(func.sum(cost)).where(table.day == day)).scalar() or 0.0)


def _result_of(connection: Connection, exchange_id: str) -> str | None:
    table = tables.judgements.c
    return connection.execute(select(table.result).where(table.exchange_id == exchange_id)).scalar()


_AT_ONCE = 500


def _calls(connection: Connection, exchange_ids: Sequence[str]) -> dict[str, dict[int, JudgeCall]]:
    """Each exchange's newest call of each turn. A call that failed before it cost nothing."""
    table, found = tables.judge_calls, dict[str, dict[int, JudgeCall]]()
    for begin in range(0, len(exchange_ids), _AT_ONCE):
        chunk = exchange_ids[begin : begin + _AT_ONCE]
        query = select(table).where(table.c.exchange_id.in_(chunk)).order_by(table.c.turn, table.c.id)
        for row in connection.execute(query):
            found.setdefault(row.exchange_id, {})[row.turn] = _call(row)
    return found


def _call(row: Row[Any]) -> JudgeCall:
    return JudgeCall(**{each.name: getattr(row, each.name) for each in fields(JudgeCall)})


def _values(judged: JudgedExchange) -> dict[str, Any]:
    return {each.name: getattr(judged, each.name) for each in fields(JudgedExchange) if each.name != "calls"}


def _judgement(row: Row[Any], calls: Mapping[int, JudgeCall]) -> JudgedExchange:
    known = {each.name: getattr(row, each.name) for each in fields(JudgedExchange) if each.name != "calls"}
    return JudgedExchange(**known, calls=tuple(calls[turn] for turn in sorted(calls)))


# Which of a run's judgements count: another judge's taste, or other words, would be another metric.


def counted(*runs: ColumnElement[bool]) -> Subquery:
    """The judgements with a result that the newest judge made with its newest words, of each canary, run and
    kind that `runs` selects."""
    table = tables.judgements.c
    of_each = (table.canary, table.run, table.kind)
    newest_first = (table.asked_at.desc(), table.at, table.exchange_id)

    def newest(column: ColumnElement[str]) -> ColumnElement[str]:
        return func.first_value(column).over(partition_by=of_each, order_by=newest_first)

    ended = (
        select(
            *table,
            newest(table.judge).label("newest_judge"),
            newest(table.words_sha256).label("newest_words"),
        )
        .where(table.result != "", *runs)
        .subquery()
    )
    found = ended.c
    same = (found.judge == found.newest_judge) & (found.words_sha256 == found.newest_words)
    return select(ended).where(same).subquery()


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedPairs:
    """The pairs that have a winner or are ties, by exchange id; `by_order` are the ties of which the judge
    took the first answer twice, or the second."""

    better: Mapping[str, Better]
    by_order: Collection[str] = frozenset()

    def disputed(self, exchange_id: str, labels: Iterable[Label]) -> bool:
        """Whether the judge and one of these labels differ on a pair, or its order decided."""
        better = self.better.get(exchange_id)
        return exchange_id in self.by_order or (
            better is not None and any(each.better not in (None, better) for each in labels)
        )


def judged_pairs(store: Store, canary: str, run: int) -> JudgedPairs:
    """The pairs that the newest judge marked with its newest words in a run of a canary: those that the
    report counts. Raises StoreDown."""
    table, first, second = tables.judgements.c, tables.judge_calls.alias(), tables.judge_calls.alias()
    pairs = counted(table.canary == canary, table.run == run, table.kind == "pair").c
    marked = select(pairs.exchange_id, pairs.result).where(pairs.result.in_(("candidate", "baseline", "tie")))
    same = (
        select(pairs.exchange_id)
        .join(first, (first.c.exchange_id == pairs.exchange_id) & (first.c.turn == FIRST))
        .join(second, (second.c.exchange_id == pairs.exchange_id) & (second.c.turn == SECOND))
        .where(first.c.said == second.c.said, first.c.said.in_(("A", "B")))
    )
    with store.asking() as connection:
        return JudgedPairs(
            better={row.exchange_id: row.result for row in connection.execute(marked)},
            by_order=frozenset(connection.execute(same).scalars()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedRating:
    """A user's value of a metric about what the judge marked, by its `exchange_id`, given at UTC second
    `at`."""

    exchange_id: str
    metric: str
    value: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunJudgements:
    """The judgements of one run in the order of their exchanges, people's labels in the order in which they
    were given, and users' `ratings` of what it marked."""

    exchanges: Sequence[JudgedExchange] = ()
    labels: Sequence[Label] = ()
    ratings: Sequence[MarkedRating] = ()

    def until(self, moment: float) -> "RunJudgements":
        """What was asked, labelled and rated before this moment, UTC seconds."""
        return RunJudgements(
            exchanges=tuple(each for each in self.exchanges if each.asked_at < moment),
            labels=tuple(each for each in self.labels if each.at < moment),
            ratings=tuple(each for each in self.ratings if each.at < moment),
        )

    def without(self, units: Iterable[str]) -> "RunJudgements":
        """What was said of answers to other units than these, and what people said of those."""
        out = frozenset(units)
        exchanges = tuple(each for each in self.exchanges if each.unit not in out)
        kept = {each.exchange_id for each in exchanges}
        return RunJudgements(
            exchanges=exchanges,
            labels=tuple(each for each in self.labels if each.exchange_id in kept),
            ratings=tuple(each for each in self.ratings if each.exchange_id in kept),
        )

    def of(self, kind: Kind) -> list[JudgedExchange]:
        """The pairs, answers or sessions that have their result from the newest judge with its newest words:
        another judge's taste, or other words, would be another metric."""
        newest = self._newest(kind)
        return [each for each in self._ended(kind) if newest is not None and _asked(each) == _asked(newest)]

    def left_out(self) -> int:
        """The pairs that have their result from an earlier judge, or from the same with other words."""
        return len(self._ended("pair")) - len(self.of("pair"))

    def shown(self) -> JudgedExchange | None:
        """One of the judgements that are shown: the newest pair that has its result, else such an answer or
        session; while none has one, the newest that was asked for. None without any."""
        asked = max(self.exchanges, key=_moment, default=None)
        return self._newest("pair") or self._newest("answer") or self._newest("session") or asked

    def _newest(self, kind: Kind) -> JudgedExchange | None:
        return max(self._ended(kind), key=_moment, default=None)

    def _ended(self, kind: Kind) -> list[JudgedExchange]:
        return [each for each in self.exchanges if each.kind == kind and each.result]


def _moment(judged: JudgedExchange) -> float:
    return judged.asked_at


def _asked(judged: JudgedExchange) -> tuple[str, str]:
    """The judge and its words."""
    return judged.judge, judged.words_sha256


NOT_JUDGED = RunJudgements()
