"""Where no traces are wanted nothing is imported; where they cannot be sent that is said, and all goes on."""

import subprocess
import sys

import pytest

_ATTACH = """
import sys
{first}
import control.feed.events
from canary.programs.process import log_to_stderr
log_to_stderr()
control.feed.events.TracingListener({environment!r}, "0.1.0", dict).close()
print("\\n".join(sys.modules))
"""


def attached(environment: dict[str, str], first: str = "") -> tuple[list[str], str]:
    """A process of its own that attaches traces: the modules that it has imported, and what it logged."""
    program = _ATTACH.format(first=first, environment=environment)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout.splitlines(), done.stderr


def test_the_admin_process_imports_nothing_of_it_without_the_variable() -> None:
    imported, log = attached({}, first="import canary.programs.controller")
    assert "canary.programs.controller" in imported
    assert [
        name
        for name in imported
        if name.startswith(("opentelemetry", "google.", "records.exports.otlp", "records.exports.otlp"))
    ] == []
    assert log == ""


def test_the_agent_imports_no_exporter_without_the_variable() -> None:
    imported, log = attached(
        {}, first="import canary.programs.agent"
    )  # redis imports OpenTelemetry's API for itself
    ours = ("opentelemetry.exporter", "google.", "records.exports.otlp", "records.exports.otlp")
    assert [name for name in imported if name.startswith(ours)] == []
    assert log == ""


def test_a_broken_package_is_named_and_the_process_goes_on() -> None:
    missing = 'sys.modules["opentelemetry.sdk"] = None'
    imported, log = attached({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}, first=missing)
    assert "traces.off" in log and "opentelemetry.sdk" in log
    assert "control.feed.events" in imported


@pytest.mark.parametrize(
    "off",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "console"},
    ],
)
def test_nothing_is_imported_where_the_standard_variables_turn_all_of_it_off(off: dict[str, str]) -> None:
    imported, _ = attached({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", **off})
    assert [
        name
        for name in imported
        if name.startswith(("opentelemetry", "records.exports.otlp", "records.exports.otlp"))
    ] == []


def test_what_is_sent_is_said() -> None:
    _, log = attached({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"})
    assert '"signals": ["metrics", "logs"]' in log


@pytest.mark.parametrize("endpoint", ["localhost:4318", "grpc://collector:4317"])
def test_an_endpoint_that_is_no_url_is_named(endpoint: str) -> None:
    imported, log = attached({"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert f"is no http:// or https:// URL: {endpoint}" in log
    assert "records.exports.otlp" not in imported
