"""What a judge said of a run's pairs, in short: without its calls and their reasons."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import select

from records import tables
from records.counted_judgements import counted
from records.judgements import FIRST, SECOND
from records.labels import Better, Label
from records.store import Store


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
