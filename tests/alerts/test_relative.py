"""`error_rate_vs_baseline` and `escalated`, through a whole watch."""

import random
from typing import Any

import pytest

from alerts.events import EventsState, note_event
from alerts.guardrails import Watch
from alerts.rule import Rule
from alerts.windows import Window

VERSUS = Rule(rule="error_rate_vs_baseline", limit=1.5, window_s=None, minimum=3, action="rollback")
ESCALATED = Rule(rule="escalated", limit=1.0, window_s=None, minimum=3, action="page")
DAY_S = 86_400.0


@pytest.fixture
def versus(traffic_of: Any) -> Any:
    return traffic_of(Watch("support-nov", [VERSUS]))


@pytest.fixture
def escalated(traffic_of: Any) -> Any:
    return traffic_of(Watch("support-nov", [ESCALATED]))


def test_failing_units_of_the_candidate_give_the_known_answer(versus: Any) -> None:
    for candidate in [1, 0, 1, 1, 0, 1]:
        versus.send(1, arm="candidate" if candidate else "baseline", failed=True)
    evidence = versus.judge()["error_rate_vs_baseline"].evidence
    assert evidence["ln_mixture"] == pytest.approx(5.917914, abs=5e-7)


def test_a_candidate_that_fails_far_more_often_is_rolled_back(versus: Any) -> None:
    versus.both(30, baseline={}, candidate={})
    versus.send(1, failed=True)
    versus.send(6, arm="candidate", failed=True)
    status = versus.judge()["error_rate_vs_baseline"]
    assert status.action == "rollback"
    assert status.value == pytest.approx((6 / 0.05) / (1 / 0.95))


def test_one_failing_user_of_each_arm_is_no_warning_and_three_against_one_are(versus: Any) -> None:
    versus.both(30, baseline={}, candidate={})
    versus.send(1, failed=True)
    versus.send(1, arm="candidate", failed=True)
    status = versus.judge()["error_rate_vs_baseline"]
    assert (status.state, status.value) == ("ok", pytest.approx(19))
    versus.send(2, arm="candidate", failed=True)
    assert versus.judge()["error_rate_vs_baseline"].state in ("warn", "firing")


def test_a_unit_counts_once_however_often_it_fails(versus: Any) -> None:
    for _ in range(20):
        versus.send(1, gap_s=61.0, arm="candidate", failed=True, unit="one")
    assert versus.judge()["error_rate_vs_baseline"].evidence["observations"] == 1


def test_next_to_nothing_is_not_rolled_back_however_much_more_it_is(versus: Any) -> None:
    for _ in range(6):  # one in 401 outcomes
        versus.send(400, gap_s=0.1, arm="candidate")
        versus.send(1, arm="candidate", failed=True)
    status = versus.judge()["error_rate_vs_baseline"]
    assert status.evidence["ln_mixture"] > 6.9
    assert (status.state, status.action) == ("firing", "page")


def test_equal_arms_are_left_alone(versus: Any) -> None:
    draw = random.Random(5)
    for _ in range(4000):
        candidate = draw.random() < 0.05
        versus.send(1, arm="candidate" if candidate else "baseline", failed=draw.random() < 0.1)
    assert versus.judge()["error_rate_vs_baseline"].action is None


def test_the_cusum_takes_a_unit_again_after_a_day_and_the_mixture_never() -> None:
    state = EventsState(events=Window(None))
    for at, counted in [(0.0, True), (DAY_S - 1, False), (DAY_S, True)]:
        event = {"unit": "one", "candidate": True, "share": 0.05, "at": at, "factor": 1.5}
        assert note_event(state, **event) is counted  # type: ignore[arg-type]
    once = state.evidence.products[0]
    assert state.evidence.running[0] == pytest.approx(2 * once)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_without_a_split_there_is_no_comparison(share: float) -> None:
    state = EventsState(events=Window(None))
    assert not note_event(state, unit="one", candidate=True, share=share, at=0.0, factor=1.5)


def test_escalations_of_the_candidate_page(escalated: Any) -> None:
    escalated.send(1)
    escalated.rate("escalated", 1, candidate=False)
    for _ in range(5):
        escalated.rate("escalated", 1, candidate=True)
    status = escalated.judge()["escalated"]
    assert (status.state, status.action) == ("firing", "page")


def test_a_report_that_a_unit_did_not_escalate_is_no_event(escalated: Any) -> None:
    escalated.send(1)
    for _ in range(9):
        escalated.rate("escalated", 0, candidate=True)
    assert escalated.judge()["escalated"].state == "not_enough_data"


def test_a_unit_that_escalates_twice_is_one_unit(escalated: Any) -> None:
    escalated.send(1)
    for _ in range(9):
        escalated.rate("escalated", 1, candidate=True, exchange_id="", unit="one")
    assert escalated.judge()["escalated"].evidence["adverse_units"] == 1


def test_the_share_of_the_feedback_s_own_phase_is_used(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ESCALATED]))
    traffic.send(1, phase=1, share=0.05)
    traffic.send(1, phase=2, share=0.5)
    traffic.rate("escalated", 1, candidate=True, phase=1)
    early = traffic.judge()["escalated"].evidence["ln_mixture"]
    traffic.rate("escalated", 1, candidate=True, phase=2)
    late = traffic.judge()["escalated"].evidence["ln_mixture"] - early
    assert early > 1.5 > late > 0
