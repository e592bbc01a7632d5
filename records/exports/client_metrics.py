"""OpenTelemetry's metrics of a client of generative AI, counted from outcomes and sent by the SDK's reader.

A value is recorded for each exchange, sampled or not. Models that a config does not name are bounded, those
of canaries apart from the others, so that callers' models cannot take the place of a canary's.
"""

from collections.abc import Sequence
from typing import Any

import structlog
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.metrics import Histogram, Meter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from records.exports import spans as names
from records.exports.spans import FAILED, BaseUrls, Value, known, operation_of
from records.outcome import Outcome

log = structlog.get_logger()

MOST_MODELS = 100
OTHER = "_OTHER"
"""Stands for every model after the first MOST_MODELS of canaries, or of other exchanges."""

_PASSED_THROUGH = ("", "other")
_ENDED = ("ok", "fallback", *FAILED)


class ClientMetrics:
    """The histograms, and the reader that sends them every OTEL_METRIC_EXPORT_INTERVAL ms (60,000)."""

    def __init__(self, resource: Resource, base_urls: BaseUrls) -> None:
        self.exporter = _LoggingExporter()
        reader = PeriodicExportingMetricReader(self.exporter)
        self._provider = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("canary")
        self._tokens = meter.create_histogram(
            names.TOKEN_USAGE,
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BOUNDS,
        )
        self._duration = _seconds(meter, names.DURATION, "GenAI operation duration.")
        self._to_first = _seconds(meter, names.TO_FIRST_CHUNK, "Time to the first chunk of a stream.")
        self._per_chunk = _seconds(meter, names.PER_OUTPUT_CHUNK, "Mean time per chunk after the first one.")
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
        labels.pop(names.ERROR, None)
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
                self._tokens.record(count, {**labels, names.TOKEN_TYPE: kind})

    def _labels(self, outcome: Outcome) -> dict[str, Value]:
        labels = operation_of(outcome, self._base_urls())
        if not outcome.canary and outcome.outcome != "ok":
            labels[names.REQUEST_MODEL] = None  # callers may ask for any model
        seen = self._of_canaries if outcome.canary else self._others
        labels[names.RESPONSE_MODEL] = _bounded(labels[names.RESPONSE_MODEL], seen)
        if outcome.canary:  # the config names the model that its arm asks for
            labels |= {names.CANARY: outcome.canary, names.ARM: outcome.arm}
        else:
            labels[names.REQUEST_MODEL] = _bounded(labels[names.REQUEST_MODEL], seen)
        return known(labels | {names.MIRROR: outcome.mirror or None})


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
    return meter.create_histogram(
        name, "s", description, explicit_bucket_boundaries_advisory=names.SECOND_BOUNDS
    )
