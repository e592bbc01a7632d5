"""Sends spans, events and metrics over OTLP/HTTP from its own thread, fed by a bounded queue.

Callers never block. Records that do not fit or that the receiver refuses are dropped and logged.

`gen_ai.*` follow OpenTelemetry's conventions, which still change. They are those of the repository
open-telemetry/semantic-conventions-genai, the only place where they are kept since they left the general
conventions. No other file has one of these names.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal
from urllib.parse import urlsplit

import structlog
from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
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

REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"


TOKEN_BOUNDS = tuple(4**power for power in range(14))
"""The bounds that the conventions state for numbers of tokens: 1 to 67,108,864."""
SECOND_BOUNDS = tuple(0.01 * 2**power for power in range(14))
"""The same for seconds: 0.01 to 81.92."""

STATUS = "http.response.status_code"
ERROR = "error.type"

CANARY = "canary.name"
ARM = "canary.arm"
EXCHANGE = "canary.exchange_id"
UNIT = "canary.unit"
SESSION = "canary.session"
CATEGORY = "canary.category"
CONFIGURED_PROVIDER = "canary.provider"
COST_USD = "canary.cost_usd"
MIRROR = "canary.mirror"


WELL_KNOWN_PROVIDERS = {"openai": "openai", "anthropic": "anthropic", "gemini": "gcp.gemini"}
"""OpenTelemetry's provider name by wire API: the API's owner, not always the operator of the endpoint."""


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
        "gen_ai.operation.name": outcome.operation,
        "gen_ai.provider.name": WELL_KNOWN_PROVIDERS.get(outcome.api, outcome.api),
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
    return {"server.address": url.hostname, "server.port": url.port or _PORTS.get(url.scheme)}


def known(values: Mapping[str, Value | None]) -> dict[str, Value]:
    """Leave out unknown values."""
    return {key: value for key, value in values.items() if value is not None and value != ""}


_SCOPE = InstrumentationScope("canary")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_PROPAGATOR = TraceContextTextMapPropagator()


class SpanFactory:
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
                event_name="gen_ai.evaluation.result",
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
        "gen_ai.conversation.id": outcome.session,
        "gen_ai.request.stream": outcome.stream,
        "gen_ai.response.time_to_first_chunk": outcome.ttfb_s if outcome.stream else None,
        **_of_answer(outcome),
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens,
        "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
        STATUS: outcome.status,
        **_of_canary(outcome),
        "canary.outcome": outcome.outcome,
        "canary.error_type": outcome.error_type,
        EXCHANGE: outcome.exchange_id,
        "canary.request_id": outcome.request_id,
        "canary.provider_request_id": outcome.provider_request_id,
        UNIT: outcome.unit,
        SESSION: outcome.session,
        CATEGORY: outcome.category,
        "canary.model_requested": outcome.model_requested,
        CONFIGURED_PROVIDER: outcome.provider,
        "canary.time_to_first_token": outcome.ttft_s,
        "canary.overhead": outcome.overhead_s,
        COST_USD: outcome.cost_usd,
        "canary.usage_estimated": usage.estimated or None,
        MIRROR: outcome.mirror or None,
        "canary.retry_count": outcome.retry_count or None,
        **{"canary.tag." + key: value for key, value in outcome.tags.items()},
    }


def _of_answer(outcome: Outcome) -> dict[str, Value | None]:
    """How the answer ended and what was wrong with it, or what the provider said instead."""
    said = outcome.provider_error or ProviderError()
    return {
        "gen_ai.response.finish_reasons": (outcome.finish,) if outcome.finish is not None else None,
        "canary.answer.faults": outcome.faults or None,
        "canary.answer.output_check": outcome.output_check,
        "canary.provider_error.code": said.code,
        "canary.provider_error.type": said.type,
        "canary.provider_error.param": said.param,
        "canary.provider_error.message": said.message,
    }


def _of_canary(outcome: Outcome) -> dict[str, Value | None]:
    """Attributes of the canary; none for a request without a canary, which has no arm."""
    if not outcome.canary:
        return {}
    return {
        CANARY: outcome.canary,
        "canary.run": outcome.run,
        "canary.phase": outcome.phase,
        "canary.share": outcome.share,
        ARM: outcome.arm,
        "canary.served_by": outcome.served_by,
        "canary.reason": outcome.reason,
    }


def _evaluation(feedback: Feedback) -> dict[str, Value | None]:
    """Attributes of feedback, without the comment, which is a user's text."""
    return {
        "gen_ai.evaluation.name": feedback.metric,
        "gen_ai.evaluation.score.value": feedback.value,
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
        events.insert(0, Event("canary.attempt", known(_of_attempt(attempt)), max(started, ended)))
        ended -= _ns(attempt.latency_s or 0.0)
    return events


def _of_attempt(attempt: AttemptRecord) -> dict[str, Value | None]:
    return {
        ARM: attempt.arm,
        CONFIGURED_PROVIDER: attempt.provider,
        REQUEST_MODEL: attempt.model,
        STATUS: attempt.status,
        ERROR: attempt.error_type,
        "canary.attempt.duration": attempt.latency_s,
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


MOST_MODELS = 100
OTHER = "_OTHER"
"""Stands for every model after the first MOST_MODELS of canaries, or of other exchanges."""

_PASSED_THROUGH = ("", "other")
_ENDED = ("ok", "fallback", *FAILED)


class ClientMetrics:
    """The histograms of a client of generative AI, and the reader that sends them every
    OTEL_METRIC_EXPORT_INTERVAL ms (60,000).

    A value is recorded for each exchange, sampled or not. Models that a config does not name are bounded,
    those of canaries apart from the others, so that callers' models cannot take the place of a canary's.
    """

    def __init__(self, resource: Resource, base_urls: BaseUrls) -> None:
        self.exporter = _LoggingExporter()
        reader = PeriodicExportingMetricReader(self.exporter)
        self._provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("canary")
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKEN_BOUNDS,
        )
        self._duration = _seconds(meter, "gen_ai.client.operation.duration", "GenAI operation duration.")
        self._to_first = _seconds(
            meter, "gen_ai.client.operation.time_to_first_chunk", "Time to the first chunk of a stream."
        )
        self._per_chunk = _seconds(
            meter, "gen_ai.client.operation.time_per_output_chunk", "Mean time per chunk after the first one."
        )
        self._base_urls = base_urls
        self._of_canaries: set[Value] = set()
        self._others: set[Value] = set()

    def take(self, outcomes: Sequence[Outcome]) -> None:
        """Record exchanges, except those that are no operation on a model or asked no provider."""
        for outcome in outcomes:
            if outcome.provider and outcome.operation not in _PASSED_THROUGH:
                self._take(outcome)

    def close(self) -> None:
        """Send what has been recorded since the last time."""
        self._provider.shutdown()

    def _take(self, outcome: Outcome) -> None:
        labels = self._labels(outcome)
        if outcome.outcome in _ENDED and outcome.latency_s is not None:
            self._duration.record(outcome.latency_s, labels)
        labels.pop(ERROR, None)
        self._take_usage(outcome, labels)
        if outcome.stream and outcome.ttfb_s is not None:
            self._to_first.record(outcome.ttfb_s, labels)
            if outcome.outcome in ("ok", "fallback") and outcome.chunks > 1 and outcome.latency_s is not None:
                self._per_chunk.record((outcome.latency_s - outcome.ttfb_s) / (outcome.chunks - 1), labels)

    def _take_usage(self, outcome: Outcome, labels: dict[str, Value]) -> None:
        """Record the tokens that the provider has counted; an estimate is none."""
        usage = outcome.usage
        for kind, count in (("input", usage.input_tokens), ("output", usage.output_tokens)):
            if count is not None and not usage.estimated:
                self._tokens.record(count, {**labels, "gen_ai.token.type": kind})

    def _labels(self, outcome: Outcome) -> dict[str, Value]:
        labels = operation_of(outcome, self._base_urls())
        if not outcome.canary and outcome.outcome != "ok":
            labels[REQUEST_MODEL] = None  # callers may ask for any model
        seen = self._of_canaries if outcome.canary else self._others
        labels[RESPONSE_MODEL] = _bounded(labels[RESPONSE_MODEL], seen)
        if outcome.canary:  # the config names the model that its arm asks for
            labels |= {CANARY: outcome.canary, ARM: outcome.arm}
        else:
            labels[REQUEST_MODEL] = _bounded(labels[REQUEST_MODEL], seen)
        return known(labels | {MIRROR: outcome.mirror or None})


def _bounded(model: Value | None, seen: set[Value]) -> Value | None:
    """The model; OTHER for a new one where MOST_MODELS were `seen`. Adds it to them."""
    if model and model not in seen:
        if len(seen) >= MOST_MODELS:
            return OTHER
        seen.add(model)
    return model


class _LoggingExporter(OTLPMetricExporter):
    """Says, once until it works again, that metrics do not arrive. The next time sends the same ones too."""

    failing = False

    def export(
        self, metrics_data: MetricsData, timeout_millis: float | None = 10_000, **kwargs: Any
    ) -> MetricExportResult:
        result = super().export(metrics_data, timeout_millis, **kwargs)
        failing = result is not MetricExportResult.SUCCESS
        if failing and not self.failing:
            log.warning("metrics.not_sent")
        self.failing = failing
        return result


def _seconds(meter: Meter, name: str, description: str) -> Histogram:
    return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=SECOND_BOUNDS)


