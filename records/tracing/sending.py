"""Sends spans and events by OTLP/HTTP from a thread of its own. What finds no receiver is dropped, and said.

Nobody waits for it: offering is an append to a bounded queue.
"""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.trace import SpanContext

from records.outcome import Feedback, Outcome
from records.tracing.spans import Spans

log = structlog.get_logger()

ROOM = 10_000
"""Records that wait at most."""

BATCH = 500
EVERY_S = 0.5
SAY_EVERY_S = 10.0
LINGER_S = 3.0
"""How long the end waits for a receiver."""

REMEMBERED = 20_000
"""Exchanges whose feedback finds their trace."""


class Sender:
    """The queue and the thread that empties it. The exporters read OTEL_EXPORTER_OTLP_* themselves."""

    def __init__(self, version: str) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what it would say, we say below
        self._spans = Spans(_resource(version), TracerProvider(shutdown_on_exit=False).sampler)
        self._to_traces, self._to_logs = OTLPSpanExporter(), OTLPLogExporter()
        self._waiting: deque[Outcome | Feedback] = deque()
        self._traces: OrderedDict[str, SpanContext] = OrderedDict()
        self._ending = threading.Event()
        self._no_room = 0  # counted by who offers; the rest belongs to the thread
        self._not_taken = 0
        self._said, self._said_at = 0, float("-inf")
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    def offer(self, records: Sequence[Outcome | Feedback]) -> None:
        """Take what there is room for."""
        room = max(0, ROOM - len(self._waiting))
        self._waiting.extend(records[:room])
        self._no_room += len(records[room:])

    def close(self) -> None:
        """Send what waits, within some 4 s; the rest is dropped."""
        self._ending.set()
        self._thread.join(LINGER_S)
        self._to_traces.shutdown()  # type: ignore[no-untyped-call]  # ends a pause between attempts, too
        self._to_logs.shutdown()  # type: ignore[no-untyped-call]
        self._thread.join(1.0)
        self._no_room += len(self._waiting)
        self._say(float("inf"))

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._ending.wait(EVERY_S)
            while self._waiting:
                self._send([self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))])
            self._say(time.monotonic())

    def _send(self, records: Sequence[Outcome | Feedback]) -> None:
        try:
            spans, events = self._told(records)
            if spans and self._to_traces.export(spans) is not SpanExportResult.SUCCESS:
                self._not_taken += len(spans)
            if events and self._to_logs.export(events) is not LogRecordExportResult.SUCCESS:
                self._not_taken += len(events)
        except Exception:  # a sender that is dead would be missed by nobody
            log.exception("traces.not_sent")
            self._not_taken += len(records)
        self._say(time.monotonic())

    def _told(
        self, records: Sequence[Outcome | Feedback]
    ) -> tuple[list[ReadableSpan], list[ReadableLogRecord]]:
        spans: list[ReadableSpan] = []
        for outcome in (each for each in records if type(each) is Outcome):
            span = self._spans.of(outcome)
            if span is not None:
                spans.append(span)
                self._remember(outcome, span)
        given = (each for each in records if type(each) is Feedback)  # another worker's file may come first
        return spans, [self._spans.event(each, self._traces.get(each.exchange_id)) for each in given]

    def _remember(self, outcome: Outcome, span: ReadableSpan) -> None:
        context = span.get_span_context()
        if outcome.mirror or context is None:
            return
        self._traces[outcome.exchange_id] = context
        if len(self._traces) > REMEMBERED:
            self._traces.popitem(last=False)

    def _say(self, now_mono: float) -> None:
        dropped = self._no_room + self._not_taken
        if dropped > self._said and now_mono - self._said_at >= SAY_EVERY_S:
            log.warning("traces.dropped", no_room=self._no_room, not_taken=self._not_taken)
            self._said, self._said_at = dropped, now_mono


def _resource(version: str) -> Resource:
    """Who sends: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES have it, else `canary`."""
    found = Resource({"service.version": version}).merge(Resource.create())
    if str(found.attributes["service.name"]).startswith("unknown_service"):
        found = found.merge(Resource({"service.name": "canary"}))
    return found
