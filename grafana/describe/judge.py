"""The row of panels about the judge: what it prefers, how often it says nothing, its cost, and its pauses."""

from grafana.describe.expressions import ARM, CANARY
from grafana.describe.panel import Panel, PanelRow, Query

_PAIRS = f"sum(canary_judged_pairs{{{CANARY}}})"
_WON, _TIED = (f'sum(canary_judged_pairs{{{CANARY},result="{result}"}})' for result in ("candidate", "tie"))
_DECIDED = f'sum(canary_judged_pairs{{{CANARY},result!="no_mark"}})'
_SINGLE = f"canary_judged_answers{{{CANARY}}} or canary_judged_sessions{{{CANARY}}}"
_MARK = f"canary_judged_mark{{{ARM}}} or canary_judged_session_mark{{{ARM}}}"

JUDGE = PanelRow(
    title="The judge",
    panels=(
        Panel(
            title="Judged preference",
            description="The share of judged pairs that the candidate wins, half of the ties included; at "
            "50 % the judge prefers neither. This is the sample as it is: the report weights the categories "
            "back to the traffic, and has the interval and what the judge is worth.",
            kind="timeseries",
            unit="percentunit",
            queries=[
                Query(expr=f"({_WON} + {_TIED} / 2) / ({_DECIDED} > 0)", legend="candidate preferred"),
                Query(expr=f"0 * {_PAIRS} + 0.5", legend="neither preferred"),
            ],
            width=7,
            largest=1,
        ),
        Panel(
            title="Mean mark",
            description="Of single answers or whole sessions, 1 to 5. The report has the intervals, and the "
            "share of sessions whose task was done.",
            kind="timeseries",
            unit="none",
            queries=[Query(expr=f"max by (arm) ({_MARK})", legend="{{arm}}")],
            width=5,
            decimals=2,
        ),
        Panel(
            title="Judged, by result",
            description="Pairs, answers and sessions of the newest run. no_mark: the judge said nothing "
            "readable, or its answer was lost.",
            kind="bargauge",
            unit="short",
            queries=[
                Query(
                    expr=f"sum by (result) (canary_judged_pairs{{{CANARY}}})",
                    legend="pairs: {{result}}",
                    instant=True,
                ),
                Query(expr=f"sum by (result) ({_SINGLE})", legend="marks: {{result}}", instant=True),
            ],
            width=4,
            decimals=0,
        ),
        Panel(
            title="Cost of the day",
            description="Dollars of this UTC day over all canaries, and the budget, which it never exceeds.",
            kind="timeseries",
            unit="currencyUSD",
            queries=[
                Query(expr="max(canary_judge_cost_usd)", legend="spent"),
                Query(expr="max(canary_judge_budget_usd)", legend="budget"),
            ],
            width=4,
        ),
        Panel(
            title="Paused",
            description="Why the judge pauses, over all canaries. budget: until the next UTC day. Requests "
            "are never affected.",
            kind="state-timeline",
            unit="none",
            queries=[Query(expr="max by (reason) (canary_judge_paused)", legend="{{reason}}")],
            width=4,
            names={0.0: ("no", "#3f8f5f"), 1.0: ("paused", "#d9a520")},
        ),
    ),
)
