"""The newest outcomes and feedback in the store, for a leader that missed them on the stream."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import attrgetter

from msgspec import structs
from sqlalchemy import Row, select

from records.outcome import Feedback, Outcome
from records.segments.reading import just_ended
from records.store.store import Store
from records.tables import feedback

_FEEDBACK = (
    *("key", "metric", "value", "at", "exchange_id", "session", "unit", "canary", "run", "phase", "arm"),
    "category",
)


@dataclass(frozen=True, slots=True)
class Tail:
    """Outcomes by their end and feedback by its time, each in order. Monotonic times are 0."""

    outcomes: Sequence[Outcome]
    feedback: Sequence[Feedback]


def since(store: Store, canaries: Collection[str], moment: float) -> Tail:
    """Return these canaries' records after UTC second `moment`. May raise StoreDown.

    Feedback is selected by its time, outcomes by their end, on the clocks of the machines that recorded them.
    Callers therefore ask for an earlier moment than necessary and skip known records.
    """
    values = feedback.c
    of_feedback = (
        select(*(values[name] for name in _FEEDBACK))
        .where(values.at > moment, values.canary.in_(canaries))
        .order_by(values.at)
    )
    with store.reading() as connection:
        found = [
            structs.replace(each, mono=0.0)
            for each in just_ended(connection, moment)
            if each.canary in canaries
        ]
        return Tail(
            sorted(found, key=attrgetter("ended_at")),
            [_feedback(row) for row in connection.execute(of_feedback)],
        )


def _feedback(row: Row) -> Feedback:  # type: ignore[type-arg]
    return Feedback(**{name: getattr(row, name) for name in _FEEDBACK}, mono=0.0)
