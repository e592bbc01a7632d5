"""An exchange as OpenTelemetry's span, feedback as its event, under their attributes' names.

`gen_ai.*` follow OpenTelemetry's conventions, which still change. They are those of the repository
open-telemetry/semantic-conventions-genai, the only place where they are kept since they left the general
conventions. No other file has one of these names.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import urlsplit

from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.sampling import Decision, Sampler
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from records.outcome import AttemptRecord, Feedback, Outcome, ProviderError

OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
CONVERSATION = "gen_ai.conversation.id"
STREAM = "gen_ai.request.stream"
FIRST_CHUNK_S = "gen_ai.response.time_to_first_chunk"
FINISH_REASONS = "gen_ai.response.finish_reasons"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"

EVALUATION = "gen_ai.evaluation.result"
EVALUATION_NAME = "gen_ai.evaluation.name"
EVALUATION_VALUE = "gen_ai.evaluation.score.value"

TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105
DURATION = "gen_ai.client.operation.duration"
TO_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
PER_OUTPUT_CHUNK = "gen_ai.client.operation.time_per_output_chunk"

TOKEN_BOUNDS = tuple(4**power for power in range(14))
"""The bounds that the conventions state for numbers of tokens: 1 to 67,108,864."""
SECOND_BOUNDS = tuple(0.01 * 2**power for power in range(14))
"""The same for seconds: 0.01 to 81.92."""

SERVER = "server.address"
PORT = "server.port"
STATUS = "http.response.status_code"
ERROR = "error.type"

CANARY = "canary.name"
RUN = "canary.run"
PHASE = "canary.phase"
SHARE = "canary.share"
ARM = "canary.arm"
SERVED_BY = "canary.served_by"
REASON = "canary.reason"
OUTCOME = "canary.outcome"
ERROR_TYPE = "canary.error_type"
FAULTS = "canary.answer.faults"
OUTPUT_CHECK = "canary.answer.output_check"
PROVIDER_ERROR_CODE = "canary.provider_error.code"
PROVIDER_ERROR_TYPE = "canary.provider_error.type"
PROVIDER_ERROR_PARAM = "canary.provider_error.param"
PROVIDER_ERROR_MESSAGE = "canary.provider_error.message"
EXCHANGE = "canary.exchange_id"
REQUEST = "canary.request_id"
UNIT = "canary.unit"
SESSION = "canary.session"
CATEGORY = "canary.category"
TAG = "canary.tag."
MODEL_REQUESTED = "canary.model_requested"
CONFIGURED_PROVIDER = "canary.provider"
FIRST_TOKEN_S = "canary.time_to_first_token"  # noqa: S105
OVERHEAD_S = "canary.overhead"
COST_USD = "canary.cost_usd"
ESTIMATED = "canary.usage_estimated"
MIRROR = "canary.mirror"
RETRIES = "canary.retry_count"

ATTEMPT = "canary.attempt"
ATTEMPT_S = "canary.attempt.duration"

WELL_KNOWN_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "gcp.gemini"}
"""OpenTelemetry's provider name by wire API: the API's owner, not always the operator of the endpoint."""


# What spans and metrics say alike of the operation that an exchange is.


Value = str | bool | int | float | Sequence[str]

BaseUrls = Callable[[], Mapping[str, str]]
"""The `base_url` of each provider entry of the newest config."""

FAILED = ("error", "caller_error", "shed")

_PORTS = {"http": 80, "https": 443}


def operation_of(outcome: Outcome, base_urls: Mapping[str, str]) -> dict[str, Value | None]:
    """The operation, its model and server, and why it failed; None for what is unknown.

    A fallback is a success for the caller, and an aborted exchange is not an error.
    """
    return {
        OPERATION: outcome.operation,
        PROVIDER: WELL_KNOWN_PROVIDERS.get(outcome.api, outcome.api),
        REQUEST_MODEL: outcome.model,
        RESPONSE_MODEL: outcome.response_model,
        ERROR: outcome.error_type if outcome.outcome in FAILED else None,
        **server_of(base_urls.get(outcome.provider, "")),
    }


@lru_cache(256)
def server_of(base_url: str) -> Mapping[str, Value | None]:
    """Host and port of a `base_url`; none of "", which stands for an entry that has left the config."""
    url = urlsplit(base_url)
    if url.hostname is None:
        return {}
    return {SERVER: url.hostname, PORT: url.port or _PORTS.get(url.scheme)}


def known(values: Mapping[str, Value | None]) -> dict[str, Value]:
    """Leave out unknown values."""
    return {key: value for key, value in values.items() if value is not None and value != ""}


# Converts records to spans and events. Pure except for the sampler, which the environment configures.


_SCOPE = InstrumentationScope("canary")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_PROPAGATOR = TraceContextTextMapPropagator()


class Spans:
    """Makes spans of one resource for the exchanges that `sampler` accepts."""

    def __init__(self, resource: Resource, sampler: Sampler, base_urls: BaseUrls) -> None:
        self._resource, self._sampler, self._base_urls = resource, sampler, base_urls

    def of(self, outcome: Outcome) -> ReadableSpan | None:
        """Return the exchange's span, with the caller's `traceparent` as parent; None when not sampled."""
        incoming = _PROPAGATOR.extract({"traceparent": outcome.traceparent})
        caller = get_current_span(incoming).get_span_context()
        parent = caller if caller.is_valid else None
        trace_id = parent.trace_id if parent is not None else _number(outcome, 16)
        name = f"{outcome.operation or 'request'} {outcome.model}".rstrip()
        decision = self._sampler.should_sample(incoming, trace_id, name, SpanKind.CLIENT).decision
        if decision is not Decision.RECORD_AND_SAMPLE:
            return None
        started, took = _ns(outcome.at), _ns(outcome.latency_s or 0.0)
        return ReadableSpan(
            name,
            context=SpanContext(trace_id, _number(outcome, 8), is_remote=False, trace_flags=_SAMPLED),
            parent=parent,
            resource=self._resource,
            attributes=known(_attributes(outcome, self._base_urls())),
            events=_attempts(outcome, started, started + took),
            kind=SpanKind.CLIENT,
            status=_status(outcome),
            start_time=started,
            end_time=started + took,
            instrumentation_scope=_SCOPE,
        )

    def event(self, feedback: Feedback, about: SpanContext | None) -> ReadableLogRecord:
        """Return feedback as an event, in the trace `about` of its exchange if that is known."""
        return ReadableLogRecord(
            log_record=LogRecord(
                event_name=EVALUATION,
                timestamp=_ns(feedback.at),
                observed_timestamp=_ns(feedback.at),
                context=set_span_in_context(NonRecordingSpan(about), Context()) if about else Context(),
                attributes=known(_evaluation(feedback)),
            ),
            resource=self._resource,
            instrumentation_scope=_SCOPE,
        )


def _attributes(outcome: Outcome, base_urls: Mapping[str, str]) -> dict[str, Value | None]:
    usage = outcome.usage
    return {
        **operation_of(outcome, base_urls),
        CONVERSATION: outcome.session,
        STREAM: outcome.stream,
        FIRST_CHUNK_S: outcome.ttfb_s if outcome.stream else None,
        **_of_answer(outcome),
        INPUT_TOKENS: usage.input_tokens,
        OUTPUT_TOKENS: usage.output_tokens,
        CACHE_READ_TOKENS: usage.cached_input_tokens,
        CACHE_WRITE_TOKENS: usage.cache_write_tokens,
        REASONING_TOKENS: usage.reasoning_tokens,
        STATUS: outcome.status,
        **_of_canary(outcome),
        OUTCOME: outcome.outcome,
        ERROR_TYPE: outcome.error_type,
        EXCHANGE: outcome.exchange_id,
        REQUEST: outcome.request_id,
        UNIT: outcome.unit,
        SESSION: outcome.session,
        CATEGORY: outcome.category,
        MODEL_REQUESTED: outcome.model_requested,
        CONFIGURED_PROVIDER: outcome.provider,
        FIRST_TOKEN_S: outcome.ttft_s,
        OVERHEAD_S: outcome.overhead_s,
        COST_USD: outcome.cost_usd,
        ESTIMATED: usage.estimated or None,
        MIRROR: outcome.mirror or None,
        RETRIES: outcome.retry_count or None,
        **{TAG + key: value for key, value in outcome.tags.items()},
    }


def _of_answer(outcome: Outcome) -> dict[str, Value | None]:
    """How the answer ended and what was wrong with it, or what the provider said instead."""
    said = outcome.provider_error or ProviderError()
    return {
        FINISH_REASONS: (outcome.finish,) if outcome.finish is not None else None,
        FAULTS: outcome.faults or None,
        OUTPUT_CHECK: outcome.output_check,
        PROVIDER_ERROR_CODE: said.code,
        PROVIDER_ERROR_TYPE: said.type,
        PROVIDER_ERROR_PARAM: said.param,
        PROVIDER_ERROR_MESSAGE: said.message,
    }


def _of_canary(outcome: Outcome) -> dict[str, Value | None]:
    """Attributes of the canary; none for a request without a canary, which has no arm."""
    if not outcome.canary:
        return {}
    return {
        CANARY: outcome.canary,
        RUN: outcome.run,
        PHASE: outcome.phase,
        SHARE: outcome.share,
        ARM: outcome.arm,
        SERVED_BY: outcome.served_by,
        REASON: outcome.reason,
    }


def _evaluation(feedback: Feedback) -> dict[str, Value | None]:
    """Attributes of feedback, without the comment, which is a user's text."""
    return {
        EVALUATION_NAME: feedback.metric,
        EVALUATION_VALUE: feedback.value,
        EXCHANGE: feedback.exchange_id,
        CANARY: feedback.canary,
        ARM: feedback.arm,
        UNIT: feedback.unit,
        SESSION: feedback.session,
        CATEGORY: feedback.category,
    }


