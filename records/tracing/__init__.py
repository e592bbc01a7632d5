"""OpenTelemetry: exchanges as spans and in metrics, feedback as events, built from records.

Imported only when OTEL_EXPORTER_OTLP_ENDPOINT is set, because its packages take memory.
"""
