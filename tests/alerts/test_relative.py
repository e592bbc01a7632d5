"""`error_rate_vs_baseline` and `escalated`, through a whole watch."""

import math
import random
from typing import Any

import pytest

from alerts.evidence.statistics import Evidence, Window, log_mean
from alerts.guardrails import Watch
from alerts.rules.relative import EventsState, UnitsCompared, note_event
from alerts.rules.rule import Rule

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
    assert versus.decide()["error_rate_vs_baseline"].action == "page"
    evidence = versus.watch.guardrails[0].state.evidence
    of_events = log_mean(evidence.products[:3])
    assert of_events == pytest.approx(5.917914, abs=5e-7)
    assert evidence.mixture == pytest.approx(of_events - math.log(2), abs=1e-2)  # two tests, one budget


def test_a_candidate_that_fails_far_more_often_is_rolled_back(versus: Any) -> None:
    versus.both(30, baseline={}, candidate={})
    versus.send(1, failed=True)
    versus.send(6, arm="candidate", failed=True)
    status = versus.decide()["error_rate_vs_baseline"]
    assert status.action == "rollback"
    assert status.value == pytest.approx((6 / 0.05) / (1 / 0.95))


def test_one_failing_user_of_each_arm_is_no_warning_and_three_against_one_are(versus: Any) -> None:
    versus.both(30, baseline={}, candidate={})
    versus.send(1, failed=True)
    versus.send(1, arm="candidate", failed=True)
    status = versus.decide()["error_rate_vs_baseline"]
    assert (status.state, status.value) == ("ok", pytest.approx(19))
    versus.send(2, arm="candidate", failed=True)
    assert versus.decide()["error_rate_vs_baseline"].state in ("warn", "firing")


def test_a_unit_counts_once_however_often_it_fails(versus: Any) -> None:
    for _ in range(20):
        versus.send(1, gap_s=61.0, arm="candidate", failed=True, unit="one")
    assert versus.decide()["error_rate_vs_baseline"].evidence["observations"] == 1


def test_next_to_nothing_is_not_rolled_back_however_much_more_it_is(versus: Any) -> None:
    for _ in range(6):  # one in 401 outcomes
        versus.send(400, gap_s=0.1, arm="candidate")
        versus.send(1, arm="candidate", failed=True)
    status = versus.decide()["error_rate_vs_baseline"]
    assert status.evidence["ln_mixture"] > 6.9
    assert (status.state, status.action) == ("firing", "page")


def test_equal_arms_are_left_alone(versus: Any) -> None:
    draw = random.Random(5)
    for _ in range(4000):
        candidate = draw.random() < 0.05
        versus.send(1, arm="candidate" if candidate else "baseline", failed=draw.random() < 0.1)
    assert versus.decide()["error_rate_vs_baseline"].action is None


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
    status = escalated.decide()["escalated"]
    assert (status.state, status.action) == ("firing", "page")


def test_a_report_that_a_unit_did_not_escalate_is_no_event(escalated: Any) -> None:
    escalated.send(1)
    for _ in range(9):
        escalated.rate("escalated", 0, candidate=True)
    assert escalated.decide()["escalated"].state == "not_enough_data"


def test_a_unit_that_escalates_twice_is_one_unit(escalated: Any) -> None:
    escalated.send(1)
    for _ in range(9):
        escalated.rate("escalated", 1, candidate=True, exchange_id="", unit="one")
    assert escalated.decide()["escalated"].evidence["adverse_units"] == 1


def test_the_share_of_the_feedback_s_own_phase_is_used(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [ESCALATED]))
    traffic.send(1, phase=1, share=0.05)
    traffic.send(1, phase=2, share=0.5)
    traffic.rate("escalated", 1, candidate=True, phase=1)
    early = traffic.decide()["escalated"].evidence["ln_mixture"]
    traffic.rate("escalated", 1, candidate=True, phase=2)
    late = traffic.decide()["escalated"].evidence["ln_mixture"] - early
    assert early > 1.5 > late > 0


def test_at_half_of_the_users_those_without_the_event_tell_as_much(traffic_of: Any) -> None:
    traffic = traffic_of(Watch("support-nov", [VERSUS]), share=0.5)
    for _ in range(30):  # the first minute of a run is not compared
        traffic.send(1, gap_s=1.0)
        traffic.send(1, gap_s=1.0, arm="candidate")
    failing = 0
    while traffic.decide()["error_rate_vs_baseline"].action != "rollback":
        failing += 1
        traffic.send(1)
        traffic.send(1, arm="candidate", failed=True)
        assert failing < 20
    assert failing == 10  # the events alone need 15


def test_units_wait_until_both_arms_have_some_and_then_count_as_a_block() -> None:
    evidence, compared = Evidence.of_tests(2), UnitsCompared()
    unit = {"share": 0.5, "factor": 1.5}
    assert not compared.add(evidence, unit="a", candidate=True, event=True, **unit)  # type: ignore[arg-type]
    assert evidence.observations == 0
    assert compared.add(evidence, unit="b", candidate=False, event=False, **unit)  # type: ignore[arg-type]
    assert (evidence.observations, list(evidence.units)) == (1, ["a"])
    assert (compared.candidate, compared.baseline, compared.known) == ([], [0, 0], [1, 0])


def test_the_baseline_s_units_are_forgotten_where_none_of_the_candidate_s_come() -> None:
    evidence, compared = Evidence.of_tests(2), UnitsCompared()
    for number in range(500):
        compared.add(evidence, unit=f"u{number}", candidate=False, share=0.5, event=False, factor=1.5)
    assert sum(compared.baseline) <= 8


@pytest.mark.parametrize("seed", range(4))
def test_a_ramp_amid_worse_times_for_both_arms_convicts_nobody(traffic_of: Any, seed: int) -> None:
    """Most of the candidate's users come in the bad times, most of the baseline's came before."""
    draw = random.Random(seed)
    traffic = traffic_of(Watch("support-nov", [VERSUS]))
    for phase, share, failing in ((1, 0.05, 0.01), (2, 0.5, 0.3)):
        for _ in range(3000):
            arm = "candidate" if draw.random() < share else "baseline"
            failed = draw.random() < failing
            traffic.send(1, arm=arm, share=share, phase=phase, failed=failed)
        assert traffic.decide()["error_rate_vs_baseline"].action is None
