"""The record of an exchange, and the other records of a spool. Every sink gets the same frozen values.

They are msgspec Structs, which build in a quarter of a dataclass's time and need no garbage collection.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from routing.canary import ArmName

OutcomeName = Literal["ok", "fallback", "error", "caller_error", "aborted", "shed"]

ErrorType = Literal[
    "caller_rejected",
    "caller_unauthorized",
    "caller_not_found",
    "caller_too_large",
    "caller_limited",
    "provider_5xx",
    "provider_429",
    "provider_throttled",
    "provider_no_model",
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
    "proxy_no_credential",
    "aborted",
    "shed",
    "proxy_error",
    "lost_outcome",
]
"""A closed set. `provider_*`, except `provider_stale` and `provider_throttled` (a rate or quota was used up,
which says nothing of the model), and `candidate_rejects` count against the arm.
`breaker_open` counts as a candidate failure in reports, but not for guardrails. The others never count."""

Finish = Literal["stop", "length", "tool_calls", "refusal", "content_filter", "other", "unknown"]
"""Why the model stopped, in one set of words for all providers."""

Fault = Literal[
    "cut_off",
    "refused",
    "empty",
    "tool_args_invalid",
    "tool_args_off_schema",
    "tool_unknown",
    "json_invalid",
    "json_off_schema",
    "stalled",
]
"""Something wrong with an answer that its status does not show. A closed set."""

INVALID_OUTPUT: frozenset[Fault] = frozenset(
    {"tool_args_invalid", "tool_args_off_schema", "tool_unknown", "json_invalid", "json_off_schema"}
)
"""The faults that make up the metric `invalid_output`."""

FINGERPRINT = "fingerprint "
"""How the name of a served model begins where it is a system's fingerprint."""

OutputCheck = Literal["", "judged", "not_judged"]
"""Whether an answer's tool calls and JSON were checked. Empty: the request has no tools and wants no JSON.
`not_judged`: the check went beyond its bounds, or tools are called that no request declares in a form that is
read."""

_NO_EVIDENCE = frozenset(
    {
        "breaker_open",
        "proxy_full",
        "proxy_no_descriptors",
        "proxy_no_credential",
        "provider_stale",
        "provider_throttled",
        "proxy_error",
        "lost_outcome",
    }
)

THROTTLED: ErrorType = "provider_throttled"
NO_MODEL: ErrorType = "provider_no_model"

UNREACHED: frozenset[ErrorType | None] = frozenset(
    {"proxy_no_credential", "proxy_full", "proxy_no_descriptors", THROTTLED}
)
"""Why an arm was not asked, or its model did not get the request, though no arm is to blame."""

NO_ROOM: frozenset[ErrorType | None] = frozenset({"shed", "proxy_no_descriptors"})
"""The error types of the outcome `shed`, which count against no arm."""


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One upstream request of an exchange. Times are seconds; unknown values are None."""

    arm: ArmName
    provider: str
    model: str
    status: int | None = None
    error_type: ErrorType | None = None
    latency_s: float | None = None
    cost_usd: float | None = None


class ProviderError(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A provider's own words about a request that it refused or failed, redacted. Empty: not said.

    `message` has at most 200 characters, the other members at most 64.
    """

    code: str = ""
    type: str = ""
    param: str = ""
    message: str = ""


