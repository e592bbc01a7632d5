"""Records for others: `files` (CSV, JSON, Parquet), `prometheus`, and for OpenTelemetry `spans`,
`client_metrics` and `otlp`, which sends both. Its packages take memory: only `otlp` where it is configured
imports them."""
