from dataclasses import FrozenInstanceError

import pytest

from alerts.incidents.notice import PAGERDUTY_URL, Receiver
from alerts.rules.rule import DEFAULT_RULES
from canary.config import Config, ServerSettings, parse
from canary.config.quantity import HostPort
from proxy.providers.provider import Provider, Timeout
from records.facts.metric import BUILT_IN, Metric
from records.facts.prices import TokenPrices
from routing.canary import Arm, Canary, Match, Step
from verdict.terms.rubric import Criterion, parse_bound

SMALL = """\
providers:
  zeta: {api: openai, base_url: "https://zeta.example/v1/", timeout: {connect: 2s, total: 30s}}
  alpha: {api: anthropic, base_url: "https://alpha.example", api_key: "${KEY:-}", ca_file: /etc/ca.pem}
canaries:
  - name: trial
    match: {models: [gpt-4o]}
    baseline: {provider: zeta, model: old}
    candidate: {provider: zeta, model: 2024-08-06}
    share: 5%
    rubric: [{metric: csat, acceptable: "> 4.1", ideal: "> 4.4", weight: 15, question: "Happy?"}]
"""


def built(text: str = SMALL, **environment: str) -> Config:
    return parse(text, "canary.yaml", environment)


def test_providers_keep_the_files_order() -> None:
    assert list(built().providers.values()) == [
        Provider(
            name="zeta",
            api="openai",
            base_url="https://zeta.example/v1",
            timeout=Timeout(connect_s=2.0, total_s=30.0),
        ),
        Provider(name="alpha", api="anthropic", base_url="https://alpha.example", ca_file="/etc/ca.pem"),
    ]


def test_an_empty_key_is_no_key() -> None:
    assert built().providers["alpha"].api_key is None
    assert built(KEY="secret").providers["alpha"].api_key == "secret"


def test_a_canary_needs_little_more_than_its_arms() -> None:
    trial = built().canaries["trial"]
    assert trial.canary == Canary(
        name="trial",
        match=Match(models=frozenset({"gpt-4o"})),
        baseline=Arm(provider="zeta", model="old"),
        candidate=Arm(provider="zeta", model="2024-08-06"),
        steps=(Step(share=0.05, for_s=None),),
    )
    assert trial.judged.criteria == (
        Criterion(
            metric="csat",
            acceptable=parse_bound("> 4.1"),
            ideal=parse_bound("> 4.4"),
            weight=15.0,
            question="Happy?",
        ),
    )
    assert trial.guardrails == DEFAULT_RULES
    assert (trial.judged.segments, trial.judged.critical_categories) == ((), frozenset())
    assert (trial.judged.minimum_days, trial.judged.planned_units, trial.mirror) == (7.0, 500, 0.0)
    assert built().arm_timeouts == {}


def test_a_canary_may_say_everything_else() -> None:
    text = SMALL.replace(
        "    share: 5%\n",
        """\
    ramp: [{share: 1%, for: 1h}, {share: 5%, for: 3d}, {share: 10%}]
    on_candidate_failure: error
    mirror: 2%
    unit: [session, header]
    no_unit: random
    start: manual
    segments: [region]
    critical_categories: [billing]
    critical_segments: ["region=eu"]
    minimum_days: 0
    planned_units: 2000
    guardrails: []
""",
    ).replace("{models: [gpt-4o]}", "{paths: [/v1/responses], headers: {X-Team: Search}, tags: {plan: on}}")
    trial = built(text).canaries["trial"]
    assert trial.canary.match == Match(
        paths=frozenset({"/v1/responses"}), headers={"x-team": "Search"}, tags={"plan": "on"}
    )
    assert trial.canary.steps == (
        Step(share=0.01, for_s=3600.0),
        Step(share=0.05, for_s=259200.0),
        Step(share=0.1, for_s=None),
    )
    assert trial.canary.unit_from == ("session", "header")
    assert trial.canary.random_without_unit
    assert trial.canary.start_by_hand
    assert not trial.canary.fall_back
    assert (trial.judged.segments, trial.judged.critical_categories) == (("region",), {"billing"})
    assert trial.judged.critical_segments == {("region", "eu")}
    assert (trial.judged.minimum_days, trial.judged.planned_units, trial.mirror) == (0.0, 2000, 0.02)
    assert trial.guardrails == ()


