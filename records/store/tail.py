"""The newest outcomes and feedback in the store, for a leader whom the stream did not tell."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, func, select

from records.outcome import Feedback, Outcome, Usage
from records.store.store import Store
from records.tables import feedback, outcomes

LONGEST_EXCHANGE_S = 900.0
"""An outcome's `at` is its request's, and it is stored when the exchange has ended."""

_OUTCOME = (
    *("exchange_id", "at", "outcome", "canary", "run", "phase", "share", "arm", "reason", "unit", "category"),
    *("tags", "status", "error_type", "latency_s", "ttft_s", "cost_usd", "mirror"),
)
_FEEDBACK = (
    *("key", "metric", "value", "at", "exchange_id", "session", "unit", "canary", "run", "phase", "arm"),
    "category",
)


@dataclass(frozen=True, slots=True)
class Tail:
    """What ended, or was given, after some moment; in that order. Monotonic times are 0."""

    outcomes: Sequence[Outcome]
    feedback: Sequence[Feedback]


def since(store: Store, canaries: Collection[str], moment: float) -> Tail:
    """These canaries' records after UTC second `moment`. May raise StoreDown.

    Feedback is found by when it was given, outcomes by when they ended, each by its own machine's clock: ask
    for more than is missing, and pass over what is known.
    """
    table = outcomes.c
    ended = table.at + func.coalesce(table.latency_s, 0.0)
    wanted = [table[name] for name in (*_OUTCOME, "usage_estimated")]
    of_outcomes = (
        select(*wanted)
        .where(table.at > moment - LONGEST_EXCHANGE_S, ended > moment, table.canary.in_(canaries))
        .where(table.day >= int((moment - LONGEST_EXCHANGE_S) // 86400))
        .order_by(ended)
    )
    given = feedback.c
    of_feedback = (
        select(*(given[name] for name in _FEEDBACK))
        .where(given.at > moment, given.canary.in_(canaries))
        .order_by(given.at)
    )
    with store.reading() as connection:
        return Tail(
            [_outcome(row) for row in connection.execute(of_outcomes)],
            [_feedback(row) for row in connection.execute(of_feedback)],
        )


def _outcome(row: Row) -> Outcome:  # type: ignore[type-arg]
    fields = {name: getattr(row, name) for name in _OUTCOME}
    return Outcome(**fields, mono=0.0, usage=Usage(estimated=row.usage_estimated))


def _feedback(row: Row) -> Feedback:  # type: ignore[type-arg]
    return Feedback(**{name: getattr(row, name) for name in _FEEDBACK}, mono=0.0)
