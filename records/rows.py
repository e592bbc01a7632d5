"""Outcomes and feedback as rows of their tables, written many at a time.

An outcome has 36 columns and there may be thousands a second, so that the statement is compiled once and the
rows go to the driver as tuples: SQLAlchemy's own parameter handling would cost more than SQLite itself.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Dialect, Insert

from records.outcome import Feedback, Outcome

Row = tuple[Any, ...]
_DAY_S = 86400
_TO_JSON = msgspec.json.Encoder().encode
_NO_TAGS = "{}"


class Writer:
    """One compiled insert. Rows are tuples in the order of the table's columns."""

    def __init__(self, dialect: Dialect, statement: Insert) -> None:
        compiled = statement.compile(dialect=dialect)
        self._sql = str(compiled)
        self._columns = [column.name for column in statement.table.columns]
        self._positional = bool(dialect.positional)

    def write(self, connection: Connection, rows: Sequence[Row]) -> int:
        """Insert the rows; returns how many were new (or replaced an older one)."""
        if not rows:
            return 0
        values: Any = (
            list(rows) if self._positional else [dict(zip(self._columns, r, strict=True)) for r in rows]
        )
        return connection.exec_driver_sql(self._sql, values).rowcount


def of_outcome(outcome: Outcome) -> Row:
    """In the order of `tables.outcomes`."""
    usage = outcome.usage
    return (
        int(outcome.at // _DAY_S),
        outcome.exchange_id,
        outcome.at,
        outcome.canary,
        outcome.run,
        outcome.phase,
        outcome.share,
        outcome.arm,
        outcome.served_by,
        outcome.reason,
        outcome.unit,
        outcome.session,
        outcome.category,
        _TO_JSON(outcome.tags).decode() if outcome.tags else _NO_TAGS,
        outcome.request_id,
        outcome.provider,
        outcome.api,
        outcome.operation,
        outcome.model_requested,
        outcome.model,
        outcome.stream,
        outcome.mirror,
        outcome.status,
        outcome.outcome,
        outcome.error_type,
        outcome.latency_s,
        outcome.ttft_s,
        outcome.ttfb_s,
        outcome.overhead_s,
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.cache_write_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.estimated,
        outcome.cost_usd,
        _TO_JSON(outcome.attempts).decode(),
    )


def of_feedback(feedback: Feedback) -> Row:
    """In the order of `tables.feedback`."""
    return (
        feedback.key,
        feedback.metric,
        feedback.value,
        feedback.at,
        feedback.exchange_id,
        feedback.session,
        feedback.unit,
        feedback.canary,
        feedback.run,
        feedback.phase,
        feedback.arm,
        feedback.category,
        feedback.comment,
    )