@pytest.mark.parametrize("weight", ["15%", '"15 %"', "15.0"])
def test_a_weight_may_be_a_percentage(weight: str) -> None:
    read = built(SMALL.replace("weight: 15", f"weight: {weight}")).canaries["trial"].judged
    assert [row.weight for row in read.criteria] == [15.0]
    assert read.sha256 == built().canaries["trial"].judged.sha256


def test_a_canary_may_name_its_owner() -> None:
    assert (
        built(SMALL.replace("    share: 5%\n", "    share: 5%\n    owner: anna@example.com\n"))
        .canaries["trial"]
        .owner
        == "anna@example.com"
    )
    assert built().canaries["trial"].owner == ""


def test_an_arms_own_times_stand_over_its_providers() -> None:
    config = built(SMALL.replace("2024-08-06}", "new, timeout: {total: 10s}}"))
    assert config.arm_timeouts == {("trial", "candidate"): Timeout(connect_s=2.0, total_s=10.0)}


def test_a_candidates_patience_is_known_by_its_canary() -> None:
    assert built().patience == {}
    assert built(SMALL.replace("2024-08-06}", "new, patience: 20s}")).patience == {"trial": 20.0}


def test_declared_metrics_stand_beside_the_built_in_ones() -> None:
    metrics = built(
        SMALL
        + """\
metrics:
  settled: {kind: bool, question: "Settled?", matures_after: 7d}
  effort: {kind: rating, scale: 1-7, higher_is_better: false, question: "How hard was it?"}
  stars: {kind: rating, question: "How many stars?"}
  turns: {kind: count, question: "How many turns?"}
  refund: {kind: amount, question: "How much was paid back?"}
"""
    ).metrics
    assert metrics.keys() == {*BUILT_IN, "settled", "effort", "stars", "turns", "refund"}
    assert metrics["settled"] == Metric(
        name="settled", kind="bool", question="Settled?", low=0, high=1, matures_after_s=604800.0
    )
    assert metrics["effort"] == Metric(
        name="effort", kind="rating", question="How hard was it?", low=1, high=7, higher_is_better=False
    )
    assert (metrics["stars"].low, metrics["stars"].high) == (1, 5)
    assert (metrics["turns"].low, metrics["turns"].high) == (0, None)
    assert (metrics["refund"].low, metrics["refund"].high) == (None, None)


def test_a_declared_metric_says_what_one_observation_is() -> None:
    metrics = built(
        SMALL
        + """\
metrics:
  resolved: {kind: bool, per: session, question: "Was the case settled?", matures_after: 1d}
  cost_per_resolution: {cost_per: resolved, question: "What does a settled case cost?"}
  settled: {kind: bool, question: "Settled?"}
"""
    ).metrics
    assert (metrics["resolved"].per, metrics["resolved"].is_event) == ("session", True)
    assert (metrics["settled"].per, metrics["settled"].is_event) == ("value", False)
    assert metrics["cost_per_resolution"] == Metric(
        name="cost_per_resolution",
        kind="amount",
        question="What does a settled case cost?",
        low=0,
        higher_is_better=False,
        matures_after_s=86400.0,
        cost_per="resolved",
    )
    assert {name: metric.per for name, metric in metrics.items() if name in BUILT_IN and metric.is_event} == {
        "escalated": "session",
        "repeat_question": "session",
        "conversion": "user",
        "revenue": "user",
        "churn": "user",
        "compliance_violation": "exchange",
    }


