"""The rules for Prometheus: loaded and tried by its own promtool, each alert with its page, the example in
step."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alerts.evidence import absolute_steps, log_mean, relative_steps
from alerts.prometheus import ALERTS, evidence, rules_text
from alerts.prometheus.parts import duration
from alerts.rule import DEFAULT_RULES, Rule, RuleName
from canary.config import parse
from tests.alerts.promtool import Case, Fired, check, fire, needs_promtool

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy/prometheus/canary.rules.yml"
RUNBOOKS = ROOT / "docs/runbooks"
SECTIONS = ["## What it means", "## What was done by itself", "## What to check", "## How to undo it"]


def every_rule(text: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def alerts_of(*rules: Rule) -> set[tuple[str, str, str]]:
    """(alert, source, rule's key) of the alerts about one canary."""
    written = every_rule(rules_text({"support-nov": rules}))
    labelled = [(rule["alert"], rule["labels"]) for rule in written if "alert" in rule]
    return {(name, labels["source"], labels["rule"]) for name, labels in labelled if "source" in labels}


def test_the_example_is_what_the_example_config_means_today() -> None:
    config = parse((ROOT / "canary.example.yaml").read_text(), "canary.yaml", {"PD_KEY": "x"})
    rules = {name: each.guardrails for name, each in config.canaries.items()}
    assert EXAMPLE.read_text() == rules_text(rules)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert {page.stem for page in RUNBOOKS.glob("*.md")} == set(ALERTS)
    written = {rule["alert"] for rule in every_rule(EXAMPLE.read_text()) if "alert" in rule}
    assert written == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_a_page_says_what_it_means_what_was_done_what_to_check_and_how_to_undo_it(name: str) -> None:
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


def test_a_rule_about_a_part_of_the_traffic_has_the_exact_form_alone() -> None:
    billing = Rule(
        rule="latency_p95", limit=2.0, window_s=300.0, minimum=20, action="page", category="billing"
    )
    assert alerts_of(billing) == {("CanaryLatencyP95", "guardrail", "latency_p95[category=billing]")}


def test_a_rule_that_may_only_warn_is_a_warning_from_its_window_alone() -> None:
    warns = replace(DEFAULT_RULES[2], action="warn")
    assert alerts_of(warns) == {("CanaryLatencyP95", "window", "latency_p95")}
    (alert,) = [each for each in every_rule(rules_text({"a": [warns]})) if "source" in each.get("labels", {})]
    assert alert["labels"]["severity"] == "warning"


@pytest.mark.parametrize(("limit", "severity"), [(3.0, "warning"), (5.12, "critical"), (700.0, "warning")])
def test_a_p95_that_prometheus_can_only_guess_is_a_warning(limit: float, severity: str) -> None:
    written = every_rule(rules_text({"a": [replace(DEFAULT_RULES[2], limit=limit)]}))
    (alert,) = [each for each in written if each.get("labels", {}).get("source") == "window"]
    assert alert["labels"]["severity"] == severity


def test_the_outage_comes_with_every_error_rate() -> None:
    errors = replace(DEFAULT_RULES[0], category="billing")
    assert ("CanaryOutage", "guardrail", "outage[category=billing]") in alerts_of(errors)
    assert ("CanaryOutage", "window", "outage") in alerts_of(DEFAULT_RULES[0])


def test_without_guardrails_the_servers_own_alerts_remain() -> None:
    text = rules_text({"support-nov": []})
    names = {rule["alert"] for rule in every_rule(text) if "alert" in rule}
    assert "CanaryStoreDown" in names
    assert "CanaryErrorRate" not in names


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(86_400.0, "1d"), (5400.0, "90m"), (600.0, "10m"), (90.0, "90s"), (1.5, "1500ms"), (7200.0, "2h")],
)
def test_a_duration_is_written_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def value(expr: str, **names: float) -> float:
    """What a PromQL expression of numbers comes to; its few functions are Python's too."""
    known = {"exp": math.exp, "ln": math.log, "clamp_min": max, **names}
    return float(eval(expr.replace("\n", " "), {"__builtins__": {}}, known))


@given(st.integers(0, 30), st.integers(0, 200), st.floats(0.01, 0.4))
def test_a_windows_evidence_of_failures_is_the_engines(failures: int, successes: int, limit: float) -> None:
    bad, good = absolute_steps(limit)
    engine = log_mean([failures * b + successes * g for b, g in zip(bad, good, strict=True)])
    found = value(evidence.absolute("f", "n", limit), f=failures, n=failures + successes)
    assert math.log(found) == pytest.approx(engine, abs=0.01)