def _attempts(outcome: Outcome, started: int, ended: int) -> list[Event]:
    """One event at the end of each attempt. Attempts follow each other; the last ends with the answer."""
    events: list[Event] = []
    for attempt in reversed(outcome.attempts):
        events.insert(0, Event(ATTEMPT, known(_of_attempt(attempt)), max(started, ended)))
        ended -= _ns(attempt.latency_s or 0.0)
    return events


def _of_attempt(attempt: AttemptRecord) -> dict[str, Value | None]:
    return {
        ARM: attempt.arm,
        CONFIGURED_PROVIDER: attempt.provider,
        REQUEST_MODEL: attempt.model,
        STATUS: attempt.status,
        ERROR: attempt.error_type,
        ATTEMPT_S: attempt.latency_s,
        COST_USD: attempt.cost_usd,
    }


def _status(outcome: Outcome) -> Status:
    """The span's status. A fallback is a success for the caller, and an aborted exchange is not an error."""
    return Status(StatusCode.ERROR, outcome.error_type) if outcome.outcome in FAILED else Status()


def _number(outcome: Outcome, size: int) -> int:
    """Derive an id of `size` bytes, never 0. A mirror copy shares the exchange id but has its own span."""
    seed = f"{outcome.exchange_id} {'copy' if outcome.mirror else ''}".encode()
    return int.from_bytes(blake2b(seed, digest_size=size).digest(), "big") or 1


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
