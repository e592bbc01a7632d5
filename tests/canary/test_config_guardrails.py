from dataclasses import replace
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import (
    DEFAULT_RULES,
    OF_SESSIONS,
    RATINGS,
    SESSION_METRICS,
    Action,
    GuardrailStatus,
    Rule,
    RuleName,
)
from canary.config import guardrails
from canary.config.sections import GuardrailSection
from records.facts.metric import BUILT_IN, Metric
from records.outcome import ToolCall
from tests.alerts.conftest import Traffic


def test_default_is_the_contracts_set() -> None:
    assert guardrails.rules(None) == DEFAULT_RULES


def test_an_empty_list_is_no_rule_at_all() -> None:
    assert guardrails.rules([]) == ()


def test_what_is_left_out_is_as_in_the_default_rule() -> None:
    rules = DEFAULT_RULES
    assert guardrails.rules([GuardrailSection(rule=rule.rule) for rule in rules]) == rules


def test_what_is_given_stands_over_the_default() -> None:
    section = GuardrailSection(
        rule="latency_p95",
        limit="2500ms",
        window="5m",
        minimum=20,
        action="warn",
        category="billing",
        segment={"region": "eu"},
    )
    assert guardrails.rules([section]) == (
        Rule(
            rule="latency_p95",
            limit=2.5,
            window_s=300.0,
            minimum=20,
            action="warn",
            category="billing",
            segment={"region": "eu"},
        ),
    )


