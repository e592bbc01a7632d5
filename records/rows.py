"""Converts feedback to table rows, tuples in column order, and stored values to what they were.

The rows go to the driver directly: at thousands a second, SQLAlchemy's parameter handling would cost more
than the database.
"""

from typing import Any

from records.exchange_id import day_of
from records.outcome import Fault, Feedback, ProviderError

Row = tuple[Any, ...]


def faults_of(stored: str) -> tuple[Fault, ...]:
    """The answer faults in the column `faults`: names separated by commas."""
    names: tuple[Any, ...] = tuple(stored.split(",")) if stored else ()
    return names


def provider_error_of(
    code: str | None, type_: str | None, param: str | None, message: str | None
) -> ProviderError | None:
    """What the provider said, from the columns `provider_error_*`; None if all are NULL."""
    if code is None or type_ is None or param is None or message is None:
        return None
    return ProviderError(code=code, type=type_, param=param, message=message)


def of_feedback(feedback: Feedback) -> Row:
    """Return the row in the column order of `tables.feedback`."""
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
        text(feedback.comment),
        day_of(feedback.exchange_id) if feedback.exchange_id else None,
    )


def text(value: str) -> str:
    """Replace NUL characters, which PostgreSQL does not allow in text."""
    return value.replace("\0", "\ufffd") if "\0" in value else value
