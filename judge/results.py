"""Which of a run's judgements count: another judge's taste, or other words, would be another metric."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Subquery, func, select

from judge.judgements import FIRST, SECOND, JudgedExchange, Kind
from records.store import Store, tables
from records.store.captures import Better, Label


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
class RunJudgements:
    """The judgements of one run in the order of their exchanges, and people's labels in the order in which
    they were given."""

    exchanges: Sequence[JudgedExchange] = ()
    labels: Sequence[Label] = ()

    def until(self, moment: float) -> "RunJudgements":
        """What was asked, and labelled, before this moment, UTC seconds."""
        return RunJudgements(
            exchanges=tuple(each for each in self.exchanges if each.asked_at < moment),
            labels=tuple(each for each in self.labels if each.at < moment),
        )

    def without(self, units: Iterable[str]) -> "RunJudgements":
        """What was said of answers to other units than these, and what people said of those."""
        out = frozenset(units)
        exchanges = tuple(each for each in self.exchanges if each.unit not in out)
        kept = {each.exchange_id for each in exchanges}
        return RunJudgements(
            exchanges=exchanges, labels=tuple(each for each in self.labels if each.exchange_id in kept)
        )

    def of(self, kind: Kind) -> list[JudgedExchange]:
        """The pairs, or the answers, that have their result from the newest judge with its newest words:
        another judge's taste, or other words, would be another metric."""
        newest = self._newest(kind)
        return [each for each in self._ended(kind) if newest is not None and _asked(each) == _asked(newest)]

    def left_out(self) -> int:
        """The pairs that have their result from an earlier judge, or from the same with other words."""
        return len(self._ended("pair")) - len(self.of("pair"))

    def shown(self) -> JudgedExchange | None:
        """One of the judgements that are shown: the newest pair that has its result, else such an answer;
        while none has one, the newest that was asked for. None without any."""
        asked = max(self.exchanges, key=_moment, default=None)
        return self._newest("pair") or self._newest("answer") or asked

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
