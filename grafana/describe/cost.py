"""What the canaries cost: arms side by side, what is unknown, and what promotion would change."""

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
            description="Dollars in the time shown, all attempts of an exchange together. Exchanges without "
            "a known "
            "price add nothing: see Unpriced.",
            kind="stat",
            unit="currencyUSD",
            queries=[Query(expr=total("canary_cost_usd_total", ARM, _BY), legend="{{arm}} {{canary}}")],
            width=8,
            height=5,
        ),
        Panel(
            title="Candidate's cost, as a multiple",
            description="Of the baseline's cost per request over the time shown. The default guardrail looks "
            "at 2.",
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
            "the traffic "
            "of the time shown. An estimate without an interval: decide by the report.",
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
            description="Dollars an answered exchange with a known price.",
            kind="timeseries",
            unit="currencyUSD",
            queries=[Query(expr=cost_per_request(_BY), legend="{{arm}} {{canary}}")],
            width=12,
        ),
        Panel(
            title="Spending per hour",
            description="Dollars an hour by arm; mirror copies are extra and have a panel of their own.",
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
    title="Why",
    panels=(
        Panel(
            title="Input tokens per request",
            description="All input, cached too. A share that the prompt cache no longer catches shows below.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr=tokens_per_request("input", _BY), legend="{{arm}} {{canary}}")],
            decimals=0,
        ),
        Panel(
            title="Output tokens per request",
            description="All output, reasoning too.",
            kind="timeseries",
            unit="short",
            queries=[Query(expr=tokens_per_request("output", _BY), legend="{{arm}} {{canary}}")],
            decimals=0,
        ),
        Panel(
            title="Cached part of the input",
            description="Cached input tokens of all input tokens, as the provider reported them.",
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
            description="Answered exchanges whose cost is unknown, as a part of all answered ones. With more "
            "than a "
            "few, read every figure here with care: add the model to prices in canary.yaml.",
            kind="bargauge",
            unit="percentunit",
            queries=[Query(expr=_UNPRICED, legend="{{arm}} {{canary}}", instant=True)],
            width=12,
            largest=1,
        ),
        Panel(
            title="Mirror copies",
            description="Dollars an hour for copies sent to the candidate, whose answers nobody sees.",
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
    description="What both arms cost, why, and how much of it is unknown.",
    rows=(MONEY, WHY),
    since="now-7d",
)
