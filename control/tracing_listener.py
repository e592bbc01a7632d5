"""Attaches traces to the news where OTEL_EXPORTER_OTLP_ENDPOINT is set; else nothing is even imported."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog

from control.events import WorkerEvents

if TYPE_CHECKING:
    from records.tracing.sending import Sender

log = structlog.get_logger()

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class TracingListener:
    """The listener behind traces. Without memory: what is told again after a crash is the same span again."""

    def __init__(self, environment: Mapping[str, str], version: str) -> None:
        """`version` is ours, for the spans' resource."""
        self._sender = _sender(environment.get(ENDPOINT, ""), version)

    def take(self, events: WorkerEvents) -> None:
        """Pass the records on; what finds no room is dropped."""
        if self._sender is not None and events.records:
            self._sender.offer(events.records)

    def snapshot(self) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def restore(self, document: Mapping[str, Any], *, new_boot: float | None) -> None:
        """Nothing."""

    def close(self) -> None:
        """Send what waits, for some seconds at most."""
        if self._sender is not None:
            self._sender.close()


def _sender(endpoint: str, version: str) -> "Sender | None":
    """None where nothing is to be sent, or cannot be: traces keep no process from starting."""
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
    """The endpoint without credentials that may stand in it."""
    return urlsplit(endpoint).netloc.rpartition("@")[2]
