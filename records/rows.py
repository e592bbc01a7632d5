"""Converts outcomes and feedback to table rows: tuples in column order.

The rows go to the driver directly: at thousands a second, SQLAlchemy's parameter handling would cost more
than the database.
"""

from typing import Any

import msgspec

from records.exchange_id import day_of
from records.outcome import Fault, Feedback, Outcome, ProviderError

Row = tuple[Any, ...]
_DAY_S = 86400
_TO_JSON = msgspec.json.Encoder().encode
_NO_TAGS = "{}"
_NO_ERROR: Row = (None, None, None, None)


def of_outcome(outcome: Outcome) -> Row:
    """Return the row in the column order of `tables.outcomes`."""
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
        text(outcome.category),
        _TO_JSON(outcome.tags).decode() if outcome.tags else _NO_TAGS,
        text(outcome.request_id),
        outcome.provider,
        outcome.api,
        outcome.operation,
        text(outcome.model_requested),
        text(outcome.model),
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
        outcome.fingerprint,
        outcome.finish,
        ",".join(outcome.faults),
        outcome.output_check,
        *_provider_error(outcome.provider_error),
        outcome.adapted,
    )


def _provider_error(error: ProviderError | None) -> Row:
    if error is None:
        return _NO_ERROR
    return text(error.code), text(error.type), text(error.param), text(error.message)


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
