"""Recording rules: what both arms did in the last W seconds, and the histograms by their OpenTelemetry names.

A window's counts leave out what is no evidence (`records.outcome.Outcome.evidence`), as far as labels tell:
pinned and unassigned requests stand among them.
"""

from collections.abc import Iterator

from alerts.prometheus.parts import Recording, duration

_COUNTED = 'canary!="",outcome=~"ok|error|fallback"'
_NO_EVIDENCE = 'canary!="",error_type=~"breaker_open|provider_stale|proxy_.+"'
_BLAMED = 'canary!="",error_type=~"provider_.+|candidate_rejects",error_type!="provider_stale"'
_ANSWERED = 'canary!="",outcome=~"ok|fallback"'

OPENTELEMETRY = {
    "canary_request_duration_seconds": "gen_ai_client_operation_duration_seconds",
    "canary_time_to_first_token_seconds": "gen_ai_server_time_to_first_token_seconds",
    "canary_time_per_output_token_seconds": "gen_ai_server_time_per_output_token_seconds",
}
"""Our histograms, and the names that OpenTelemetry's conventions for generative AI give them in
Prometheus."""


def aliases() -> list[Recording]:
    """Every series of the LLM histograms under its OpenTelemetry name, labels as they are."""
    return [
        Recording(record=f"{theirs}_{part}", expr=f"{ours}_{part}")
        for ours, theirs in OPENTELEMETRY.items()
        for part in ("bucket", "sum", "count")
    ]


def outcomes(seconds: float) -> Iterator[Recording]:
    """Both arms' counted outcomes, failures, and the failing share."""
    w = duration(seconds)
    counted, failures = f"canary_arm:canary_outcomes:increase{w}", f"canary_arm:canary_failures:increase{w}"
    yield Recording(
        record=counted,
        expr=_less(_increase("canary_requests_total", _COUNTED, w), "canary_errors_total", _NO_EVIDENCE, w),
    )
    yield Recording(record=failures, expr=_increase("canary_errors_total", _BLAMED, w))
    yield Recording(
        record=f"canary_arm:canary_failures_per_outcomes:ratio_increase{w}", expr=f"{failures} / {counted}"
    )
    yield Recording(
        record=f"canary:canary_candidate_outcomes:ratio_increase{w}",
        expr=f'sum by (canary) ({counted}{{arm="candidate"}}) / sum by (canary) ({counted})',
    )


def latency(seconds: float) -> Iterator[Recording]:
    """Both arms' p95 latency, and of how many exchanges."""
    w = duration(seconds)
    family = "canary_request_duration_seconds"
    buckets = f'sum by (canary, arm, le) (increase({family}_bucket{{canary!=""}}[{w}]))'
    yield Recording(record=f"canary_arm:{family}:p95_{w}", expr=f"histogram_quantile(0.95, {buckets})")
    yield Recording(
        record=f"canary_arm:{family}_count:increase{w}", expr=_increase(f"{family}_count", 'canary!=""', w)
    )


def cost(seconds: float) -> Iterator[Recording]:
    """Both arms' priced requests, and the dollars of one."""
    w = duration(seconds)
    priced = f"canary_arm:canary_priced_requests:increase{w}"
    answered = _increase("canary_requests_total", _ANSWERED, w)
    yield Recording(record=priced, expr=_less(answered, "canary_unpriced_requests_total", 'canary!=""', w))
    dollars = _increase("canary_cost_usd_total", 'canary!=""', w)
    yield Recording(
        record=f"canary_arm:canary_cost_usd_per_priced_requests:ratio_increase{w}",
        expr=f"{dollars} / {priced}",
    )


def ratings(seconds: float) -> Iterator[Recording]:
    """Both arms' feedback: how many values of each metric, their sum, their mean."""
    w = duration(seconds)
    by = "canary, arm, metric"
    count = f"canary_arm_metric:canary_feedback_value_count:increase{w}"
    total = f"canary_arm_metric:canary_feedback_value_sum:increase{w}"
    yield Recording(record=count, expr=_increase("canary_feedback_value_count", 'canary!=""', w, by=by))
    yield Recording(record=total, expr=_increase("canary_feedback_value_sum", 'canary!=""', w, by=by))
    yield Recording(
        record=f"canary_arm_metric:canary_feedback_value:mean_increase{w}", expr=f"{total} / {count}"
    )


def _increase(family: str, selector: str, w: str, *, by: str = "canary, arm") -> str:
    return f"sum by ({by}) (increase({family}{{{selector}}}[{w}]))"


def _less(whole: str, family: str, selector: str, w: str) -> str:
    """`whole` less what `family` counts; canary shows both from 0 on."""
    return f"{whole}\n- {_increase(family, selector, w)}"
