"""Counts this machine's records for Prometheus, and sends them to OpenTelemetry where an endpoint is set."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from control.feed.events import WorkerEvents
from records.exports.prometheus import Meters


class MetricsListener:
    """The listener behind `/metrics`."""

    def __init__(self, meters: Meters) -> None:
        self._meters = meters

    def take(self, events: WorkerEvents) -> None:
        """Count these events."""
        for group in events.alike:
            self._meters.observe(*group)
        self._meters.count_callers(events.callers)
        for each in events.feedback:
            self._meters.observe_feedback(each)
        for _, beat in events.beats:
            self._meters.beat(beat)
        for _, lost in events.deaths:
            self._meters.lose(lost)

    def snapshot(self) -> Mapping[str, Any]:
        """The totals."""
        return {"meters": self._meters.snapshot()}

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Continue from a snapshot's totals."""
        if "meters" in document:
            self._meters.restore(document["meters"])


# Sends traces, metrics and events where OTEL_EXPORTER_OTLP_ENDPOINT is set; else OpenTelemetry is not even


if TYPE_CHECKING:
    from records.exports.otlp import Sender, Signal

log = structlog.get_logger()

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_EXPORTERS: Mapping["Signal", str] = {
    "traces": "OTEL_TRACES_EXPORTER",
    "metrics": "OTEL_METRICS_EXPORTER",
    "logs": "OTEL_LOGS_EXPORTER",
}
_OURS = ("otlp", "otlp_proto_http")


class TracingListener:
    """The listener behind traces and metrics. After a crash some spans are sent again, under the same ids."""

    def __init__(
        self, environment: Mapping[str, str], version: str, base_urls: Callable[[], Mapping[str, str]]
    ) -> None:
        """`version`: canary's, for the resource. `base_urls()`: the newest config's, by provider entry."""
        self._sender = _sender(environment, version, base_urls)

    def take(self, events: WorkerEvents) -> None:
        """Queue the records; those that find no room are dropped."""
        if self._sender is not None and events.records:
            self._sender.offer(events.records)

    def close(self) -> None:
        """Send the queued spans, for a few seconds at most."""
        if self._sender is not None:
            self._sender.close()


def _sender(
    environment: Mapping[str, str], version: str, base_urls: Callable[[], Mapping[str, str]]
) -> "Sender | None":
    """None where nothing is to be sent, or cannot be: that must not keep a process from starting."""
    endpoint, signals = environment.get(ENDPOINT, ""), _signals(environment)
    if not endpoint or not signals:
        return None
    if urlsplit(endpoint).scheme not in ("http", "https"):
        log.error("traces.off", problem=f"{ENDPOINT} is no http:// or https:// URL: {endpoint}")
        return None
    try:
        from records.exports.otlp import Sender

        sender = Sender(version, base_urls, signals)
    except Exception as problem:
        log.error(
            "traces.off", problem=f"OpenTelemetry does not start with these OTEL_* variables: {problem}"
        )
        return None
    log.info("traces.on", endpoint=_bare(endpoint), signals=signals)
    return sender


def _signals(environment: Mapping[str, str]) -> "list[Signal]":
    """What is to be sent over OTLP: all, except what has another exporter or `none`."""
    if environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    return [signal for signal, name in _EXPORTERS.items() if _is_ours(environment.get(name, ""))]


def _is_ours(exporters: str) -> bool:
    return not exporters.strip() or any(each.strip() in _OURS for each in exporters.split(","))


def _bare(endpoint: str) -> str:
    """The endpoint's host, without credentials."""
    return urlsplit(endpoint).netloc.rpartition("@")[2]