@pytest.mark.parametrize(
    ("rule", "text", "limit"),
    [
        ("error_rate", "5%", 0.05),
        ("error_rate", "0.05", 0.05),
        ("error_rate_vs_baseline", "1.5x", 1.5),
        ("latency_p95", "3s", 3.0),
        ("latency_vs_baseline", "2x", 2.0),
        ("abandoned", "3x", 3.0),
        ("empty", "4x", 4.0),
        ("cost_per_request", "2", 2.0),
        ("csat", "5%", 0.95),
        ("thumbs", "0.9x", 0.9),
        ("helped", "5%", 0.95),
        ("nps", "10%", 0.9),
        ("telemetry", "15m", 900.0),
    ],
)
def test_a_limit_is_read_in_the_rules_own_unit(rule: RuleName, text: str, limit: float) -> None:
    assert guardrails.limit(GuardrailSection(rule=rule, limit=text)) == pytest.approx(limit)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("error_rate", "0%"),
        ("error_rate", "150%"),
        ("error_rate_vs_baseline", "0"),
        ("error_rate_vs_baseline", "-1x"),
        ("error_rate_vs_baseline", "nan"),
        ("error_rate_vs_baseline", "inf"),
        ("latency_p95", "0s"),
        ("latency_p95", "3x"),
        ("csat", "95%"),
        ("csat", "much"),
        ("csat", "5"),
        ("csat", "0.05"),
        ("nps", "1.2x"),
        ("error_rate", "50%"),
        ("error_rate", "1.5x"),
        ("error_rate", "3s"),
        ("empty", "0.5x"),
        ("empty", "20%"),
        ("latency_vs_baseline", "0.9x"),
        ("latency_vs_baseline", "2s"),
        ("abandoned", "1000x"),
        ("escalated", "1.1x"),
        ("repeat_question", "5%"),
        ("telemetry", "3"),
    ],
)
def test_a_limit_that_the_rule_cannot_have_is_refused(rule: RuleName, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        guardrails.limit(GuardrailSection(rule=rule, limit=text))


FORMS = ("5%", "20%", "60%", "0.05", "0.9", "1", "1.1x", "2x", "500x", "3", "90s", "3s", "20m", "2h")


def watched(rule: Rule) -> GuardrailStatus:
    """The rule's status after traffic in which everything about the candidate is bad."""
    traffic = Traffic(Watch("support-nov", [rule]), share=0.5)
    scale = BUILT_IN[rule.rule] if rule.rule in RATINGS else None
    worst, best = (scale.low or 0.0, scale.high or 0.0) if scale is not None else (1.0, 0.0)
    bad: dict[str, Any] = {"latency_s": 9.0, "cost_usd": 1.0, "finish": "stop", "output_check": "judged"}
    for number in range(320):
        traffic.send(1, gap_s=0.5, latency_s=1.0, cost_usd=0.1, finish="stop", output_check="judged")
        traffic.rate(rule.rule, best, candidate=False)
        failed = number % 2 == 0
        faults = () if failed else ("empty", "cut_off", "refused", "json_invalid", "stalled")
        traffic.send(1, gap_s=0.5, arm="candidate", **bad, failed=failed, faults=faults)
        traffic.rate(rule.rule, worst, candidate=True)
        if number % 4 == 0:
            traffic.send(1, gap_s=0.5, arm="candidate", outcome="aborted", error_type="aborted")
        if rule.rule in OF_SESSIONS and number < 90:
            for arm, steps in (("baseline", 3), ("candidate", 12)):
                name, calls = f"{arm}-{number}", (ToolCall("t", bytes(8)),) if arm == "candidate" else ()
                traffic.send(steps, arm=arm, unit=name, session=name, cost_usd=1.0, tool_calls=calls)
    traffic.now += 30.0
    return next(status for status in traffic.decide().values() if status.rule == rule.rule)


@pytest.mark.parametrize("rule", [rule.rule for rule in DEFAULT_RULES])
def test_every_limit_acts_or_is_refused_with_what_would_be_right(rule: RuleName) -> None:
    accepted = []
    for form in FORMS:
        try:
            accepted += guardrails.rules([GuardrailSection(rule=rule, limit=form)])
        except ValueError as problem:
            assert any(word in str(problem) for word in ("write", "remove", "did you mean")), problem
    for rules in accepted:
        status = watched(rules)
        assert status.state != "not_applicable"
        assert status.threshold is not None
        mean = status.evidence.get("baseline_mean", 1.0)
        assert status.threshold == pytest.approx(rules.limit * mean)
    assert (rule in ("escalated", "repeat_question")) is not bool(accepted)


@pytest.mark.parametrize("rule", [rule.rule for rule in DEFAULT_RULES])
@pytest.mark.parametrize("action", ["warn", "page", "rollback", "hold"])
def test_every_action_is_taken_or_refused(rule: RuleName, action: Action) -> None:
    section = GuardrailSection(rule=rule, action=action, window="run")
    if list(guardrails.ignored(section)):
        assert (rule, action) == ("telemetry", "rollback")
        return
    (built,) = guardrails.rules([section])
    if rule == "telemetry":
        assert built.action == action
    else:
        assert watched(built).action == action


def test_sessions_are_of_the_whole_run() -> None:
    (refused,) = guardrails.ignored(GuardrailSection(rule="session_cost", window="1h"))
    assert refused == ("window", "session_cost is about the whole run; remove it")


@pytest.mark.parametrize("name", SESSION_METRICS)
def test_a_measure_of_sessions_is_a_metric_as_well_as_a_rule(name: RuleName) -> None:
    limit = "10%" if name == "session_cache_hits" else "3x"
    by_metric = GuardrailSection(metric=name, limit=limit)
    assert guardrails.wrong_with_subject(by_metric, BUILT_IN) == ""
    assert guardrails.rules([by_metric]) == guardrails.rules([GuardrailSection(rule=name, limit=limit)])
    assert guardrails.limit(by_metric) == (0.9 if limit == "10%" else 3.0)
    ((key, _),) = guardrails.ignored(GuardrailSection(metric=name, window="1h"))
    assert key == "window"
    with pytest.raises(ValueError, match=r"times the baseline's|is not a factor"):
        guardrails.limit(GuardrailSection(metric=name, limit="3x" if limit == "10%" else "10%"))


def test_telemetry_has_no_minimum() -> None:
    (refused,) = guardrails.ignored(GuardrailSection(rule="telemetry", minimum=5))
    assert refused[0] == "minimum"
    assert not list(guardrails.ignored(GuardrailSection(rule="telemetry", minimum=1)))


def test_a_window_may_be_the_whole_run() -> None:
    assert guardrails.window_s(GuardrailSection(rule="latency_p95", window="run")) is None


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        guardrails.window_s(GuardrailSection(rule="latency_p95", window="0s"))


def test_a_window_too_short_to_hold_anything_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 10s, or run"):
        guardrails.window_s(GuardrailSection(rule="latency_p95", window="1s"))


def test_each_critical_part_has_rules_of_its_own_that_share_one_error_budget() -> None:
    found = guardrails.rules(None, categories=("refund",), segments=(("plan", "pro"),))
    own = found[len(DEFAULT_RULES) :]
    assert found[: len(DEFAULT_RULES)] == DEFAULT_RULES
    for name in ("error_rate", "error_rate_vs_baseline"):
        default = next(rule for rule in DEFAULT_RULES if rule.rule == name)
        assert replace(default, category="refund", parts=2) in own
        assert replace(default, segment={"plan": "pro"}, parts=2) in own
    assert {rule.rule for rule in own} <= set(guardrails.OF_PARTS)


def test_a_list_s_own_rule_for_a_critical_part_stands_and_its_limits_are_those_of_the_part() -> None:
    whole = GuardrailSection(rule="error_rate", limit="8%")
    listed = GuardrailSection(rule="error_rate", limit="3%", category="refund")
    first, second, third = guardrails.rules([whole, listed], categories=("refund", "order"))
    assert (first.limit, second.limit, second.parts) == (0.08, 0.03, 1)
    assert (third.category, third.limit, third.parts) == ("order", 0.08, 2)


def test_without_guardrails_critical_parts_have_none_either() -> None:
    assert guardrails.rules([], categories=("refund",)) == ()
    latency = GuardrailSection(rule="latency_p95")
    assert len(guardrails.rules([latency], categories=("refund",))) == 1


def test_twenty_parts_have_rules_of_their_own() -> None:
    found = guardrails.rules(None, categories=[f"c{number}" for number in range(25)])
    own = [rule for rule in found if rule.rule == "error_rate" and rule.category is not None]
    assert [rule.category for rule in own] == [f"c{number}" for number in range(20)]
    assert {rule.parts for rule in own} == {20}


def test_a_metric_stands_in_place_of_a_rule() -> None:
    (own,) = guardrails.rules([GuardrailSection(metric="conversion", limit="10%")])
    assert (own.rule, own.limit, own.window_s, own.minimum) == ("conversion", 0.9, None, 30)
    (known,) = guardrails.rules([GuardrailSection(metric="escalated", limit="1.1x", action="rollback")])
    assert (known.rule, known.limit, known.minimum, known.action) == ("escalated", 1.1, 3, "rollback")
    (csat,) = guardrails.rules([GuardrailSection(metric="csat")])
    assert replace(csat, metric=None) == next(rule for rule in DEFAULT_RULES if rule.rule == "csat")


@pytest.mark.parametrize(
    ("metric", "limit"),
    [("conversion", "60%"), ("conversion", "1.2x"), ("churn", "5%"), ("churn", "0.9x"), ("churn", "200x")],
)
def test_a_limit_of_a_metric_that_does_nothing_is_refused(metric: str, limit: str) -> None:
    with pytest.raises(ValueError, match=r"write"):
        guardrails.rules([GuardrailSection(metric=metric, limit=limit)])


def test_a_factor_beyond_the_end_of_a_scale_is_refused() -> None:
    effort = Metric(name="effort", kind="rating", low=1, high=7, higher_is_better=False, question="?")
    with pytest.raises(ValueError, match="effort ends at 7"):
        guardrails.limit(GuardrailSection(metric="effort", limit="7x"), {"effort": effort})


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, "give either `rule` or `metric`"),
        ({"rule": "csat", "metric": "csat"}, "give either `rule` or `metric`"),
        ({"metric": "resolvd"}, "not a built-in or declared metric"),
        ({"metric": "error_rate"}, "write rule: error_rate"),
        ({"metric": "cost_per_order"}, "nobody sends values of cost_per_order"),
        ({"metric": "refused"}, "a rule has the name refused, too"),
        ({"metric": "conversion"}, ""),
    ],
)
def test_a_guardrail_is_about_one_rule_or_one_known_metric(given: dict[str, Any], wrong: str) -> None:
    cost = Metric(name="cost_per_order", kind="amount", question="?", cost_per="conversion")
    refused = Metric(name="refused", kind="bool", question="?")
    metrics = {**BUILT_IN, "cost_per_order": cost, "refused": refused}
    said = guardrails.wrong_with_subject(GuardrailSection(**given), metrics)
    assert wrong in said
    assert bool(wrong) is bool(said)
