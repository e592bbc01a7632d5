"""Recording rules that give canary's LLM histograms their OpenTelemetry names."""

from alerts.prometheus.parts import Recording

OPENTELEMETRY = {
    "canary_request_duration_seconds": "gen_ai_client_operation_duration_seconds",
    "canary_time_to_first_token_seconds": "gen_ai_server_time_to_first_token_seconds",
    "canary_time_per_output_token_seconds": "gen_ai_server_time_per_output_token_seconds",
}
"""Canary's histograms, and their names in OpenTelemetry's conventions for generative AI as Prometheus writes
them."""


def aliases() -> list[Recording]:
    """Every series of these histograms under its OpenTelemetry name, with the same labels."""
    return [
        Recording(record=f"{alias}_{part}", expr=f"{family}_{part}")
        for family, alias in OPENTELEMETRY.items()
        for part in ("bucket", "sum", "count")
    ]
