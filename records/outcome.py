"""The one record of an exchange. Every sink gets this same frozen value; nothing else is recorded.

Structs, not dataclasses: one is built for each exchange, in a quarter of the time, and none is in a cycle.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from routing.canary import ArmName

OutcomeName = Literal["ok", "fallback", "error", "caller_error", "aborted", "shed"]

ErrorType = Literal[
    "caller_rejected",
    "caller_unauthorized",
    "caller_not_found",
    "caller_too_large",
    "provider_5xx",
    "provider_429",
    "provider_connect",
    "provider_timeout",
    "provider_reset",
    "provider_truncated",
    "provider_malformed",
    "provider_stream_error",
    "provider_stale",
    "candidate_rejects",
    "breaker_open",
    "proxy_full",
    "proxy_no_descriptors",
    "aborted",
    "shed",
    "proxy_error",
    "lost_outcome",
]
"""A closed set. `provider_*` and `candidate_rejects` count against the arm; the others never do, but that
an exchange kept from the candidate by its breaker is a candidate failure in the report (no evidence for a
guardrail), and `provider_stale` is nobody's fault."""

_NO_EVIDENCE = frozenset(
    {
        "breaker_open",
        "proxy_full",
        "proxy_no_descriptors",
        "provider_stale",
        "proxy_error",
        "lost_outcome",
    }
)

NO_ROOM: frozenset[ErrorType | None] = frozenset({"shed", "proxy_no_descriptors"})
"""Why an exchange is `shed`: nobody's failure."""


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One upstream request inside an exchange. Seconds; tokens and cost are None where unknown."""

    arm: ArmName
    provider: str
    model: str
    status: int | None = None
    error_type: ErrorType | None = None
    latency_s: float | None = None
    cost_usd: float | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens of an exchange; None is unknown, never zero. `input` includes cached and cache-written tokens,
    `cache_write` those that are kept for an hour (dearer), `output` reasoning tokens. `estimated` marks a
    count that a broken stream cut short."""

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How one exchange ended. Everything counts to the assigned `arm`, whoever served it.

    Times: `at` is UTC seconds at the request's last byte, `mono` CLOCK_MONOTONIC seconds at the same moment
    (comparable within one boot of one machine), `latency_s` from there to the provider's last byte read,
    `ttft_s` to the first text or reasoning token, `ttfb_s` to the first body byte, `overhead_s` what the
    proxy itself added before the upstream request left. Missing is None. `fingerprint` is a keyed hash of
    what was asked, by which a session's repeated questions are told; it has no space in it.
    """

    exchange_id: str
    at: float
    mono: float
    outcome: OutcomeName
    canary: str = ""
    run: int = 0
    phase: int = 0
    share: float = 0.0
    arm: ArmName = "baseline"
    served_by: ArmName | None = None
    reason: str = ""
    unit: str = ""
    session: str = ""
    category: str = ""
    tags: Mapping[str, str] = {}
    request_id: str = ""
    provider: str = ""
    api: str = ""
    operation: str = ""
    model_requested: str = ""
    model: str = ""
    stream: bool = False
    status: int | None = None
    error_type: ErrorType | None = None
    latency_s: float | None = None
    ttft_s: float | None = None
    ttfb_s: float | None = None
    overhead_s: float | None = None
    usage: Usage = Usage()
    cost_usd: float | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    mirror: bool = False
    fingerprint: str = ""
    retry_count: int = 0
    traceparent: str = ""

    @property
    def failed(self) -> bool:
        """True when the assigned arm is to blame: its own errors, and fallbacks that covered them."""
        return self.outcome in ("error", "fallback") and blames_arm(self.error_type)

    @property
    def per_token_s(self) -> float | None:
        """Seconds a token after the first; None where times or count are unknown, or there is no second."""
        output = self.usage.output_tokens
        if self.latency_s is None or self.ttft_s is None or output is None or output < 2:
            return None
        return None if self.usage.estimated else (self.latency_s - self.ttft_s) / (output - 1)

    @property
    def evidence(self) -> bool:
        """True when a guardrail may learn from it: assigned by the hash, and the arm really ran or failed."""
        return (
            bool(self.canary)
            and self.reason == "cohort"
            and not self.mirror
            and self.outcome in ("ok", "error", "fallback")
            and self.error_type not in _NO_EVIDENCE
        )


def blames_arm(error_type: ErrorType | None) -> bool:
    """True for the error types that count against the arm that was assigned."""
    if error_type is None or error_type == "provider_stale":
        return False
    return error_type.startswith("provider_") or error_type in ("candidate_rejects", "breaker_open")


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A worker's sign of life, ten a second: counts since the worker started, and its loop's lag in seconds.

    `draining` is True once the worker takes no new connections, `closing` in the last one of an orderly end;
    without it, started − finished − inflight-at-death exchanges are `lost_outcome`. Mirror copies are in none
    of the counts; `mirrors_dropped` is how many, by canary, found no room since the last heartbeat written.
    """

    worker: int
    pid: int
    at: float
    mono: float
    started: int
    finished: int
    dropped: int
    lag_s: float
    plan_version: int
    draining: bool = False
    closing: bool = False
    breakers_open: tuple[str, ...] = ()
    mirrors_dropped: Mapping[str, int] = {}


class Feedback(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One value a user or an app gave. `key` makes repeats corrections: feedback_id, or exchange and metric.

    One of exchange_id, session, unit says what it is about; an exchange id brings its canary, run, arm and
    unit with it, for the others they are joined later. `session` and `unit` are hashes.
    """

    key: str
    metric: str
    value: float
    at: float
    mono: float
    exchange_id: str = ""
    session: str = ""
    unit: str = ""
    canary: str = ""
    run: int = 0
    phase: int = 0
    arm: ArmName | None = None
    category: str = ""
    comment: str = ""
