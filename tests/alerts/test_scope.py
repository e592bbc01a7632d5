"""How many users a rule needs at a share, and that a watch then acts after about as many."""

from dataclasses import replace
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES
from alerts.rules.scope import users_needed, users_needed_of

RULES = {rule.rule: rule for rule in DEFAULT_RULES}


def test_useless_answers_need_no_more_users_at_half_than_a_dozen() -> None:
    for share in (0.05, 0.2, 0.5):
        needs = users_needed_of(DEFAULT_RULES, share)
        assert {"error_rate", "error_rate_vs_baseline", "abandoned", "empty", "invalid_output"} <= set(needs)
        assert max(needs.values()) <= 12, share


def test_more_users_are_needed_where_the_baseline_has_few_or_parts_share_a_budget() -> None:
    for rule in (RULES["empty"], RULES["abandoned"]):
        few, half, most = (users_needed(rule, share) or 0 for share in (0.05, 0.5, 0.95))
        assert few < half < most
        assert (users_needed(replace(rule, parts=10), 0.5) or 0) > half


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_a_second_arm_there_is_no_number(share: float) -> None:
    assert users_needed_of(DEFAULT_RULES, share) == {}


def test_rules_that_count_no_users_have_no_number() -> None:
    assert users_needed(RULES["cost_per_request"], 0.5) is None
    assert users_needed(RULES["telemetry"], 0.5) is None


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_a_watch_acts_after_as_many_users_as_was_said(traffic_of: Any, share: float) -> None:
    traffic = traffic_of(Watch("support-nov", [RULES["empty"]]), share=share)
    traffic.send(70, finish="stop")
    users = 0
    while traffic.decide()["empty"].action != "rollback":
        users += 1
        traffic.send(1, arm="candidate", finish="stop", faults=("empty",))
        traffic.send(round((1 - share) / share), finish="stop")
    assert users == users_needed(RULES["empty"], share)
