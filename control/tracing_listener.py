"""Sends traces where OTEL_EXPORTER_OTLP_ENDPOINT is set; else OpenTelemetry is not even imported."""

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from control.events import WorkerEvents

if TYPE_CHECKING:
    from records.tracing.sending import Sender

log = structlog.get_logger()

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class TracingListener:
    """The listener behind traces. After a crash some spans are sent again, under the same ids."""

    def __init__(self, environment: Mapping[str, str], version: str) -> None:
        """`version` is canary's, for the resource of the spans."""
        self._sender = _sender(environment.get(ENDPOINT, ""), version)

    def take(self, events: WorkerEvents) -> None:
        """Queue the records; those that find no room are dropped."""
        if self._sender is not None and events.records:
            self._sender.offer(events.records)

    def close(self) -> None:
        """Send the queued spans, for a few seconds at most."""
        if self._sender is not None:
            self._sender.close()


def _sender(endpoint: str, version: str) -> "Sender | None":
    """None where traces are off or cannot be sent: they must not keep a process from starting."""
    if not endpoint:
        return None
    if urlsplit(endpoint).scheme not in ("http", "https"):
        log.error("traces.off", problem=f"{ENDPOINT} is no http:// or https:// URL: {endpoint}")
        return None
    try:
        from records.tracing.sending import Sender

        sender = Sender(version)
    except ModuleNotFoundError as missing:
        log.error(
            "traces.off",
            problem=f"{ENDPOINT} is set, and {missing.name}, which sends traces, is not installed: "
            "pip install 'canary-llm[otel]'",
        )
        return None
    except Exception as problem:
        log.error("traces.off", problem=f"OpenTelemetry does not take its OTEL_* variables: {problem}")
        return None
    log.info("traces.on", endpoint=_bare(endpoint))
    return sender


def _bare(endpoint: str) -> str:
    """The endpoint's host, without credentials."""
    return urlsplit(endpoint).netloc.rpartition("@")[2]