@given(st.integers(0, 30), st.integers(0, 200), st.floats(0.01, 0.6), st.floats(1.1, 4.0))
def test_a_windows_evidence_beside_the_baseline_is_the_engines(
    mine: int, others: int, share: float, factor: float
) -> None:
    of_candidate, of_baseline = relative_steps(share, factor)
    engine = log_mean([mine * c + others * b for c, b in zip(of_candidate, of_baseline, strict=True)])
    found = value(evidence.relative("c", "both", "w", factor), c=mine, both=mine + others, w=share)
    assert math.log(found) == pytest.approx(engine, abs=0.01)


ERROR = ("CanaryErrorRate", "window", "critical")
VERSUS = ("CanaryErrorRateVsBaseline", "window", "warning")
OUTAGE = ("CanaryOutage", "window", "critical")
CALM = {
    "canary_inflight_requests": "0x200",
    "canary_records_spooled": "0x200",
    'canary_records_total{state="stored"}': "0+20x200",
}


def counts(family: str, value: str, each: str, arm: str, labels: str) -> dict[str, str]:
    return {f'{family}{{canary="support-nov",arm="{arm}",{labels}="{value}"}}': each}


def outcomes(arm: str, ok: str, failed: str, *, error: str = "provider_5xx") -> dict[str, str]:
    """One arm's counters: what it answered well, and what the provider failed (and the baseline covered)."""
    return (
        counts("canary_requests_total", "ok", ok, arm, "outcome")
        | counts("canary_requests_total", "fallback", failed, arm, "outcome")
        | counts("canary_errors_total", error, failed, arm, "error_type")
        | counts("canary_errors_total", "breaker_open", "0x200", arm, "error_type")
    )


def buckets(arm: str, fast: str, slow: str) -> dict[str, str]:
    """Answers under 1.28 s, and answers of 2.56 to 5.12 s."""
    family = f'canary_request_duration_seconds_bucket{{canary="support-nov",arm="{arm}",le='
    both = f"0+{int(fast.split('+')[1].split('x')[0]) + int(slow.split('+')[1].split('x')[0])}x200"
    return {
        f'{family}"1.28"}}': fast,
        f'{family}"2.56"}}': fast,
        f'{family}"5.12"}}': both,
        f'{family}"+Inf"}}': both,
        f'canary_request_duration_seconds_count{{canary="support-nov",arm="{arm}"}}': both,
    }


def dollars(arm: str, requests: str, cost: str) -> dict[str, str]:
    of = f'{{canary="support-nov",arm="{arm}"}}'
    return counts("canary_requests_total", "ok", requests, arm, "outcome") | {
        f"canary_cost_usd_total{of}": cost,
        f"canary_unpriced_requests_total{of}": "0x200",
    }


def rated(metric: str, arm: str, count: str, total: str) -> dict[str, str]:
    return counts("canary_feedback_value_count", metric, count, arm, "metric") | counts(
        "canary_feedback_value_sum", metric, total, arm, "metric"
    )


def guardrail(rule: str, values: str) -> dict[str, str]:
    return {f'canary_guardrail_state{{canary="support-nov",rule="{rule}"}}': values}


HEALTHY = outcomes("baseline", "0+19x200", "0x200")

