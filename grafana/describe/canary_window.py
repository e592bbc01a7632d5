"""One canary while it runs: its state, errors and latency, feedback, and cost."""

from grafana.describe.dashboard import Dashboard
from grafana.describe.expressions import (
    ARM,
    CANARY,
    RANGE,
    candidate_over_baseline,
    cost_per_request,
    error_rate,
    fault_share,
    happened,
    happening,
    mean_feedback,
    per_second,
    quantile,
    tokens_per_request,
    total,
)
from grafana.describe.judge import JUDGE
from grafana.describe.panel import Panel, PanelRow, Query

GUARDRAILS = {
    -2.0: ("not applicable", "#8e8e8e"),
    -1.0: ("not enough data", "#b3b3b3"),
    0.0: ("ok", "#3f8f5f"),
    1.0: ("warn", "#d9a520"),
    2.0: ("firing", "#c4342b"),
    3.0: ("latched", "#7b1fa2"),
}
"""The values of canary_guardrail_state, as in docs/metrics.md."""

_COHORT = f'{CANARY},reason="cohort"'
_ACTUAL = (
    per_second("canary_assignments_total", f'{_COHORT},arm="candidate"', "canary")
    + " / "
    + per_second("canary_assignments_total", _COHORT, "canary")
)
_LATENCY, _TTFT = "canary_request_duration_seconds", "canary_time_to_first_token_seconds"