class Usage(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """Tokens of an exchange; None means unknown, never zero.

    `input_tokens` includes cached and cache-written tokens, `cache_write_tokens` includes those cached for an
    hour, `output_tokens` includes reasoning tokens. `estimated`: the stream broke before its final count.
    `stated_usd`: the cost in dollars, where the provider states it.

    The order of the fields is the spool's format: a new one goes to the end, with a default.
    """

    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    estimated: bool = False
    stated_usd: float | None = None


class ToolCall(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A call of a tool in an answer. `name`: its first 64 characters. `digest`: 8 bytes of a keyed hash of
    the whole name and the arguments, the same in whatever order and with whatever spaces they are written.
    `id`: 4 bytes of a keyed hash of the call's id, by which its result names it; 0 where there is none."""

    name: str
    digest: bytes
    id: int = 0


MOST_TOOL_CALLS = 64
"""Calls of one answer that are recorded."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """How one exchange ended. Everything counts to the assigned `arm`, whichever arm served it.

    `at`: UTC seconds at the request's last byte.
    `mono`: CLOCK_MONOTONIC seconds at the same moment, comparable within one boot of one machine.
    `latency_s`, `ttft_s`, `ttfb_s`: from that moment to the provider's last byte read, to the first text or
    reasoning token, and to the first body byte.
    `overhead_s`: time that the proxy added before it sent the upstream request.
    `fingerprint`: keyed hash of the question, without spaces, to detect repeated questions in a session.
    `finish`, `faults`, `output_check`: what the assigned arm's complete answer looked like. `finish` is None
    for exchanges without one: failures, fallbacks, and operations whose answers are not read. A stream that
    its caller left while it was `stalled` has that fault, and no `finish`.
    `provider_error`: what the provider of the assigned arm said when it refused or failed.
    `provider_request_id`: the id that the assigned arm's provider gave the request; "" without one.
    `adapted`: the assigned arm's request was changed by its `request:` or its own texts.
    `response_model`: the model that the answer names; empty when it names none.
    `system_fingerprint`: of the system that made the answer, as the answer names it (OpenAI's); else empty.
    `chunks`: how often bytes of a stream's body were read, the last ones at `latency_s`; 0 for other answers.
    `longest_gap_s`: the longest time between two of these reads that the caller did not cause.
    `tool_calls`: what the assigned arm's whole answer calls of the tools that the caller runs, the first 64.
    `result_of`: the `id` of the call whose result is the last in the request, 0 without one. It tells which
    answer came before in the same conversation; parallel subagents of a session have one each.
    `place`: the unit's place in [0, 2³²) by the canary's hash; None without a unit or canary.
    Missing values are None. The order of the fields is the spool's format: a new one goes to the end, with a
    default.
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
    finish: Finish | None = None
    faults: tuple[Fault, ...] = ()
    output_check: OutputCheck = ""
    provider_error: ProviderError | None = None
    adapted: bool = False
    attempts: tuple[AttemptRecord, ...] = ()
    mirror: bool = False
    fingerprint: str = ""
    retry_count: int = 0
    traceparent: str = ""
    response_model: str = ""
    chunks: int = 0
    longest_gap_s: float | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    place: int | None = None
    provider_request_id: str = ""
    system_fingerprint: str = ""
    result_of: int = 0

    @property
    def failed(self) -> bool:
        """True when the assigned arm failed, whether or not a fallback answered."""
        return self.outcome in ("error", "fallback") and blames_arm(self.error_type)

    @property
    def measured(self) -> bool:
        """True when the assigned arm answered or failed. Otherwise the outcome shows nothing of the arm."""
        return self.outcome == "ok" or self.failed

    @property
    def unreached(self) -> bool:
        """True when the assigned arm was not asked though it is not to blame: nothing is known of it."""
        return self.outcome in ("fallback", "error") and self.error_type in UNREACHED

    @property
    def abandoned(self) -> bool:
        """True when the caller left before the first body byte of a stream, or before the end of JSON."""
        return self.outcome == "aborted" and (not self.stream or self.ttfb_s is None)

    @property
    def broken_off(self) -> bool:
        """True when the caller left or got an error: a session whose last exchange ended so is abandoned."""
        return self.outcome in ("aborted", "error")

    @property
    def ended_at(self) -> float:
        """UTC seconds at the end of the exchange."""
        return self.at + (self.latency_s or 0.0)

    @property
    def per_token_s(self) -> float | None:
        """Seconds per token after the first; None with unknown times or count, or under two tokens."""
        output = self.usage.output_tokens
        if self.latency_s is None or self.ttft_s is None or output is None or output < 2:
            return None
        return None if self.usage.estimated else (self.latency_s - self.ttft_s) / (output - 1)

    @property
    def evidence(self) -> bool:
        """True when guardrails may use the outcome: of an assigned unit, and the arm answered or failed."""
        return (
            bool(self.canary)
            and self.reason == "cohort"
            and not self.mirror
            and self.outcome in ("ok", "error", "fallback")
            and self.error_type not in _NO_EVIDENCE
        )


def blames_arm(error_type: ErrorType | None) -> bool:
    """True for error types that count against the assigned arm."""
    if error_type is None or error_type in ("provider_stale", THROTTLED):
        return False
    return error_type.startswith("provider_") or error_type in ("candidate_rejects", "breaker_open")


BLAMED: tuple[ErrorType, ...] = tuple(name for name in get_args(ErrorType) if blames_arm(name))
"""The error types that count against the assigned arm."""


class InFlight(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A canary exchange that has not ended yet: written once it is `IN_FLIGHT_AFTER_S` old, after a change of
    share at once, and again when, after that, a stream begins or has its first token, or the candidate fails.
    Its Outcome follows, unless the worker dies.

    `at`, `mono`, `run` to `tags`, `place`: as in the Outcome. `ttft_s`: None while no first token has come.
    `begun`: a stream's first byte has. `error_type`: why the candidate failed, while the baseline answers in
    its place; None: it has not failed.
    """

    exchange_id: str
    at: float
    mono: float
    canary: str
    run: int
    phase: int
    share: float
    arm: ArmName
    reason: str
    unit: str
    operation: str
    stream: bool
    category: str = ""
    tags: Mapping[str, str] = {}
    ttft_s: float | None = None
    begun: bool = False
    error_type: ErrorType | None = None
    place: int | None = None


IN_FLIGHT_AFTER_S = 2.0
"""Below the shortest limit that a latency rule is likely to have."""


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A worker's heartbeat, ten a second. Counts run since the worker started, without mirror copies.

    `lag_s`: delay of the event loop. `draining`: the worker takes no new connections. `closing`: the last
    heartbeat of a clean shutdown; without it, exchanges started and never recorded are `lost_outcome`.
    `mirrors_dropped`: mirror copies dropped since the last written heartbeat, by canary.
    `quota_used`: the part of its rate limit that each candidate had used up a moment ago, by canary, where it
    has been throttled and its answers say so.
    `credentials_missing`: why provider entries have no credential at the moment, an entry each.
    `clock_offset_s`: seconds by which the machine's clock is fast by Redis's, as its agent adds; None where
    that is not known.
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
    credentials_missing: tuple[str, ...] = ()
    quota_used: Mapping[str, float] = {}
    clock_offset_s: float | None = None


class Feedback(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One feedback value from a user or an app. A value with a known `key` is a correction.

    Exactly one of `exchange_id`, `session` and `unit` was given. An exchange id carries canary, run, arm and
    unit; for a session or unit they are joined later. `session` and `unit` are hashes. `posted_at`: UTC
    seconds at which a worker took a value whose sender gave `at`; None: `at` is that moment.
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
    posted_at: float | None = None

    @property
    def taken_at(self) -> float:
        """UTC seconds at which a worker took it."""
        return self.at if self.posted_at is None else self.posted_at


Record = Outcome | Heartbeat | Feedback | InFlight
"""What a spool holds."""
