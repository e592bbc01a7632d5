"""`repeat_question`, `helped` and `nps`, through a whole watch. `test_relative.py` has `escalated`."""

from typing import Any

import pytest

from alerts.guardrails import Watch
from alerts.rules.rule import DEFAULT_RULES, RuleName

RULES = {rule.rule: rule for rule in DEFAULT_RULES}


def test_users_who_say_that_they_had_to_ask_again_page(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [RULES["repeat_question"]]))
    traffic.send(1)
    traffic.rate("repeat_question", 1, candidate=False)
    for _ in range(5):
        traffic.rate("repeat_question", 1, candidate=True)
    status = traffic.decide()["repeat_question"]
    assert (status.state, status.action) == ("firing", "page")
    assert "users who asked again: 5 of the candidate" in status.sentence


def test_a_session_that_repeats_a_question_asked_again(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [RULES["repeat_question"]]))
    for number in range(6):
        asked = {"unit": f"user-{number}", "session": f"session-{number}", "arm": "candidate"}
        for question in ("how", "why", "how", "how"):
            traffic.send(1, **asked, fingerprint=question)
    traffic.send(40, session="another", fingerprint="")
    status = traffic.decide()["repeat_question"]
    assert (status.action, status.evidence["adverse_units"]) == ("page", 6)


def test_one_question_of_two_sessions_is_no_repetition(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [RULES["repeat_question"]]))
    for number in range(20):
        traffic.send(1, arm="candidate", session=f"session-{number}", fingerprint="how")
    assert traffic.decide()["repeat_question"].state == "not_enough_data"


@pytest.mark.parametrize(("metric", "good"), [("helped", 1), ("nps", 9)])
def test_a_worse_rating_of_the_candidate_pages(traffic_of: Any, metric: RuleName, good: float) -> None:
    traffic = traffic_of(Watch("support-nov", [RULES[metric]]))
    traffic.send(1)
    for number in range(300):
        traffic.rate(metric, good if number % 10 else 0, candidate=False)
    assert traffic.decide()[metric].state == "not_enough_data"
    for number in range(120):
        traffic.rate(metric, good if number % 3 else 0, candidate=True)
    assert traffic.decide()[metric].action == "page"
