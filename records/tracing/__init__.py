"""Traces: exchanges as OpenTelemetry spans and feedback as events, built from records.

Imported only when OTEL_EXPORTER_OTLP_ENDPOINT is set, because its packages are an extra.
"""
