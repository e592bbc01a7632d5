"""The canaries' cost: both arms, unknown prices, and the effect of a promotion."""

from grafana.describe.dashboard import Dashboard
from grafana.describe.expressions import (
    ARM,
    CANARY,
    RANGE,
    candidate_minus_baseline,
    candidate_over_baseline,
    cost_per_request,
    per_second,
    tokens_per_request,
    total,
)
from grafana.describe.panel import Panel, PanelRow, Query

_BY = "canary, arm"
_OVER_RANGE = cost_per_request(_BY, window=RANGE)
_ANSWERED = per_second("canary_requests_total", f'{CANARY},outcome=~"ok|fallback"', "canary", RANGE)
_UNPRICED = (
    f"({total('canary_unpriced_requests_total', ARM, _BY)} or "
    f"{total('canary_requests_total', ARM, _BY)} * 0) / "
    + total("canary_requests_total", f'{ARM},outcome=~"ok|fallback"', _BY)
)

_MONTHLY = f"sum by (canary) ({candidate_minus_baseline(_OVER_RANGE)}) * {_ANSWERED} * {30 * 86_400}"

MONEY = PanelRow(
    title="Money",
    panels=(
        Panel(
            title="Spent",
            description="Dollars in the time shown, over all attempts of an exchange. Exchanges without a "
            "known price are not included: see Unpriced.",
            kind="stat",
            unit="currencyUSD",
            queries=[Query(expr=total("canary_cost_usd_total", ARM, _BY), legend="{{arm}} {{canary}}")],
            width=8,
            height=5,
        ),
        Panel(
            title="Candidate's cost, as a multiple",
            description="The candidate's cost per request over the baseline's, in the time shown. The "
            "default guardrail uses 2.",
            kind="stat",
            unit="none",
            queries=[Query(expr=candidate_over_baseline(_OVER_RANGE), legend="{{canary}}", instant=True)],
            width=8,
            height=5,
            decimals=2,
        ),
        Panel(
            title="Promotion would change, per 30 days",
            description="(candidate's cost per request - baseline's) x answered requests of both arms, at "
            "the traffic of the time shown. An estimate without an interval: use the report to decide.",
            kind="stat",
            unit="currencyUSD",
            queries=[
                Query(
                    expr=_MONTHLY,
                    legend="{{canary}}",
                    instant=True,
                )
            ],
            width=8,
            height=5,
        ),
        Panel(
            title="Cost per request",
            description="Dollars per answered exchange with a known price.",
            kind="timeseries",
            unit="currencyUSD",
            queries=[Query(expr=cost_per_request(_BY), legend="{{arm}} {{canary}}")],
            width=12,
        ),
        Panel(
            title="Spending per hour",
            description="Dollars per hour by arm. Mirror copies have a separate panel.",
            kind="timeseries",
            unit="currencyUSD",
            queries=[
                Query(
                    expr=f"{per_second('canary_cost_usd_total', ARM, _BY)} * 3600",
                    legend="{{arm}} {{canary}}",
                )
            ],
            width=12,
            stacked=True,
        ),
    ),
)

WHY = PanelRow(
    title="Causes",
    panels=(
        Panel(
            title="Input tokens per request",
            description="All input, cached input included. The next panels show the cached part.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr=tokens_per_request("input", _BY), legend="{{arm}} {{canary}}")],
            decimals=0,
        ),
        Panel(
            title="Output tokens per request",
            description="All output, reasoning included.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr=tokens_per_request("output", _BY), legend="{{arm}} {{canary}}")],
            decimals=0,
        ),
        Panel(
            title="Cached part of the input",
            description="Cached over all input tokens, as reported by the provider.",
            kind="timeseries",
            unit="percentunit",
            queries=[
                Query(
                    expr=per_second("canary_tokens_total", f'{ARM},kind="cached_input"', _BY)
                    + " / "
                    + per_second("canary_tokens_total", f'{ARM},kind="input"', _BY),
                    legend="{{arm}} {{canary}}",
                )
            ],
        ),
        Panel(
            title="Unpriced",
            description="The share of answered exchanges with an unknown cost. If it is not small, the "
            "other figures here are incomplete: add the model to prices in canary.yaml.",
            kind="bargauge",
            unit="percentunit",
            queries=[Query(expr=_UNPRICED, legend="{{arm}} {{canary}}", instant=True)],
            width=12,
            largest=1,
        ),
        Panel(
            title="Mirror copies",
            description="Dollars per hour for mirror copies sent to the candidate.",
            kind="timeseries",
            unit="currencyUSD",
            queries=[
                Query(
                    expr=f"{per_second('canary_mirror_cost_usd_total', CANARY, 'canary')} * 3600",
                    legend="{{canary}}",
                )
            ],
            width=12,
        ),
    ),
)

COST = Dashboard(
    uid="canary-cost",
    title="Canary: cost",
    description="The cost of both arms, its causes, and unknown prices.",
    rows=(MONEY, WHY),
    since="now-7d",
)
