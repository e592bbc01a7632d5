"""What few users leave undone is said beforehand, and no such sentence is wrong about the rules."""

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from alerts.evidence.statistics import Evidence, absolute_steps
from alerts.guardrails import Watch
from alerts.rules.answers import NEARLY_ALL, OUTCOMES
from alerts.rules.few_users import FewUsers, few_users
from alerts.rules.rule import DEFAULT_RULES

RULES = {rule.rule: rule for rule in DEFAULT_RULES}


def few(users: int, share: float = 0.05, **known: Any) -> FewUsers | None:
    return few_users(DEFAULT_RULES, share, users, **{"rated": (), **known})


def sentence(users: int, share: float = 0.05, **known: Any) -> str:
    found = few(users, share, **known)
    return "" if found is None else found.sentence


def test_a_team_of_forty_reads_that_two_users_are_too_few_and_what_share_would_do() -> None:
    said = (
        "2 users get the candidate: only empty, invalid_output, stalled can roll it back, once both have "
        "many such answers; at a share of 20 % the other rules can, too"
    )
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
@pytest.mark.parametrize("users", [1, 2, 3])
def test_three_bad_users_roll_back_and_two_where_nothing_of_their_answers_is_of_use(
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
    enough = 3 if rule == "error_rate" else 2
    assert (traffic.decide()[rule].action == "rollback") is (users >= enough)
    found = few_users([RULES[rule]], 0.05, 1_000, candidate=users, rated=())
    assert (found is None) is (users == 3)
    assert found is None or ("no rule" in found.sentence) is (users < enough)


def test_two_users_of_whom_one_has_good_answers_roll_nothing_back(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [RULES["empty"]]))
    for number in range(60):
        traffic.send(19, gap_s=0.1, finish="stop")
        traffic.send(1, gap_s=30.0, arm="candidate", unit="bad", finish="stop", faults=("empty",))
        faults = ("empty",) if number == 7 else ()
        traffic.send(1, gap_s=30.0, arm="candidate", unit="good", finish="stop", faults=faults)
    assert traffic.decide()["empty"].action is None


def test_two_users_are_told_within_thirty_empty_answers(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", DEFAULT_RULES))
    answers = 0
    while traffic.decide()["empty"].action != "rollback":
        traffic.send(19, gap_s=0.1, finish="stop")
        for user in ("one", "other"):
            traffic.send(1, gap_s=60.0, arm="candidate", unit=user, finish="stop", faults=("empty",))
        answers += 2
        assert answers <= 30
    print(f"rolled back after {answers} empty answers of two users")


def exposed(draw: random.Random, mean: float, alike: float) -> list[tuple[str, bool, float]]:
    """A run of a team of 40 whose arms are equal, 200 outcomes a user on average: (user, the outcome is bad,
    the baseline's share of late) of the two who have the candidate. Users differ as in `Scenario`."""
    everybody = [
        (draw.betavariate(mean * alike, (1.0 - mean) * alike), draw.gammavariate(0.5, 2.0)) for _ in range(40)
    ]
    two, others = everybody[:2], everybody[2:]
    usual = sum(bad * active for bad, active in others) / sum(active for _, active in others)
    active = [each[1] for each in two]
    outcomes = round(200 * 40 * sum(active) / sum(each[1] for each in everybody))
    found = []
    for number, user in enumerate(draw.choices((0, 1), active, k=min(outcomes, 2_000))):
        if number % 10 == 0:
            late = sum(draw.random() < usual for _ in range(50)) / 50.0
        found.append((str(user), draw.random() < two[user][0], late))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("mean", "alike"), [(0.01, 20.0), (0.03, 20.0), (0.03, 3.0), (0.03, 1.0)])
def test_two_users_of_an_equal_candidate_are_left_alone(mean: float, alike: float) -> None:
    draw, convicted = random.Random(11), 0
    for _ in range(5_000):
        evidence = Evidence.of_tests(3)
        for user, bad, late in exposed(draw, mean, alike):
            failure, success = absolute_steps(max(0.2, 1.5 * late), highest=NEARLY_ALL)
            evidence.add(user, failure if bad else success, test=OUTCOMES)
            if bad and evidence.convicts_by_two():
                convicted += 1
                break
    print(f"{mean:.0%} on average, alike {alike:g}: {convicted} of 5,000 rolled back")
    assert convicted <= 5 + 3 * math.sqrt(5)
