"""Sends spans, events and metrics over OTLP/HTTP from its own thread, fed by a bounded queue.

Callers never block. Records that do not fit or that the receiver refuses are dropped and logged.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from typing import Literal

import structlog
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext

from records.exports.client_metrics import ClientMetrics
from records.exports.spans import BaseUrls, Spans
from records.outcome import Feedback, Outcome

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


class Sender:
    """The queue and the thread that empties it. The exporters read OTEL_EXPORTER_OTLP_* themselves.

    Only `signals` are sent. `version` is canary's.
    """

    def __init__(self, version: str, base_urls: BaseUrls, signals: Collection[Signal]) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # drops are logged below
        resource = _resource(version)
        self._signals = signals
        self._spans = Spans(resource, TracerProvider(shutdown_on_exit=False).sampler, base_urls)
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