CASES: dict[str, tuple[dict[str, str], str, set[Fired]]] = {
    "nothing at all": ({}, "90m", set()),
    "both arms well": (HEALTHY | outcomes("candidate", "0+1x200", "0x200"), "90m", set()),
    "half of the candidate's fail": (
        HEALTHY | outcomes("candidate", "0+1x200", "0+1x200"),
        "20m",
        {ERROR, VERSUS},
    ),
    "two failures are too few": (HEALTHY | outcomes("candidate", "0x200", "0 0 1 2x200"), "30m", set()),
    "both arms fail alike": (
        outcomes("baseline", "0+10x200", "0+10x200") | outcomes("candidate", "0+1x200", "0+1x200"),
        "60m",
        {OUTAGE},
    ),
    "a little over the limit is no evidence yet": (
        HEALTHY | outcomes("candidate", "0+1x200", "0 0 0 0 0 1 1 1 1 1 1 2x200"),
        "15m",
        set(),
    ),
    "what the breaker kept away is no evidence": (
        HEALTHY | outcomes("candidate", "0+1x200", "0+1x200", error="breaker_open"),
        "60m",
        set(),
    ),
    "what its full lane kept away is no evidence": (
        HEALTHY | outcomes("candidate", "0+1x200", "0+1x200", error="proxy_full"),
        "60m",
        set(),
    ),
    "the candidate is slow": (
        buckets("baseline", "0+95x200", "0+1x200") | buckets("candidate", "0+8x200", "0+2x200"),
        "20m",
        {("CanaryLatencyP95", "window", "warning")},
    ),
    "both are slow": (
        buckets("baseline", "0+80x200", "0+20x200") | buckets("candidate", "0+8x200", "0+2x200"),
        "20m",
        set(),
    ),
    "slow, but too few to tell": (
        buckets("baseline", "0+95x200", "0+1x200") | buckets("candidate", "0+3x200", "0+1x200"),
        "20m",
        set(),
    ),
    "the candidate costs thrice": (
        dollars("baseline", "0+20x200", "0+0.2x200") | dollars("candidate", "0+2x200", "0+0.06x200"),
        "40m",
        {("CanaryCostPerRequest", "window", "critical")},
    ),
    "it costs a little more": (
        dollars("baseline", "0+20x200", "0+0.2x200") | dollars("candidate", "0+2x200", "0+0.038x200"),
        "40m",
        set(),
    ),
    "too few priced ones": (
        dollars("baseline", "0+20x200", "0+0.2x200") | dollars("candidate", "0 1x200", "0 1x200"),
        "40m",
        set(),
    ),
    "ratings fall": (
        rated("csat", "baseline", "0+1x200", "0+4.5x200")
        | rated("csat", "candidate", "0+1x200", "0+3.9x200"),
        "60m",
        {("CanaryCsat", "window", "critical")},
    ),
    "ratings fall, of too few": (
        rated("csat", "baseline", "0+1x200", "0+4.5x200")
        | rated("csat", "candidate", "0+1x20 20x200", "0+3.9x20 78x200"),
        "60m",
        set(),
    ),
    "thumbs fall": (
        rated("thumbs", "baseline", "0+2x200", "0+1.8x200")
        | rated("thumbs", "candidate", "0+2x200", "0+1.4x200"),
        "60m",
        {("CanaryThumbs", "window", "critical")},
    ),
    "more ask for a human": (
        HEALTHY
        | outcomes("candidate", "0+1x200", "0x200")
        | rated("escalated", "baseline", "0+1x200", "0+1x200")
        | rated("escalated", "candidate", "0+1x200", "0+1x200"),
        "30m",
        {("CanaryEscalated", "window", "warning")},
    ),
    "as many ask for a human": (
        HEALTHY
        | outcomes("candidate", "0+1x200", "0x200")
        | rated("escalated", "baseline", "0+19x200", "0+19x200")
        | rated("escalated", "candidate", "0+1x200", "0+1x200"),
        "60m",
        set(),
    ),
    "in flight and never heard of": (
        outcomes("baseline", "100x200", "0x200") | {"canary_inflight_requests": "4x200"},
        "40m",
        {("CanaryTelemetry", "window", "critical")},
    ),
    "a guardrail pages": (guardrail("csat", "0x10 2x200"), "20m", {("CanaryCsat", "guardrail", "critical")}),
    "a guardrail has rolled back": (
        guardrail("error_rate", "0x10 3x200")
        | {'canary_state{canary="support-nov",state="rolled_back"}': "0x10 1x200"},
        "20m",
        {("CanaryErrorRate", "guardrail", "critical"), ("CanaryRolledBack", "", "info")},
    ),
    "a rollback of half an hour ago": (
        guardrail("error_rate", "0x10 3x200")
        | {'canary_state{canary="support-nov",state="rolled_back"}': "0x10 1x200"},
        "50m",
        {("CanaryRolledBack", "", "info")},
    ),
    "a guardrail warns": (
        guardrail("latency_p95", "1x200"),
        "20m",
        {("CanaryGuardrailWarns", "", "warning")},
    ),
    "the plan is not followed": (
        {
            'canary_assignments_total{canary="support-nov",arm="baseline",reason="stopped"}': "0+5x200",
            'canary_share_ratio{canary="support-nov"}': "0.05x200",
        },
        "30m",
        {("CanaryPlanNotFollowed", "", "warning")},
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
        {("CanaryStoreDown", "", "critical")},
    ),
    "one of two replicas cannot store": (
        {
            'canary_requests_total{canary="",arm="baseline",outcome="ok",instance="a"}': "0+5x200",
            'canary_records_total{state="stored",instance="a"}': "0+5x200",
            'canary_requests_total{canary="",arm="baseline",outcome="ok",instance="b"}': "0+5x200",
            'canary_records_total{state="stored",instance="b"}': "7x200",
        },
        "20m",
        {("CanaryStoreDown", "", "critical")},
    ),
    "one of two admins leads": (
        {'canary_leader{instance="a"}': "1x200", 'canary_leader{instance="b"}': "0x200"},
        "20m",
        set(),
    ),
    "nobody leads": (
        {'canary_leader{instance="a"}': "0x200", 'canary_leader{instance="b"}': "0x200"},
        "20m",
        {("CanaryNoLeader", "", "critical")},
    ),
    "an old rollback, and another admin leads": (
        {
            'canary_guardrail_state{canary="support-nov",rule="error_rate",instance="a"}': "3x40",
            'canary_guardrail_state{canary="support-nov",rule="error_rate",instance="b"}': "_x40 3x200",
        },
        "50m",
        set(),
    ),
    "Redis is gone": (
        {'canary_shared_up{instance="a"}': "0x200", 'canary_shared_up{instance="b"}': "1x200"},
        "20m",
        {("CanaryRedisDown", "", "warning")},
    ),
    "records wait": (
        {"canary_records_spooled": "20000x200"},
        "20m",
        {("CanaryRecordsWaiting", "", "warning")},
    ),
    "records are dropped and set aside": (
        {
            'canary_records_total{state="dropped"}': "0x5 0+3x200",
            'canary_records_total{state="quarantined"}': "0x5 0+1x200",
        },
        "20m",
        {("CanaryRecordsDropped", "", "critical"), ("CanaryRecordsQuarantined", "", "warning")},
    ),
    "a worker died": (
        {'canary_errors_total{canary="",arm="",error_type="lost_outcome"}': "0x10 4x200"},
        "20m",
        {("CanaryOutcomesLost", "", "warning")},
    ),
    "requests are shed": (
        {'canary_requests_total{canary="",arm="baseline",outcome="shed"}': "0x5 0+4x200"},
        "20m",
        {("CanaryRequestsShed", "", "warning")},
    ),
    "a breaker stays open": (
        {'canary_breaker_open{canary="support-nov"}': "1x200"},
        "20m",
        {("CanaryBreakerOpen", "", "warning")},
    ),
    "a model without a price": (
        HEALTHY | {'canary_unpriced_requests_total{canary="support-nov",arm="baseline"}': "0+19x200"},
        "60m",
        {("CanaryCostUnknown", "", "warning")},
    ),
}


