"""Shortened outcomes for the stream: the fields that guardrails need, a third of the record."""

import msgspec

from records.outcome import (
    AttemptRecord,
    ErrorType,
    Fault,
    Finish,
    Outcome,
    OutcomeName,
    OutputCheck,
    ProviderError,
    Usage,
)
from routing.canary import ArmName


class Brief(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A shortened outcome. `mono` is left out because it is valid on one machine only. `tried`: the status
    and the seconds of the assigned arm's own attempt, where the other arm answered for it."""

    exchange_id: str
    at: float
    outcome: OutcomeName
    canary: str
    run: int
    phase: int
    share: float
    arm: ArmName
    reason: str
    unit: str
    category: str
    tags: dict[str, str]
    status: int | None
    error_type: ErrorType | None
    latency_s: float | None
    ttft_s: float | None
    cost_usd: float | None
    estimated: bool
    mirror: bool
    stream: bool = False
    operation: str = ""
    ttfb_s: float | None = None
    finish: Finish | None = None
    faults: tuple[Fault, ...] = ()
    output_check: OutputCheck = ""
    provider_error: ProviderError | None = None
    adapted: bool = False
    tried: tuple[int | None, float | None] | None = None
    longest_gap_s: float | None = None


_UNKNOWN, _ESTIMATED = Usage(), Usage(estimated=True)
"""Token counts stay with the replica; guardrails need only whether they were estimated."""


def brief(outcome: Outcome) -> Brief:
    """Shorten an outcome."""
    return Brief(
        outcome.exchange_id,
        outcome.at,
        outcome.outcome,
        outcome.canary,
        outcome.run,
        outcome.phase,
        outcome.share,
        outcome.arm,
        outcome.reason,
        outcome.unit,
        outcome.category,
        dict(outcome.tags),
        outcome.status,
        outcome.error_type,
        outcome.latency_s,
        outcome.ttft_s,
        outcome.cost_usd,
        outcome.usage.estimated,
        outcome.mirror,
        outcome.stream,
        outcome.operation,
        outcome.ttfb_s,
        outcome.finish,
        outcome.faults,
        outcome.output_check,
        outcome.provider_error,
        outcome.adapted,
        _tried(outcome),
        outcome.longest_gap_s,
    )


def _tried(outcome: Outcome) -> tuple[int | None, float | None] | None:
    if outcome.outcome != "fallback" or not outcome.attempts:
        return None
    first = outcome.attempts[0]
    return first.status, first.latency_s


def _attempts(part: Brief) -> tuple[AttemptRecord, ...]:
    if part.tried is None:
        return ()
    status, latency_s = part.tried
    return (AttemptRecord(arm=part.arm, provider="", model="", status=status, latency_s=latency_s),)


def restored(part: Brief, mono: float) -> Outcome:
    """Rebuild an outcome with the fields of `part` and this machine's monotonic second `mono`."""
    return Outcome(
        exchange_id=part.exchange_id,
        at=part.at,
        mono=mono,
        outcome=part.outcome,
        canary=part.canary,
        run=part.run,
        phase=part.phase,
        share=part.share,
        arm=part.arm,
        reason=part.reason,
        unit=part.unit,
        category=part.category,
        tags=part.tags,
        status=part.status,
        error_type=part.error_type,
        latency_s=part.latency_s,
        ttft_s=part.ttft_s,
        cost_usd=part.cost_usd,
        usage=_ESTIMATED if part.estimated else _UNKNOWN,
        mirror=part.mirror,
        stream=part.stream,
        operation=part.operation,
        ttfb_s=part.ttfb_s,
        finish=part.finish,
        faults=part.faults,
        output_check=part.output_check,
        provider_error=part.provider_error,
        adapted=part.adapted,
        attempts=_attempts(part),
        longest_gap_s=part.longest_gap_s,
    )
