"""The Prometheus rules, checked and run by promtool; their runbook pages; the example file."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from alerts.prometheus import ALERTS, GUARDRAILS, METRIC_ALERT, rules_text
from alerts.rules.rule import DEFAULT_RULES, Rule, RuleName
from canary.config import parse
from tests.alerts.promtool import Case, Fired, check, fire

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy/prometheus/canary.rules.yml"
RUNBOOKS = ROOT / "docs/runbooks"
SECTIONS = ["## What it means", "## What canary did", "## What to check", "## How to undo it"]


def every_rule(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def alerts_of(*rules: Rule) -> set[tuple[str, str]]:
    """(alert, rule key) of the alerts about one canary."""
    written = every_rule(rules_text({"support-nov": rules}))
    labelled = [(rule["alert"], rule["labels"]) for rule in written if "alert" in rule]
    return {(name, labels["rule"]) for name, labels in labelled if "rule" in labels}


def test_the_example_is_what_the_example_config_means_today() -> None:
    config = parse((ROOT / "canary.example.yaml").read_text(), "canary.yaml", {"PD_KEY": "x"})
    rules = {name: each.guardrails for name, each in config.canaries.items()}
    assert EXAMPLE.read_text() == rules_text(rules)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(ALERTS)
    written = {rule["alert"] for rule in every_rule(EXAMPLE.read_text()) if "alert" in rule}
    assert written == set(ALERTS) - {METRIC_ALERT}  # the example watches no metric of its own


@pytest.mark.parametrize("name", ALERTS)
def test_a_page_says_what_it_means_what_canary_did_what_to_check_and_how_to_undo_it(name: str) -> None:
    text = (RUNBOOKS / f"{name}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert [line for line in text.splitlines() if line.startswith("## ")] == SECTIONS
    assert "\n- " in text[text.index(SECTIONS[2]) : text.index(SECTIONS[3])]


def test_every_alert_has_severity_summary_description_and_the_way_to_its_page() -> None:
    for base in ("docs/runbooks", "https://wiki.example/canary/"):
        for rule in every_rule(rules_text({"support-nov": DEFAULT_RULES}, runbooks=base)):
            if "alert" in rule:
                assert rule["labels"]["severity"] in ("critical", "warning", "info")
                assert {*rule["annotations"]} == {"summary", "description", "runbook_url"}
                assert rule["annotations"]["runbook_url"] == f"{base.rstrip('/')}/{rule['alert']}.md"


def test_a_rule_about_a_part_of_the_traffic_has_an_alert_of_its_own() -> None:
    billing = Rule(
        rule="latency_p95", limit=2.0, window_s=300.0, minimum=20, action="page", category="billing"
    )
    assert alerts_of(billing) == {("CanaryLatencyP95", "latency_p95[category=billing]")}


def test_a_guardrail_on_a_metric_has_the_alert_of_metrics() -> None:
    resolved = Rule(rule="resolved", limit=0.9, window_s=None, minimum=30, action="page")
    assert alerts_of(resolved) == {("CanaryMetric", "resolved")}


def test_a_rule_that_may_only_warn_has_no_alert_of_its_own() -> None:
    assert alerts_of(*(replace(rule, action="warn") for rule in DEFAULT_RULES)) == set()


def test_the_outage_comes_with_every_error_rate() -> None:
    billing = replace(DEFAULT_RULES[0], category="billing")
    assert ("CanaryOutage", "outage[category=billing]") in alerts_of(billing)
    assert ("CanaryOutage", "outage") in alerts_of(DEFAULT_RULES[0])


def test_no_guardrail_is_computed_anew_in_promql() -> None:
    for rule in every_rule(rules_text({"support-nov": DEFAULT_RULES})):
        if "rule" in rule.get("labels", {}):
            assert set(re.findall(r"\bcanary_\w+", rule["expr"])) == {"canary_guardrail_state"}


def test_without_guardrails_the_servers_own_alerts_remain() -> None:
    text = rules_text({"support-nov": []})
    names = {rule["alert"] for rule in every_rule(text) if "alert" in rule}
    assert "CanaryStoreDown" in names
    assert "CanaryErrorRate" not in names


CALM = {
    "canary_inflight_requests": "0x200",
    "canary_records_spooled": "0x200",
    'canary_records_total{state="stored"}': "0+20x200",
}


def guardrail(rule: str, values: str) -> dict[str, str]:
    return {f'canary_guardrail_state{{canary="support-nov",rule="{rule}"}}': values}


HEALTHY = {'canary_requests_total{canary="support-nov",arm="baseline",outcome="ok"}': "0+19x200"}

CASES: dict[str, tuple[dict[str, str], str, set[Fired]]] = {
    "nothing at all": ({}, "90m", set()),
    "the baseline is served": (HEALTHY, "90m", set()),
    **{
        f"{rule} fires": (guardrail(rule, "0x10 2x200"), "20m", {(alert, "critical")})
        for rule, alert in GUARDRAILS.items()
    },
    "a guardrail has rolled back": (
        guardrail("error_rate", "0x10 3x200")
        | {'canary_state{canary="support-nov",state="rolled_back"}': "0x10 1x200"},
        "20m",
        {("CanaryErrorRate", "critical"), ("CanaryRolledBack", "info")},
    ),
    "a rollback of half an hour ago": (
        guardrail("error_rate", "0x10 3x200")
        | {'canary_state{canary="support-nov",state="rolled_back"}': "0x10 1x200"},
        "50m",
        {("CanaryRolledBack", "info")},
    ),
    "a guardrail warns": (
        guardrail("latency_p95", "1x200"),
        "20m",
        {("CanaryGuardrailWarns", "warning")},
    ),
    "the plan is not followed": (
        {
            'canary_assignments_total{canary="support-nov",arm="baseline",reason="stopped"}': "0+5x200",
            'canary_share_ratio{canary="support-nov"}': "0.05x200",
        },
        "30m",
        {("CanaryPlanNotFollowed", "warning")},
    ),
    "a paused or ended canary has no share": (
        {
            'canary_assignments_total{canary="support-nov",arm="baseline",reason="stopped"}': "0+5x200",
            'canary_share_ratio{canary="support-nov"}': "0x200",
        },
        "30m",
        set(),
    ),
    "no record is stored": (
        HEALTHY | {'canary_records_total{state="stored"}': "20x200"},
        "20m",
        {("CanaryStoreDown", "critical")},
    ),
    "one of two replicas cannot store": (
        {
            'canary_requests_total{canary="",arm="baseline",outcome="ok",instance="a"}': "0+5x200",
            'canary_records_total{state="stored",instance="a"}': "0+5x200",
            'canary_requests_total{canary="",arm="baseline",outcome="ok",instance="b"}': "0+5x200",
            'canary_records_total{state="stored",instance="b"}': "7x200",
        },
        "20m",
        {("CanaryStoreDown", "critical")},
    ),
    "one of two admins leads": (
        {'canary_leader{instance="a"}': "1x200", 'canary_leader{instance="b"}': "0x200"},
        "20m",
        set(),
    ),
    "the only admin of several replicas is down": (
        {'canary_shared_up{instance="a"}': "1x200", 'canary_shared_up{instance="b"}': "1x200"},
        "20m",
        {("CanaryNoLeader", "critical")},
    ),
    "nobody leads": (
        {'canary_leader{instance="a"}': "0x200", 'canary_leader{instance="b"}': "0x200"},
        "20m",
        {("CanaryNoLeader", "critical")},
    ),
    "an old rollback, and another admin leads": (
        {
            'canary_guardrail_state{canary="support-nov",rule="error_rate",instance="a"}': "3x40",
            'canary_guardrail_state{canary="support-nov",rule="error_rate",instance="b"}': "_x40 3x200",
        },
        "50m",
        set(),
    ),
    "one replica refuses the config": (
        {'canary_config_stale{instance="a"}': "1x200", 'canary_config_stale{instance="b"}': "0x200"},
        "20m",
        {("CanaryConfigStale", "warning")},
    ),
    "Redis is gone": (
        {
            'canary_shared_up{instance="a"}': "0x200",
            'canary_shared_up{instance="b"}': "1x200",
            'canary_leader{instance="b"}': "1x200",
        },
        "20m",
        {("CanaryRedisDown", "warning")},
    ),
    "records wait": (
        {"canary_records_spooled": "20000x200"},
        "20m",
        {("CanaryRecordsWaiting", "warning")},
    ),
    "records are dropped and set aside": (
        {
            'canary_records_total{state="dropped"}': "0x5 0+3x200",
            'canary_records_total{state="quarantined"}': "0x5 0+1x200",
        },
        "20m",
        {("CanaryRecordsDropped", "critical"), ("CanaryRecordsQuarantined", "warning")},
    ),
    "a replica's disk is full, and nothing is counted meanwhile": (
        {
            'canary_spool_room_bytes{instance="a"}': "1e9x4 0x200",
            'canary_spool_room_bytes{instance="b"}': "1e9x200",
        },
        "5m",
        {("CanaryRecordsDropped", "critical")},
    ),
    "files of outcomes cannot be written": (
        {"canary_rolling_failures_total": "0x5 0+1x200"},
        "40m",
        {("CanaryOutcomesNotRolled", "warning")},
    ),
    "one turn of rolling failed": ({"canary_rolling_failures_total": "0x5 1x200"}, "24m", set()),
    "outcomes only grow": (
        {"canary_outcomes_fresh": "0+100x200"},
        "100m",
        {("CanaryOutcomesNotRolled", "warning")},
    ),
    "outcomes are rolled each hour": (
        {"canary_outcomes_fresh": "0+100x61 200+100x59 200+100x59 200+100x59"},
        "170m",
        set(),
    ),
    "outcomes come after two quiet hours": (
        {"canary_outcomes_fresh": "0x120 0+100x61 200+100x20"},
        "200m",
        set(),
    ),
    "a worker died": (
        {'canary_errors_total{canary="",arm="",error_type="lost_outcome"}': "0x10 4x200"},
        "20m",
        {("CanaryOutcomesLost", "warning")},
    ),
    "requests are shed": (
        {'canary_requests_total{canary="",arm="baseline",outcome="shed"}': "0x5 0+4x200"},
        "20m",
        {("CanaryRequestsShed", "warning")},
    ),
    "a breaker stays open": (
        {'canary_breaker_open{canary="support-nov"}': "1x200"},
        "20m",
        {("CanaryBreakerOpen", "warning")},
    ),
    "a model without a price": (
        HEALTHY | {'canary_unpriced_requests_total{canary="support-nov",arm="baseline"}': "0+19x200"},
        "60m",
        {("CanaryCostUnknown", "warning")},
    ),
    "the judge's provider fails": (
        {'canary_judge_paused{reason="provider"}': "1x200", 'canary_judge_paused{reason="budget"}': "0x200"},
        "90m",
        {("CanaryJudgePaused", "warning")},
    ),
    "the judge has spent the day's budget": (
        {'canary_judge_paused{reason="provider"}': "0x200", 'canary_judge_paused{reason="budget"}': "1x200"},
        "90m",
        set(),
    ),
    "the judge's provider answers again": (
        {'canary_judge_paused{reason="provider"}': "1x50 0x150"},
        "90m",
        set(),
    ),
}


def test_prometheus_loads_the_example() -> None:
    check(EXAMPLE)


def test_prometheus_loads_the_rules_of_any_guardrail(tmp_path: Path) -> None:
    odd = [
        Rule(
            rule=name, limit=0.6 if name == "error_rate" else 2.5, window_s=window_s, minimum=0, action="page"
        )
        for name, window_s in zip(
            get_args(RuleName),
            itertools.cycle((None, 90.0, 0.5, 5400.0, 60.0, 1.0, None, 30.0)),
            strict=False,
        )
    ]
    part = [replace(rule, category='a "part" of \\ it', segment={"région": "eu"}) for rule in DEFAULT_RULES]
    file = tmp_path / "canary.rules.yml"
    file.write_text(rules_text({"a.b-c": odd, "parts": part}))
    check(file)


def test_exactly_the_expected_alerts_fire_in_each_case(tmp_path: Path) -> None:
    cases = {name: Case(CALM | series, at, expected) for name, (series, at, expected) in CASES.items()}
    absent = Case({}, "10m", {("CanaryAbsent", "critical")})
    deaf = Case({"canary_inflight_requests": "0x200"}, "10m", set())
    fire(EXAMPLE, tmp_path, {**cases, "no canary is scraped": absent, "no store has answered yet": deaf})


def test_a_case_that_is_told_wrongly_is_noticed(tmp_path: Path) -> None:
    name = "error_rate fires"
    series, at, expected = CASES[name]
    for wrong in (set(), {("CanaryErrorRate", "warning")}, expected | {("CanaryOutage", "critical")}):
        with pytest.raises(AssertionError, match=name):
            fire(EXAMPLE, tmp_path, {name: Case(CALM | series, at, wrong)})


def test_every_alert_that_pages_or_warns_is_tried() -> None:
    tried = {name for _, _, expected in CASES.values() for name, _ in expected}
    assert tried | {"CanaryAbsent", METRIC_ALERT} == set(ALERTS)
