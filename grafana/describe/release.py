"""A release against the current model, over the whole time shown. For display: the report decides."""

from collections.abc import Sequence

from grafana.describe.dashboard import Dashboard
from grafana.describe.expressions import (
    ARM,
    CANARY,
    RANGE,
    candidate_minus_baseline,
    candidate_over_baseline,
    cost_per_request,
    error_rate,
    fault_share,
    mean_feedback,
    quantile,
    tokens_per_request,
    total,
)
from grafana.describe.panel import Panel, PanelRow, Query

_LATENCY, _TTFT = "canary_request_duration_seconds", "canary_time_to_first_token_seconds"
_TPOT = "canary_time_per_output_token_seconds"


def _both(title: str, description: str, unit: str, expr: str, decimals: int | None = None) -> Panel:
    """Both arms as bars with one figure each."""
    return Panel(
        title=title,
        description=description,
        kind="bargauge",
        unit=unit,
        queries=[Query(expr=expr, legend="{{arm}}", instant=True)],
        width=6,
        height=5,
        decimals=decimals,
    )


def _ratios(named: Sequence[tuple[str, str]]) -> Panel:
    return Panel(
        title="Candidate as a multiple of the baseline",
        description="1 means no difference. Lower is better for all of these. The report has intervals and "
        "decides.",
        kind="bargauge",
        unit="none",
        queries=[
            Query(expr=f"sum({candidate_over_baseline(expr)})", legend=name, instant=True)
            for name, expr in named
        ],
        width=12,
        height=9,
        decimals=2,
    )


_P95 = quantile(0.95, _LATENCY, window=RANGE)
_TTFT_P95 = quantile(0.95, _TTFT, window=RANGE)
_TPOT_P50 = quantile(0.5, _TPOT, window=RANGE)
_COST = cost_per_request(window=RANGE)
_OUTPUT = tokens_per_request("output", window=RANGE)
_FEEDBACK = mean_feedback(window=RANGE)

BASIS = PanelRow(
    title="Amount of data",
    panels=(
        Panel(
            title="Requests",
            description="Each arm's exchanges in the time shown. The report counts users; Prometheus cannot.",
            kind="stat",
            unit="short",
            queries=[Query(expr=total("canary_requests_total", ARM, "arm"), legend="{{arm}}", instant=True)],
            height=4,
            decimals=0,
        ),
        Panel(
            title="Feedback values",
            description="Values with an arm, in the time shown.",
            kind="stat",
            unit="short",
            queries=[Query(expr=total("canary_feedback_total", ARM, "arm"), legend="{{arm}}", instant=True)],
            height=4,
            decimals=0,
        ),
        Panel(
            title="State",
            description="The canary's state now.",
            kind="stat",
            unit="none",
            queries=[Query(expr=f"max by (state) (canary_state{{{CANARY}}}) == 1", legend="{{state}}")],
            height=4,
            show="name",
        ),
    ),
)

SYSTEM = PanelRow(
    title="System: candidate against baseline",
    panels=(
        _both(
            "Error rate",
            "The share of the arm's exchanges that the arm failed.",
            "percentunit",
            error_rate(window=RANGE),
            2,
        ),
        _both("Latency, p95", "To the last byte read from the provider.", "s", _P95),
        _both("Time to first token, p95", "To the first text or reasoning token.", "s", _TTFT_P95),
        _both("Time per output token, p50", "After the first token.", "s", _TPOT_P50),
        _both(
            "Latency, p50",
            "To the last byte read from the provider.",
            "s",
            quantile(0.5, _LATENCY, window=RANGE),
        ),
        _both("Cost per request", "Dollars per answered exchange with a known price.", "currencyUSD", _COST),
        _both("Output tokens per request", "Including reasoning.", "short", _OUTPUT, 0),
        _both(
            "Input tokens per request",
            "Including cached input. The same prompts differ here only by the models' tokenizers.",
            "short",
            tokens_per_request("input", window=RANGE),
            0,
        ),
        _ratios(
            (
                ("latency, p95", _P95),
                ("first token, p95", _TTFT_P95),
                ("time per token, p50", _TPOT_P50),
                ("cost per request", _COST),
                ("output tokens", _OUTPUT),
            )
        ),
        Panel(
            title="Latency over time, p95",
            description="Shows whether a difference is one bad hour or permanent.",
            kind="timeseries",
            unit="s",
            queries=[Query(expr=quantile(0.95, _LATENCY), legend="{{arm}}")],
            width=12,
            height=9,
        ),
        Panel(
            title="Answer faults",
            description="The share of the arm's answers with each fault: cut off, refused, empty, invalid. "
            "The report has intervals and decides.",
            kind="bargauge",
            unit="percentunit",
            queries=[Query(expr=fault_share(window=RANGE), legend="{{arm}} {{fault}}", instant=True)],
            width=24,
            decimals=2,
        ),
    ),
)

BUSINESS = PanelRow(
    title="Users and business",
    panels=(
        Panel(
            title="Feedback, mean by arm",
            description="Every configured metric with values by exchange id: satisfaction, task_completed, "
            "conversion, revenue, churn and your own.",
            kind="bargauge",
            unit="none",
            queries=[Query(expr=_FEEDBACK, legend="{{arm}} {{metric}}", instant=True)],
            width=12,
            decimals=2,
        ),
        Panel(
            title="Feedback, candidate minus baseline",
            description="In the metric's unit. canary.yaml says whether higher is better.",
            kind="table",
            unit="none",
            queries=[Query(expr=candidate_minus_baseline(_FEEDBACK), instant=True)],
            width=12,
            decimals=2,
        ),
    ),
)

RELEASE = Dashboard(
    uid="canary-release",
    title="Canary: release comparison",
    description="One release against the current model, over the time shown. Without offline benchmarks.",
    rows=(BASIS, SYSTEM, BUSINESS),
    since="now-14d",
    one_canary=True,
)
