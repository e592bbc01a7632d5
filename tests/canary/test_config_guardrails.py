from dataclasses import replace

import pytest

from alerts.rule import DEFAULT_RULES, Rule, RuleName
from canary.config import guardrails
from canary.config.sections import GuardrailSection


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
        ("escalated", "1x", 1.0),
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
    ],
)
def test_a_limit_that_the_rule_cannot_have_is_refused(rule: RuleName, text: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        guardrails.limit(GuardrailSection(rule=rule, limit=text))


def test_a_window_may_be_the_whole_run() -> None:
    assert guardrails.window_s(GuardrailSection(rule="latency_p95", window="run")) is None


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        guardrails.window_s(GuardrailSection(rule="latency_p95", window="0s"))


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