def test_a_declared_metric_may_redefine_a_built_in_one() -> None:
    text = SMALL + 'metrics: {csat: {kind: rating, scale: [1, 10], question: "Satisfied?"}}\n'
    assert built(text).metrics["csat"].high == 10
    assert BUILT_IN["csat"].high == 5


def test_tags_in_use_are_the_tags_apps_may_send() -> None:
    keys = "segments: [region, plan]\n    guardrails: [{rule: error_rate, segment: {team: a}}]"
    text = SMALL.replace("{models: [gpt-4o]}", "{tags: {plan: pro}}").replace(
        "share: 5%", f"share: 5%\n    {keys}"
    )
    assert built(text).tags == ("plan", "region", "team")


def test_tags_that_are_listed_are_the_whole_list() -> None:
    text = "tags: [plan, region, tenant]\n" + SMALL.replace("share: 5%", "share: 5%\n    segments: [region]")
    assert built(text).tags == ("plan", "region", "tenant")


def test_prices_are_dollars_per_million_tokens() -> None:
    prices = built(
        SMALL + "prices: {new: {input: 2.5, cached_input: 1.25, output: 10}, free: {input: 0, output: 0}}\n"
    )
    assert prices.prices == {
        "new": TokenPrices(input=2.5, cached_input=1.25, cache_write=None, output=10.0),
        "free": TokenPrices(input=0.0, output=0.0),
    }


def test_receivers_of_every_kind_are_read() -> None:
    text = (
        SMALL
        + """\
notify:
  - alertmanager: http://am:9093
  - pagerduty: {key: k1}
  - pagerduty: {key: k2, url: "https://pd.example/v2/enqueue"}
  - slack: https://slack.example/x
  - webhook: https://hook.example/y
"""
    )
    assert built(text).notify == (
        Receiver(kind="alertmanager", url="http://am:9093"),
        Receiver(kind="pagerduty", url=PAGERDUTY_URL, key="k1"),
        Receiver(kind="pagerduty", url="https://pd.example/v2/enqueue", key="k2"),
        Receiver(kind="slack", url="https://slack.example/x"),
        Receiver(kind="webhook", url="https://hook.example/y"),
    )


def test_what_the_file_does_not_say_has_the_documented_default() -> None:
    config = built()
    assert config.server == ServerSettings(
        traffic=HostPort(host="127.0.0.1", port=8080),
        admin=HostPort(host="127.0.0.1", port=8081),
        workers=1,
        data="canary-data",
        grace_s=600.0,
    )
    assert (config.store, config.shared, config.retention_s) == ("sqlite:///canary.db", "none", 7776000.0)
    assert (config.notify, config.prices, config.tags) == ((), {}, ())


def test_the_servers_keys_are_read() -> None:
    keys = "traffic: 0.0.0.0:80\nadmin: '[::1]:81'\nworkers: '${N:-4}'\ndata: /var/lib/canary\ngrace: 30s\n"
    assert built(SMALL + keys).server == ServerSettings(
        traffic=HostPort(host="0.0.0.0", port=80),
        admin=HostPort(host="::1", port=81),
        workers=4,
        data="/var/lib/canary",
        grace_s=30.0,
    )


def test_no_secret_stands_in_the_repr() -> None:
    secrets = """\
store: postgresql://u:hunter2@db/canary
shared: redis://:hunter2@redis
notify: [{slack: "https://hunter2.example"}, {pagerduty: {key: hunter2}}]
"""
    assert "hunter2" not in repr(built(SMALL + secrets, KEY="hunter2"))


def test_a_config_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        built().store = "elsewhere"  # type: ignore[misc]


def test_a_model_may_cost_what_another_does() -> None:
    config = built(SMALL + "price_as: {prod-chat: gpt-4o}\n")
    assert config.price_as == config.bench.price_as == {"prod-chat": "gpt-4o"}
