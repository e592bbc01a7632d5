"""Releases beside each other: verdict, the four layers, and the benchmark's multiples; and models that change
under their names. The report decides."""

from grafana.describe.dashboard import Dashboard
from grafana.describe.panel import Panel, PanelRow, Query

_LAYERS = (
    ("synthetic", "Synthetic tasks", "Synthetic examples that the candidate got right, of 100."),
    ("real", "Real-world tasks", "Examples from recorded traffic that the candidate got right, of 100."),
    ("users", "User experience", "The weighted score of the rubric's rows about users, in the last report."),
    ("business", "Business", "The weighted score of the rubric's rows about money and business."),
)


def _of_release(family: str, label: str, more: str = "") -> str:
    """A family's samples with their models, once each while two admins overlap."""
    found = f'max by (release, {label}) ({family}{{release=~"$release"{more}}})'
    return f"{found} * on (release) group_left (model) max by (release, model) (canary_release_info)"


def _layer(layer: str, title: str, description: str) -> Panel:
    expr = _of_release("canary_release_score", "layer", f',layer="{layer}"')
    return Panel(
        title=title,
        description=f"{description} No bar: no data.",
        kind="bargauge",
        unit="none",
        queries=[Query(expr=expr, legend="{{model}}", instant=True)],
        width=6,
        decimals=0,
        largest=100,
    )


def _multiple(what: str, title: str, description: str) -> Panel:
    return Panel(
        title=title,
        description=f"{description} As a multiple of the current model's: 1 means no difference.",
        kind="bargauge",
        unit="none",
        queries=[
            Query(
                expr=_of_release(f"canary_bench_{what}_ratio", "dataset"),
                legend="{{model}} {{dataset}}",
                instant=True,
            )
        ],
        decimals=2,
    )


STANDING = PanelRow(
    title="Verdict, and the four layers against the current model",
    panels=(
        Panel(
            title="Verdict",
            description="The worst verdict of the benchmark and of the release's newest runs.",
            kind="stat",
            unit="none",
            queries=[
                Query(
                    expr=f"{_of_release('canary_release_verdict', 'verdict')} == 1",
                    legend="{{model}}: {{verdict}}",
                    instant=True,
                )
            ],
            width=24,
            height=4,
            show="name",
        ),
        *(_layer(*layer) for layer in _LAYERS),
        Panel(
            title="Scores over time",
            description="Each layer's score from 0 to 100, as it was known then.",
            kind="timeseries",
            unit="none",
            queries=[Query(expr=_of_release("canary_release_score", "layer"), legend="{{model}} {{layer}}")],
            width=24,
            largest=100,
        ),
    ),
)

BENCHMARK = PanelRow(
    title="Newest benchmark, by dataset",
    panels=(
        _multiple("completion", "Right answers", "More is better."),
        _multiple("cost", "Cost per request", "Less is better. No bar: a price is unknown."),
        _multiple("latency", "Latency, p95", "Less is better."),
    ),
)

DRIFT = PanelRow(
    title="Models under their names",
    panels=(
        Panel(
            title="Names in answers",
            description="What the answers of each model that a canary or a probe uses call it now.",
            kind="stat",
            unit="none",
            queries=[
                Query(
                    expr="max by (model, name) (canary_model_info)",
                    legend="{{model}}: {{name}}",
                    instant=True,
                )
            ],
            width=16,
            height=4,
            show="name",
        ),
        Panel(
            title="Changes told",
            description="model_changed: another name in answers. model_drifted: other answers to the probes.",
            kind="stat",
            unit="none",
            queries=[
                Query(
                    expr="max by (model, kind) (canary_model_changes)",
                    legend="{{model}}: {{kind}}",
                    instant=True,
                )
            ],
            height=4,
            decimals=0,
        ),
        Panel(
            title="Evidence of a drift",
            description="That a probed model answers otherwise than its reference. From 0.05 on, another "
            "round is asked the same day; 100, confirmed by a second round, is told.",
            kind="timeseries",
            unit="none",
            queries=[Query(expr="max by (model) (canary_probes_evidence)", legend="{{model}}")],
        ),
        Panel(
            title="Probes outside",
            description="Of the newest round, the share of prompts whose answer strays farther than all of "
            "the reference did.",
            kind="timeseries",
            unit="percentunit",
            queries=[Query(expr="max by (model) (canary_probes_outside_ratio)", legend="{{model}}")],
            largest=1,
        ),
        Panel(
            title="Rounds",
            description="Rounds of probes since the reference began; its first 24 are the reference.",
            kind="bargauge",
            unit="short",
            queries=[Query(expr="max by (model) (canary_probes_rounds)", legend="{{model}}", instant=True)],
            width=4,
            decimals=0,
        ),
        Panel(
            title="Probes' cost of the day",
            description="Dollars of this UTC day, and the budget, which it never exceeds.",
            kind="timeseries",
            unit="currencyUSD",
            queries=[
                Query(expr="max(canary_probes_cost_usd)", legend="spent"),
                Query(expr="max(canary_probes_budget_usd)", legend="budget"),
            ],
            width=4,
        ),
    ),
)

RELEASES = Dashboard(
    uid="canary-releases",
    title="Canary: releases",
    description="Releases beside each other, from the first benchmark to the verdict. The report decides.",
    rows=(STANDING, BENCHMARK, DRIFT),
    since="now-14d",
    by_arm=False,
    by_release=True,
)
