"""The columns of stored outcomes, in order, with their kinds, and a batch of outcomes as one packed value.
docs/records.md describes the columns.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any, Literal

import msgspec

from records.facts.exchange_id import day_of
from records.outcome import AttemptRecord, Fault, Feedback, Outcome, ProviderError, ToolCall, Usage

Row = tuple[Any, ...]


def faults_of(stored: str) -> tuple[Fault, ...]:
    """The answer faults in the column `faults`: names separated by commas."""
    names: tuple[Any, ...] = tuple(stored.split(",")) if stored else ()
    return names


FEEDBACK_COLUMNS = (
    *("key", "metric", "value", "at", "exchange_id", "session", "unit", "canary", "run", "phase", "arm"),
    "category",
)
"""The columns of `tables.feedback` that a record has as they are, in the table's order."""

_feedback = attrgetter(*FEEDBACK_COLUMNS)


def of_feedback(feedback: Feedback) -> Row:
    """Return the row in the column order of `tables.feedback`."""
    day = day_of(feedback.exchange_id) if feedback.exchange_id else None
    return (*_feedback(feedback), without_nul(feedback.comment), day)


def without_nul(value: str) -> str:
    """Replace NUL characters, which PostgreSQL does not allow in text."""
    return value.replace("\0", "\ufffd") if "\0" in value else value


HOUR_S = 3600.0
"""Seconds of outcomes in a segment."""

Kind = Literal["text", "number", "count", "truth", "time"]
"""A time is UTC seconds."""

_JSON = msgspec.json.Encoder().encode
_FROM_JSON = msgspec.json.Decoder(tuple[AttemptRecord, ...]).decode
_SAID = ("code", "type", "param", "message")
_TOKENS = ("input_tokens", "cached_input_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


@dataclass(frozen=True, slots=True)
class OutcomeColumn:
    """A column: its kind, and its value of an outcome."""

    kind: Kind
    of: Callable[[Outcome], Any]


def _tags(outcome: Outcome) -> str:
    return _JSON(outcome.tags).decode() if outcome.tags else "{}"


def _attempts(outcome: Outcome) -> str:
    return _JSON(outcome.attempts).decode()


def _faults(outcome: Outcome) -> str:
    return ",".join(outcome.faults)


def _tool_calls(outcome: Outcome) -> str:
    calls = [{"name": without_nul(call.name), "digest": call.digest.hex()} for call in outcome.tool_calls]
    return _JSON(calls).decode()


def tool_calls_of(stored: str) -> tuple[ToolCall, ...]:
    """The tool calls in the column `tool_calls`."""
    found = msgspec.json.decode(stored) if stored != "[]" else ()
    return tuple([ToolCall(call["name"], bytes.fromhex(call["digest"])) for call in found])


def _said(member: str) -> Callable[[Outcome], str | None]:
    """A member of what the provider said about a request that it refused or failed."""
    value = attrgetter(member)
    return lambda outcome: (
        None if outcome.provider_error is None else without_nul(value(outcome.provider_error))
    )


def _as_text(name: str) -> Callable[[Outcome], str]:
    """What a caller or provider has written, as the totals have it."""
    value = attrgetter(name)
    return lambda outcome: without_nul(value(outcome))


def _columns() -> Mapping[str, OutcomeColumn]:
    def same(kind: Kind, *names: str) -> dict[str, OutcomeColumn]:
        return {name: OutcomeColumn(kind, attrgetter(name)) for name in names}

    def texts(*names: str) -> dict[str, OutcomeColumn]:
        return {name: OutcomeColumn("text", _as_text(name)) for name in names}

    def usage(kind: Kind, **names: str) -> dict[str, OutcomeColumn]:
        return {name: OutcomeColumn(kind, attrgetter(f"usage.{field}")) for name, field in names.items()}

    return {
        **same("text", "exchange_id"),
        **same("time", "at"),
        **same("text", "canary"),
        **same("count", "run", "phase"),
        **same("number", "share"),
        **same("text", "arm", "served_by", "reason", "unit", "session"),
        **texts("category"),
        "tags": OutcomeColumn("text", _tags),
        **texts("request_id"),
        **same("text", "provider", "api", "operation"),
        **texts("model_requested", "model"),
        **same("truth", "stream", "mirror"),
        **same("count", "status"),
        **same("text", "outcome", "error_type"),
        **same("number", "latency_s", "ttft_s", "ttfb_s", "overhead_s"),
        **usage("count", **{name: name for name in _TOKENS}),
        **usage("truth", usage_estimated="estimated"),
        **same("number", "cost_usd"),
        "attempts": OutcomeColumn("text", _attempts),
        **same("text", "finish"),
        "faults": OutcomeColumn("text", _faults),
        **same("text", "output_check"),
        **{f"provider_error_{member}": OutcomeColumn("text", _said(member)) for member in _SAID},
        **same("truth", "adapted"),
        "tool_calls": OutcomeColumn("text", _tool_calls),
        **texts("provider_request_id"),
    }


COLUMNS = _columns()

_DERIVED = frozenset(
    {*_TOKENS, "at", "usage_estimated", "tags", "attempts", "faults", "tool_calls"}
    | {name for name in COLUMNS if name.startswith("provider_error_")}
)


def outcome_of(row: Mapping[str, Any]) -> Outcome:
    """The outcome that a segment's row was made from, without what no column has."""
    at: datetime = row["at"]
    said = {member: row[f"provider_error_{member}"] for member in _SAID}
    return Outcome(
        at=at.timestamp(),
        mono=0.0,
        **{name: row[name] for name in COLUMNS if name not in _DERIVED},
        tags=msgspec.json.decode(row["tags"]),
        usage=Usage(**{name: row[name] for name in _TOKENS}, estimated=row["usage_estimated"]),
        attempts=_FROM_JSON(row["attempts"]),
        faults=faults_of(row["faults"]),
        tool_calls=tool_calls_of(row["tool_calls"]),
        provider_error=None if None in said.values() else ProviderError(**said),
    )


# Outcomes that no segment has yet: a batch as one value, in MessagePack, compressed.


if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_LEVEL = 1
_FORMAT = b"1"
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(list[Outcome]).decode


def pack(outcomes: Sequence[Outcome]) -> bytes:
    """The batch as bytes, about 240 for each outcome (docs/performance.md)."""
    return _FORMAT + zstd.compress(_ENCODE(outcomes), _LEVEL)


def unpack(packed: bytes) -> list[Outcome]:
    """The batch again. Raises ValueError for bytes of a later version."""
    return _DECODE(_decompressed(packed))


def unpack_with(packed: bytes, texts: Collection[str]) -> list[Outcome]:
    """The batch if one of these texts is anywhere in it, else nothing, which takes a tenth of the time."""
    raw = _decompressed(packed)
    return _DECODE(raw) if any(text.encode() in raw for text in texts) else []


def _decompressed(packed: bytes) -> bytes:
    if packed[:1] != _FORMAT:
        raise ValueError("these outcomes were stored by a newer canary: start the newer version")
    return zstd.decompress(packed[1:])
