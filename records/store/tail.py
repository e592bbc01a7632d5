"""The newest outcomes and feedback in the store, for a leader that missed them on the stream."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, func, select

from records.outcome import Feedback, Outcome, Usage
from records.rows import faults_of, provider_error_of
from records.store.store import Store
from records.tables import feedback, outcomes

LONGEST_EXCHANGE_S = 900.0
"""Longest time between an outcome's `at`, the time of the request, and the end of the exchange."""

_OUTCOME = (
    *("exchange_id", "at", "outcome", "canary", "run", "phase", "share", "arm", "reason", "unit", "category"),
    *("tags", "status", "error_type", "latency_s", "ttft_s", "ttfb_s", "cost_usd", "mirror", "operation"),
    *("stream", "finish", "output_check"),
)
_ERROR = tuple(f"provider_error_{member}" for member in ("code", "type", "param", "message"))
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
    table = outcomes.c
    ended = table.at + func.coalesce(table.latency_s, 0.0)
    wanted = [table[name] for name in (*_OUTCOME, *_ERROR, "faults", "usage_estimated")]
    of_outcomes = (
        select(*wanted)
        .where(table.at > moment - LONGEST_EXCHANGE_S, ended > moment, table.canary.in_(canaries))
        .where(table.day >= int((moment - LONGEST_EXCHANGE_S) // 86400))
        .order_by(ended)
    )
    values = feedback.c
    of_feedback = (
        select(*(values[name] for name in _FEEDBACK))
        .where(values.at > moment, values.canary.in_(canaries))
        .order_by(values.at)
    )
    with store.reading() as connection:
        return Tail(
            [_outcome(row) for row in connection.execute(of_outcomes)],
            [_feedback(row) for row in connection.execute(of_feedback)],
        )


def _outcome(row: Row) -> Outcome:  # type: ignore[type-arg]
    fields = {name: getattr(row, name) for name in _OUTCOME}
    return Outcome(
        **fields,
        mono=0.0,
        usage=Usage(estimated=row.usage_estimated),
        faults=faults_of(row.faults),
        provider_error=provider_error_of(*(getattr(row, name) for name in _ERROR)),
    )


def _feedback(row: Row) -> Feedback:  # type: ignore[type-arg]
    return Feedback(**{name: getattr(row, name) for name in _FEEDBACK}, mono=0.0)