STANDS = PanelRow(
    title="State",
    panels=(
        Panel(
            title="State",
            description="The canary's state now. Only a person starts, resumes or promotes it. A rollback "
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
            description="The candidate's share of users, as ordered. 0 after a rollback.",
            kind="stat",
            unit="percentunit",
            queries=[Query(expr=f"max(canary_share_ratio{{{CANARY}}})", legend="share")],
            width=5,
            height=4,
            decimals=1,
        ),
        Panel(
            title="Requests to the candidate",
            description="Exchanges assigned to the candidate in the time shown, including fallbacks.",
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
            description="By rule; manual is a person's. Since the first record.",
            kind="stat",
            unit="short",
            queries=[Query(expr=f"max by (rule) (canary_rollbacks_total{{{CANARY}}})", legend="{{rule}}")],
            width=9,
            height=4,
            decimals=0,
        ),
        Panel(
            title="Guardrails",
            description="Each rule's state. Not enough data is never ok. Latched: the rule rolled this run "
            "back.",
            kind="state-timeline",
            unit="none",
            queries=[Query(expr=f"max by (rule) (canary_guardrail_state{{{CANARY}}})", legend="{{rule}}")],
            width=16,
            height=9,
            names=GUARDRAILS,
        ),
        Panel(
            title="Share, ordered and actual",
            description="Ordered counts users, actual counts requests. Heavy users can make them differ.",
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
    title="Errors and latency",
    panels=(
        Panel(
            title="Error rate",
            description="The share of the arm's exchanges that the arm failed. A fallback counts as a "
            "failure of the candidate, though the caller saw none. The default guardrails use 5 % and 1.5 "
            "times the baseline.",
            kind="timeseries",
            unit="percentunit",
            queries=[Query(expr=error_rate(), legend="{{arm}}")],
        ),
        Panel(
            title="Latency, p95",
            description="From the request's last byte to the last byte read from the provider. The default "
            "guardrail uses 3 s. Accurate to a factor of two, because the buckets double.",
            kind="timeseries",
            unit="s",
            queries=[Query(expr=quantile(0.95, _LATENCY), legend="{{arm}}")],
        ),
        Panel(
            title="Time to first token, p95",
            description="From the request's last byte to the first text or reasoning token.",
            kind="timeseries",
            unit="s",
            queries=[Query(expr=quantile(0.95, _TTFT), legend="{{arm}}")],
        ),
        Panel(
            title="Errors by type",
            description="All error types of the canary's exchanges, including callers' mistakes (caller_*).",
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
            description="Exchanges by outcome and assigned arm.",
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
            description="The baseline's answers in place of the candidate, by reason, and the number of "
            "workers whose breaker is open now.",
            kind="timeseries",
            unit="short",
            queries=[
                Query(
                    expr=happening("canary_fallbacks_total", CANARY, "reason"), legend="{{reason}} a second"
                ),
                Query(expr=f"sum(canary_breaker_open{{{CANARY}}})", legend="breakers open"),
            ],
        ),
        Panel(
            title="Answer faults",
            description="What the status does not show: the share of the arm's answers that were cut off, "
            "refused, empty, or invalid. An answer may have several faults. Invalid output is shown over all "
            "answers; guardrails and the report use those with tools or JSON.",
            kind="timeseries",
            unit="percentunit",
            queries=[Query(expr=fault_share(), legend="{{arm}} {{fault}}")],
            width=12,
        ),
        Panel(
            title="How answers end",
            description="Complete answers by finish reason, in one set of words for all providers.",
            kind="timeseries",
            unit="reqps",
            queries=[
                Query(expr=happening("canary_answers_total", ARM, "arm, finish"), legend="{{arm}} {{finish}}")
            ],
            width=12,
            stacked=True,
        ),
    ),
)

USERS = PanelRow(
    title="Feedback and cost",
    panels=(
        Panel(
            title="Feedback, mean",
            description="The mean of each key's first value. The report uses corrected values, and joins "
            "feedback by session and user, which has no arm here.",
            kind="timeseries",
            unit="none",
            queries=[Query(expr=mean_feedback(), legend="{{arm}} {{metric}}")],
            decimals=2,
        ),
        Panel(
            title="Feedback values",
            description="The number of values in the time shown. A few values say little.",
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
            description="Dollars per answered exchange with a known price. The default guardrail uses twice "
            "the baseline's.",
            kind="timeseries",
            unit="currencyUSD",
            queries=[Query(expr=cost_per_request(), legend="{{arm}}")],
            width=5,
        ),
        Panel(
            title="Output tokens per request",
            description="Including reasoning. A more verbose model costs more and is slower at the same "
            "prices.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr=tokens_per_request("output"), legend="{{arm}}")],
            width=5,
            decimals=0,
        ),
    ),
)


def _of_sessions(title: str, family: str, unit: str, description: str) -> Panel:
    expr = f"max by (arm) ({family}{{{ARM}}})"
    return Panel(
        title=title,
        description=description,
        kind="timeseries",
        unit=unit,
        queries=[Query(expr=expr, legend="{{arm}}")],
        width=6,
    )


SESSIONS = PanelRow(
    title="Sessions of this run, as they stand",
    panels=(
        _of_sessions(
            "Cost per session",
            "canary_session_cost_usd",
            "currencyUSD",
            "Open sessions count as they stand. The default guardrail uses twice the baseline's.",
        ),
        _of_sessions(
            "Exchanges per session",
            "canary_session_exchanges",
            "short",
            "More steps, or no end. The default guardrail uses twice the baseline's.",
        ),
        _of_sessions(
            "Abandoned sessions",
            "canary_session_abandoned_ratio",
            "percentunit",
            "The share of sessions whose last exchange was left or ended in an error.",
        ),
        _of_sessions(
            "Sessions",
            "canary_session_begun",
            "short",
            "How many sessions of the run the figures are of.",
        ),
    ),
)

HAPPENED = PanelRow(
    title="What happened",
    panels=(
        Panel(
            title="Reported, per request",
            description="What apps report when it happens (escalations, orders, revenue), over all requests "
            "of the arm: nobody reports that nothing happened. The report counts by what it happens to.",
            kind="timeseries",
            unit="none",
            queries=[Query(expr=happened(), legend="{{arm}} {{metric}}")],
            width=10,
            decimals=3,
        ),
        Panel(
            title="Candidate as a multiple of the baseline",
            description="Of what is reported per request in the time shown. 1 means no difference. Fewer "
            "than 30 events say little.",
            kind="bargauge",
            unit="none",
            queries=[
                Query(
                    expr=candidate_over_baseline(happened(RANGE)),
                    legend="{{metric}}",
                    instant=True,
                )
            ],
            width=7,
            decimals=2,
        ),
        Panel(
            title="Events, by what they happen to",
            description="The number of values in the time shown, and what one observation is.",
            kind="bargauge",
            unit="short",
            queries=[
                Query(
                    expr=f"{total('canary_feedback_total', ARM, 'arm, metric')} "
                    '* on (metric) group_left (per) max by (metric, per) (canary_metric_info{per!="value"})',
                    legend="{{arm}} {{metric}} per {{per}}",
                    instant=True,
                )
            ],
            width=7,
            decimals=0,
        ),
    ),
)

CANARY_WINDOW = Dashboard(
    uid="canary-window",
    title="Canary: the window",
    description="One canary while it runs. For display: the report decides.",
    rows=(STANDS, HURTS, USERS, HAPPENED, SESSIONS, JUDGE),
    one_canary=True,
)
