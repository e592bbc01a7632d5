"""Traces: every exchange as an OpenTelemetry span, feedback as an event. A sink of records; it times nothing.

Imported only where OTEL_EXPORTER_OTLP_ENDPOINT is set: its packages are an extra.
"""
