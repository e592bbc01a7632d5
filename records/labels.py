"""People's labels of captured pairs in the store: which answer is right. Written once, never changed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from sqlalchemy import select

from records import tables
from records.store import Store

Right = Literal["baseline", "candidate", "both", "neither", "unclear"]
"""Which arm's answer is right; `unclear`: the labeller could not decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """One person's label of one pair. `at` is UTC seconds; `exchange_id` is the id of the real exchange."""

    at: float
    canary: str
    exchange_id: str
    right: Right
    who: str


class Labels:
    """The labels of one database; they outlive the labelled texts. Every method may raise StoreDown."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def add(self, label: Label) -> None:
        """Store a label. A later label of the same pair replaces it in `of`."""
        with self._store.writing() as connection:
            connection.execute(tables.labels.insert().values(**asdict(label)))

    def of(self, canary: str) -> Mapping[str, Label]:
        """Return the newest label of each pair of a canary, by exchange id."""
        table = tables.labels
        query = select(table).where(table.c.canary == canary).order_by(table.c.id)
        with self._store.asking() as connection:
            return {row.exchange_id: _label(row) for row in connection.execute(query)}


def _label(row: object) -> Label:
    return Label(**{name: getattr(row, name) for name in Label.__dataclass_fields__})
