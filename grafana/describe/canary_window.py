"""One canary while it runs: where it stands, whether it hurts, what users say, what it costs."""

from grafana.describe.dashboard import Dashboard
from grafana.describe.expressions import (
    ARM,
    CANARY,
    cost_per_request,
    error_rate,
    happening,
    mean_feedback,
    per_second,
    quantile,
    tokens_per_request,
    total,
)
from grafana.describe.panel import Panel, PanelRow, Query

GUARDRAILS = {
    -2.0: ("not applicable", "#8e8e8e"),
    -1.0: ("not enough data", "#b3b3b3"),
    0.0: ("ok", "#3f8f5f"),
    1.0: ("warn", "#d9a520"),
    2.0: ("firing", "#c4342b"),
    3.0: ("latched", "#7b1fa2"),
}
"""The values of canary_guardrail_state, as docs/metrics.md has them."""

_COHORT = f'{CANARY},reason="cohort"'
_ACTUAL = (
    per_second("canary_assignments_total", f'{_COHORT},arm="candidate"', "canary")
    + " / "
    + per_second("canary_assignments_total", _COHORT, "canary")
)
_LATENCY, _TTFT = "canary_request_duration_seconds", "canary_time_to_first_token_seconds"

STANDS = PanelRow(
    title="Where it stands",
    panels=(
        Panel(
            title="State",
            description="What the canary is now. Only a person starts, resumes or promotes it; a rollback "
            "stays.",
            kind="stat",
            unit="none",
            queries=[Query(expr=f"max by (state) (canary_state{{{CANARY}}}) == 1", legend="{{state}}")],
            width=5,
            height=4,
            show="name",
        ),
        Panel(
            title="Share",
            description="The candidate's part of the users, as ordered. 0 after a rollback.",
            kind="stat",
            unit="percentunit",
            queries=[Query(expr=f"max(canary_share_ratio{{{CANARY}}})", legend="share")],
            width=5,
            height=4,
            decimals=1,
        ),
        Panel(
            title="Requests to the candidate",
            description="Exchanges assigned to the candidate in the time shown, whoever answered them.",
            kind="stat",
            unit="short",
            queries=[
                Query(
                    expr=total("canary_requests_total", f'{CANARY},arm="candidate"', "arm"), legend="{{arm}}"
                )
            ],
            width=5,
            height=4,
            decimals=0,
        ),
        Panel(
            title="Rollbacks",
            description="By the rule that caused them; manual is a person's. Since the records began.",
            kind="stat",
            unit="short",
            queries=[Query(expr=f"max by (rule) (canary_rollbacks_total{{{CANARY}}})", legend="{{rule}}")],
            width=9,
            height=4,
            decimals=0,
        ),
        Panel(
            title="Guardrails",
            description="Where each rule stands. Not enough data is never ok; latched means it convicted "
            "this run.",
            kind="state-timeline",
            unit="none",
            queries=[Query(expr=f"max by (rule) (canary_guardrail_state{{{CANARY}}})", legend="{{rule}}")],
            width=16,
            height=9,
            names=GUARDRAILS,
        ),
        Panel(
            title="Share, ordered and actual",
            description="Actual counts requests, ordered counts users: a few heavy users may set them apart.",
            kind="timeseries",
            unit="percentunit",
            queries=[
                Query(expr=f"max(canary_share_ratio{{{CANARY}}})", legend="ordered"),
                Query(expr=f"sum({_ACTUAL})", legend="actual"),
            ],
            width=8,
            height=9,
        ),
    ),
)

HURTS = PanelRow(
    title="Does it hurt",
    panels=(
        Panel(
            title="Error rate",
            description="Failures the arm caused, of its exchanges. A fallback is a failure of the "
            "candidate, "
            "though the caller saw none. The default guardrail looks at 5 % and at 1.5 times the baseline.",
            kind="timeseries",
            unit="percentunit",
            queries=[Query(expr=error_rate(), legend="{{arm}}")],
        ),
        Panel(
            title="Latency, p95",
            description="From the request's last byte to the provider's last byte read. The default "
            "guardrail "
            "looks at 3 s. Good to a factor of two: the buckets double.",
            kind="timeseries",
            unit="s",
            queries=[Query(expr=quantile(0.95, _LATENCY), legend="{{arm}}")],
        ),
        Panel(
            title="Time to first token, p95",
            description="To the first text or reasoning token.",
            kind="timeseries",
            unit="s",
            queries=[Query(expr=quantile(0.95, _TTFT), legend="{{arm}}")],
        ),
        Panel(
            title="Errors by type",
            description="Every error type of the canary's exchanges, the callers' own mistakes (caller_*) "
            "too.",
            kind="timeseries",
            unit="reqps",
            queries=[
                Query(
                    expr=happening("canary_errors_total", ARM, "arm, error_type"),
                    legend="{{arm}} {{error_type}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            title="Exchanges by outcome",
            description="How exchanges ended, by the arm that was assigned.",
            kind="timeseries",
            unit="reqps",
            queries=[
                Query(
                    expr=happening("canary_requests_total", ARM, "arm, outcome"),
                    legend="{{arm}} {{outcome}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            title="Fallbacks and the breaker",
            description="Answers by the baseline in the candidate's place, by why; and the workers whose "
            "breaker "
            "keeps requests from the candidate now.",
            kind="timeseries",
            unit="short",
            queries=[
                Query(
                    expr=happening("canary_fallbacks_total", CANARY, "reason"), legend="{{reason}} a second"
                ),
                Query(expr=f"sum(canary_breaker_open{{{CANARY}}})", legend="breakers open"),
            ],
        ),
    ),
)

USERS = PanelRow(
    title="What users say, and what it costs",
    panels=(
        Panel(
            title="Feedback, mean",
            description="Mean of the values that came in, each key's first. The report uses corrected "
            "values, and "
            "joins feedback by session and user, which has no arm here.",
            kind="timeseries",
            unit="none",
            queries=[Query(expr=mean_feedback(), legend="{{arm}} {{metric}}")],
            decimals=2,
        ),
        Panel(
            title="Feedback values",
            description="How many came in over the time shown. Thin feedback says little.",
            kind="bargauge",
            unit="short",
            queries=[
                Query(
                    expr=total("canary_feedback_total", ARM, "arm, metric"),
                    legend="{{arm}} {{metric}}",
                    instant=True,
                )
            ],
            width=6,
            decimals=0,
        ),
        Panel(
            title="Cost per request",
            description="Dollars an answered exchange with a known price. The default guardrail looks at "
            "twice the "
            "baseline's.",
            kind="timeseries",
            unit="currencyUSD",
            queries=[Query(expr=cost_per_request(), legend="{{arm}}")],
            width=5,
        ),
        Panel(
            title="Output tokens per request",
            description="Reasoning included. A wordier model is dearer and slower at the same price list.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr=tokens_per_request("output"), legend="{{arm}}")],
            width=5,
            decimals=0,
        ),
    ),
)

CANARY_WINDOW = Dashboard(
    uid="canary-window",
    title="Canary: the window",
    description="One canary while it runs. The report decides; this shows.",
    rows=(STANDS, HURTS, USERS),
    one_canary=True,
)
