"""A receiver of OTLP/HTTP: takes protobuf as a collector does, keeps it as OpenTelemetry's own messages."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """`spans` and `events` are what arrived, `metrics` the newest of each name, `resources` who sent it.

    Nothing is answered unless `answering`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.spans: list[Span] = []
        self.events: list[LogRecord] = []
        self.metrics: dict[str, Metric] = {}
        self.resources: list[dict[str, Any]] = []
        self.asked = 0
        self.answering = threading.Event()
        self.answering.set()

    def take(self, path: str, body: bytes) -> None:
        """One request's body."""
        if path == "/v1/traces":
            for group in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(values(group.resource.attributes))
                self.spans += [span for scope in group.scope_spans for span in scope.spans]
        elif path == "/v1/logs":
            for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                self.resources.append(values(logs.resource.attributes))
                self.events += [record for scope in logs.scope_logs for record in scope.log_records]

        elif path == "/v1/metrics":
            for measured in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.resources.append(values(measured.resource.attributes))
                found = [metric for scope in measured.scope_metrics for metric in scope.metrics]
                self.metrics |= {metric.name: metric for metric in found}

    def points(self, metric: str, **labels: Any) -> list[HistogramDataPoint]:
        """The histograms of a metric with these labels, `__` for `.`; what was sent last is all that was."""
        found = self.metrics.get(metric, Metric()).histogram.data_points
        wanted = {name.replace("__", "."): value for name, value in labels.items()}
        return [point for point in found if wanted.items() <= values(point.attributes).items()]

    def of(self, exchange_id: str) -> Span | None:
        """The span of an exchange."""
        found = [each for each in self.spans if values(each.attributes)["canary.exchange_id"] == exchange_id]
        return found[0] if found else None


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector up, on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.asked += 1
            if not collector.answering.wait(60.0):
                return
            zipped = self.headers.get("content-encoding") == "gzip"
            collector.take(self.path, gzip.decompress(body) if zipped else body)
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Keep quiet."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """A sender that no longer waits for its answer is what some tests want."""

    with Server(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield collector
        finally:
            collector.answering.set()
            server.shutdown()
            thread.join()
