"""People's labels of captured pairs in the store: which answer is right. Written once, never changed.

A person takes a label back by another row, so everything that anybody ever said stays readable.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Row, select

from records.store import Store, tables

Right = Literal["baseline", "candidate", "both", "neither", "unclear"]
"""Which arm's answer is right; `unclear`: the labeller could not decide."""

Chosen = Literal["", "disagreement"]
"""Why a pair was put before its labeller: in the usual order, or because its judgements differ."""

Better = Literal["candidate", "baseline", "tie"]

WITHDRAWN = "withdrawn"
"""The column `right` of a row by which a person takes back their label of the pair."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One person's label of one pair. `at` is UTC seconds; `exchange_id` is the id of the real exchange."""

    at: float
    canary: str
    exchange_id: str
    right: Right
    who: str
    chosen: Chosen = ""

    @property
    def better(self) -> Better | None:
        """The better answer's arm, in the words of a judge; None if the labeller could not decide."""
        words: Mapping[Right, Better] = {
            "candidate": "candidate", "baseline": "baseline", "both": "tie", "neither": "tie"
        }  # fmt: skip
        return words.get(self.right)


class Labels:
    """The labels of one database; they outlive the labelled texts. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, label: Label) -> None:
        """Store a label. It replaces an earlier one of the same person and pair."""
        with self._store.writing() as connection:
            connection.execute(tables.labels.insert().values(**asdict(label)))

    def withdraw(self, label: Label, *, at: float) -> None:
        """Take back a person's label of a pair, and any that it replaced."""
        row = asdict(label) | {"at": at, "right": WITHDRAWN}
        with self._store.writing() as connection:
            connection.execute(tables.labels.insert().values(**row))

    def given(self, canary: str) -> list[Label]:
        """Each person's label of each pair of a canary, in the order in which they were given."""
        table, found = tables.labels, dict[tuple[str, str], Label]()
        query = select(table).where(table.c.canary == canary).order_by(table.c.id)
        with self._store.asking() as connection:
            for row in connection.execute(query):
                found.pop((row.exchange_id, row.who), None)
                if row.right != WITHDRAWN:
                    found[row.exchange_id, row.who] = _label(row)
        return list(found.values())

    def of(self, canary: str) -> Mapping[str, Label]:
        """The newest label of each pair of a canary, by exchange id."""
        return {label.exchange_id: label for label in self.given(canary)}

    def sample(self, canary: str) -> Mapping[str, Label]:
        """The label of each pair that tells what a judge is worth, by exchange id."""
        return {pair: votes[0] for pair, votes in comparable(self.given(canary)).items()}


def comparable(votes: Iterable[Label]) -> Mapping[str, Sequence[Label]]:
    """The votes that an agreement may be counted from, by exchange id, each pair's in the order in which they
    were given: without those of people who could not decide, and without those that were asked for because
    judgements differ.

    A second opinion where the first person and the judge differ can only bring the two closer, and pairs that
    the order decided are harder than the others. Both would bias an agreement.
    """
    found: dict[str, list[Label]] = {}
    for each in votes:
        if each.better is not None and not each.chosen:
            found.setdefault(each.exchange_id, []).append(each)
    return found


def _label(row: Row[Any]) -> Label:
    return Label(**{name: getattr(row, name) for name in Label.__dataclass_fields__})