log = structlog.get_logger()

Signal = Literal["traces", "metrics", "logs"]

ROOM = 10_000
"""Length of the queue."""

BATCH = 500
EVERY_S = 0.5
LOG_EVERY_S = 10.0
LINGER_S = 3.0
"""How long `close` waits for a receiver."""

REMEMBERED = 20_000
"""Number of recent exchanges whose feedback is linked to their trace."""


class OtlpSender:
    """The queue and the thread that empties it. The exporters read OTEL_EXPORTER_OTLP_* themselves.

    Only `signals` are sent. `version` is canary's.
    """

    def __init__(self, version: str, base_urls: BaseUrls, signals: Collection[Signal]) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # drops are logged below
        resource = _resource(version)
        self._signals = signals
        self._spans = SpanFactory(resource, TracerProvider(shutdown_on_exit=False).sampler, base_urls)
        self._metrics = ClientMetrics(resource, base_urls) if "metrics" in signals else None
        self._to_traces, self._to_logs = OTLPSpanExporter(), OTLPLogExporter()
        self._waiting: deque[Outcome | Feedback] = deque()
        self._traces: OrderedDict[str, SpanContext] = OrderedDict()
        self._ending = threading.Event()
        self._no_room = 0  # written by callers of `offer`; all other fields by the thread
        self._not_taken = 0
        self._logged, self._logged_at = 0, float("-inf")
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def offer(self, records: Sequence[Outcome | Feedback]) -> None:
        """Queue the records that fit; count the others as dropped."""
        room = max(0, ROOM - len(self._waiting))
        self._waiting.extend(records[:room])
        self._no_room += len(records[room:])

    def close(self) -> None:
        """Send the queued records for about 4 s and drop the rest."""
        self._ending.set()
        self._thread.join(LINGER_S)
        self._to_traces.shutdown()  # type: ignore[no-untyped-call]  # also ends a pause between retries
        self._to_logs.shutdown()  # type: ignore[no-untyped-call]
        if self._metrics is not None:
            self._metrics.exporter.shutdown()
        self._thread.join(1.0)
        self._no_room += len(self._waiting)
        self._log_drops(float("inf"))

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._ending.wait(EVERY_S)
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])
            self._log_drops(time.monotonic())
        if self._metrics is not None:
            self._metrics.close()

    def _send(self, records: Sequence[Outcome | Feedback]) -> None:
        outcomes = [record for record in records if type(record) is Outcome]
        # After all outcomes: feedback may come before its exchange, from another worker's file.
        feedback = [record for record in records if type(record) is Feedback]
        try:
            if self._metrics is not None:
                self._metrics.take(outcomes)
            spans = self._spans_of(outcomes) if "traces" in self._signals else []
            events = self._events_of(feedback) if "logs" in self._signals else []
            if spans and self._to_traces.export(spans) is not SpanExportResult.SUCCESS:
                self._not_taken += len(spans)
            if events and self._to_logs.export(events) is not LogRecordExportResult.SUCCESS:
                self._not_taken += len(events)
        except Exception:  # the thread must survive any failure
            log.exception("traces.not_sent")
            self._not_taken += len(records)
        self._log_drops(time.monotonic())

    def _spans_of(self, outcomes: Sequence[Outcome]) -> list[ReadableSpan]:
        spans: list[ReadableSpan] = []
        for outcome in outcomes:
            span = self._spans.of(outcome)
            if span is not None:
                spans.append(span)
                self._remember(outcome, span)
        return spans

    def _events_of(self, feedback: Sequence[Feedback]) -> list[ReadableLogRecord]:
        return [self._spans.event(value, self._traces.get(value.exchange_id)) for value in feedback]

    def _remember(self, outcome: Outcome, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if outcome.mirror or context is None:
            return
        self._traces[outcome.exchange_id] = context
        if len(self._traces) > REMEMBERED:
            self._traces.popitem(last=False)

    def _log_drops(self, now_mono: float) -> None:
        dropped = self._no_room + self._not_taken
        if dropped > self._logged and now_mono - self._logged_at >= LOG_EVERY_S:
            log.warning("traces.dropped", no_room=self._no_room, not_taken=self._not_taken)
            self._logged, self._logged_at = dropped, now_mono


def _resource(version: str) -> Resource:
    """The resource from OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES; the default service is `canary`."""
    resource = Resource({"service.version": version}).merge(Resource.create())
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "canary"}))
    return resource
