"""Converts records to spans and events. Pure except for the sampler, which the environment configures.

A span's id derives from the exchange id, so a span that is sent again after a crash is the same span.
"""

from collections.abc import Mapping
from hashlib import blake2b

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
from records.tracing import attributes as names
from records.tracing.operation import FAILED, BaseUrls, Value, known, operation_of

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
                event_name=names.EVALUATION,
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
        names.CONVERSATION: outcome.session,
        names.STREAM: outcome.stream,
        names.FIRST_CHUNK_S: outcome.ttfb_s if outcome.stream else None,
        **_of_answer(outcome),
        names.INPUT_TOKENS: usage.input_tokens,
        names.OUTPUT_TOKENS: usage.output_tokens,
        names.CACHE_READ_TOKENS: usage.cached_input_tokens,
        names.CACHE_WRITE_TOKENS: usage.cache_write_tokens,
        names.REASONING_TOKENS: usage.reasoning_tokens,
        names.STATUS: outcome.status,
        **_of_canary(outcome),
        names.OUTCOME: outcome.outcome,
        names.ERROR_TYPE: outcome.error_type,
        names.EXCHANGE: outcome.exchange_id,
        names.REQUEST: outcome.request_id,
        names.UNIT: outcome.unit,
        names.SESSION: outcome.session,
        names.CATEGORY: outcome.category,
        names.MODEL_REQUESTED: outcome.model_requested,
        names.CONFIGURED_PROVIDER: outcome.provider,
        names.FIRST_TOKEN_S: outcome.ttft_s,
        names.OVERHEAD_S: outcome.overhead_s,
        names.COST_USD: outcome.cost_usd,
        names.ESTIMATED: usage.estimated or None,
        names.MIRROR: outcome.mirror or None,
        names.RETRIES: outcome.retry_count or None,
        **{names.TAG + key: value for key, value in outcome.tags.items()},
    }


def _of_answer(outcome: Outcome) -> dict[str, Value | None]:
    """How the answer ended and what was wrong with it, or what the provider said instead."""
    said = outcome.provider_error or ProviderError()
    return {
        names.FINISH_REASONS: (outcome.finish,) if outcome.finish is not None else None,
        names.FAULTS: outcome.faults or None,
        names.OUTPUT_CHECK: outcome.output_check,
        names.PROVIDER_ERROR_CODE: said.code,
        names.PROVIDER_ERROR_TYPE: said.type,
        names.PROVIDER_ERROR_PARAM: said.param,
        names.PROVIDER_ERROR_MESSAGE: said.message,
    }


def _of_canary(outcome: Outcome) -> dict[str, Value | None]:
    """Attributes of the canary; none for a request without a canary, which has no arm."""
    if not outcome.canary:
        return {}
    return {
        names.CANARY: outcome.canary,
        names.RUN: outcome.run,
        names.PHASE: outcome.phase,
        names.SHARE: outcome.share,
        names.ARM: outcome.arm,
        names.SERVED_BY: outcome.served_by,
        names.REASON: outcome.reason,
    }


def _evaluation(feedback: Feedback) -> dict[str, Value | None]:
    """Attributes of feedback, without the comment, which is a user's text."""
    return {
        names.EVALUATION_NAME: feedback.metric,
        names.EVALUATION_VALUE: feedback.value,
        names.EXCHANGE: feedback.exchange_id,
        names.CANARY: feedback.canary,
        names.ARM: feedback.arm,
        names.UNIT: feedback.unit,
        names.SESSION: feedback.session,
        names.CATEGORY: feedback.category,
    }


def _attempts(outcome: Outcome, started: int, ended: int) -> list[Event]:
    """One event at the end of each attempt. Attempts follow each other; the last ends with the answer."""
    events: list[Event] = []
    for attempt in reversed(outcome.attempts):
        events.insert(0, Event(names.ATTEMPT, known(_of_attempt(attempt)), max(started, ended)))
        ended -= _ns(attempt.latency_s or 0.0)
    return events


def _of_attempt(attempt: AttemptRecord) -> dict[str, Value | None]:
    return {
        names.ARM: attempt.arm,
        names.CONFIGURED_PROVIDER: attempt.provider,
        names.REQUEST_MODEL: attempt.model,
        names.STATUS: attempt.status,
        names.ERROR: attempt.error_type,
        names.ATTEMPT_S: attempt.latency_s,
        names.COST_USD: attempt.cost_usd,
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