@needs_promtool
def test_prometheus_loads_the_example() -> None:
    check(EXAMPLE)


@needs_promtool
def test_prometheus_loads_the_rules_of_any_guardrail(tmp_path: Path) -> None:
    odd = [
        Rule(
            rule=name, limit=0.6 if name == "error_rate" else 2.5, window_s=window_s, minimum=0, action="warn"
        )
        for name, window_s in zip(
            get_args(RuleName), (None, 90.0, 0.5, 5400.0, 60.0, 1.0, None, 30.0), strict=True
        )
    ]
    part = [replace(rule, category='a "part" of \\ it', segment={"région": "eu"}) for rule in DEFAULT_RULES]
    file = tmp_path / "canary.rules.yml"
    file.write_text(rules_text({"a.b-c": odd, "parts": part}))
    check(file)


@needs_promtool
def test_exactly_the_expected_alerts_fire_in_each_case(tmp_path: Path) -> None:
    cases = {name: Case(CALM | series, at, expected) for name, (series, at, expected) in CASES.items()}
    absent = Case({}, "10m", {("CanaryAbsent", "", "critical")})
    deaf = Case({"canary_inflight_requests": "0x200"}, "10m", set())
    fire(EXAMPLE, tmp_path, {**cases, "no canary is scraped": absent, "no store has answered yet": deaf})


@needs_promtool
def test_a_case_that_is_told_wrongly_is_noticed(tmp_path: Path) -> None:
    series, at, expected = CASES["half of the candidate's fail"]
    for wrong in (set(), {ERROR}, expected | {OUTAGE}):
        with pytest.raises(AssertionError, match="half of the candidate's fail"):
            fire(EXAMPLE, tmp_path, {"half of the candidate's fail": Case(CALM | series, at, wrong)})


def test_every_alert_that_pages_or_warns_is_tried() -> None:
    tried = {name for _, _, expected in CASES.values() for name, _, _ in expected}
    assert tried | {"CanaryAbsent"} == set(ALERTS)
