"""Records for others: `files` (CSV, JSON, Parquet), `prometheus`, and `otlp` for OpenTelemetry, whose
packages take memory: it is imported only where it is configured."""
