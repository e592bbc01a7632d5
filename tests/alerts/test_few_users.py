"""What few users leave undone is said beforehand, and no such sentence is wrong about the rules."""

from dataclasses import replace
from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.few_users import FewUsers, few_users
from alerts.rules.rule import DEFAULT_RULES

RULES = {rule.rule: rule for rule in DEFAULT_RULES}


def few(users: int, share: float = 0.05, **known: Any) -> FewUsers | None:
    return few_users(DEFAULT_RULES, share, users, **{"rated": (), **known})


def sentence(users: int, share: float = 0.05, **known: Any) -> str:
    found = few(users, share, **known)
    return "" if found is None else found.sentence


def test_a_team_of_forty_reads_that_two_users_are_too_few_and_what_share_would_do() -> None:
    said = "2 users get the candidate: no rule can roll it back; a share of 20 % would"
    assert sentence(40) == sentence(40, candidate=2) == said
    assert sentence(40, 0.2) == sentence(40, candidate=3) == ""
    assert sentence(20_000, rated=["csat"]) == ""


def test_where_three_are_expected_fewer_may_come() -> None:
    assert sentence(60) == (
        "3 users get the candidate: if fewer than 3 come, no rule can roll it back; "
        "a share of 10 % makes sure"
    )


def test_where_no_share_would_do_people_or_a_judge_have_to_read() -> None:
    assert sentence(4) == (
        "0 users get the candidate: no rule can roll it back; no share up to 50 % would, so have its answers "
        "read or judged"
    )


def test_a_rule_on_ratings_that_waits_for_ever_is_named_where_users_rate() -> None:
    assert sentence(40, 0.2, rated=["csat"]) == (
        "8 users get the candidate: csat needs 30 users in each arm who rate, which 40 users cannot give"
    )
    assert sentence(400, rated=["csat", "thumbs"]) == (
        "20 users get the candidate: csat and thumbs need 30 users in each arm who rate: "
        "a share of 10 % at least"
    )


def test_without_a_rule_that_rolls_back_nobody_waits_for_one() -> None:
    paging = [replace(rule, action="page") for rule in DEFAULT_RULES if rule.action == "rollback"]
    assert few_users(paging, 0.05, 40, rated=()) is None
    assert few(40, 0.0) is None and few(40, 1.0) is None


@pytest.mark.parametrize("rule", ["error_rate", "empty", "invalid_output"])
@pytest.mark.parametrize("users", [2, 3])
def test_a_watch_rolls_back_with_three_bad_users_and_with_two_never(
    traffic_of: Any, rule: str, users: int
) -> None:
    traffic = traffic_of(Watch("support-nov", [RULES[rule]]))
    bad: dict[str, Any] = {"failed": True}
    if rule != "error_rate":
        fault = {"empty": "empty", "invalid_output": "json_invalid"}[rule]
        bad = {"finish": "stop", "faults": (fault,), "output_check": "judged"}
    for _ in range(60):
        traffic.send(19, gap_s=0.1, finish="stop", output_check="judged")
        for user in range(users):
            traffic.send(1, gap_s=30.0, arm="candidate", unit=f"bad-{user}", **bad)
    assert (traffic.decide()[rule].action == "rollback") is (users == 3)
    found = few_users([RULES[rule]], 0.05, 1_000, candidate=users, rated=())
    assert (found is None) is (users == 3)
