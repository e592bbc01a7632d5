"""(canary, state, unit) → arm and reason."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing.assign import Assignment, Given, assign, may_have_begun
from routing.canary import Arm, ArmName, Canary, Match, Step, definition
from routing.cohort import bucket, in_cohort
from routing.states import State, StateName

KEY = b"assignment key"


def a_canary(*, random: bool = False) -> Canary:
    return Canary(
        name="support-nov",
        match=Match(models=frozenset({"gpt-4o"})),
        baseline=Arm(provider="openai", model="old"),
        candidate=Arm(provider="openai", model="new"),
        steps=[Step(share=0.5)],
        random_without_unit=random,
    )


def at(share: float, state: StateName = "running") -> State:
    return State(state=state, share=share, run=2, phase=3)


def test_without_a_state_the_baseline_serves() -> None:
    answer = assign(a_canary(), None, key=KEY, unit="user-1")
    assert (answer.arm, answer.reason) == ("baseline", "no_plan")


def test_without_a_state_even_a_pin_gets_the_baseline() -> None:
    assert assign(a_canary(), None, key=KEY, unit="user-1", pin="candidate").arm == "baseline"


@given(unit=st.text(min_size=1), share=st.floats(0.01, 1.0))
def test_a_unit_gets_its_cohorts_arm(unit: str, share: float) -> None:
    answer = assign(a_canary(), at(share), key=KEY, unit=unit)
    expected = "candidate" if in_cohort(KEY, "support-nov", unit, share) else "baseline"
    place = bucket(KEY, "support-nov", unit)
    assert answer == Assignment(arm=expected, reason="cohort", run=2, phase=3, share=share, place=place)


@pytest.mark.parametrize("state", ["waiting", "rolled_back", "ended"])
def test_a_canary_that_does_not_run_serves_the_baseline(state: StateName) -> None:
    answer = assign(a_canary(), at(1.0, state), key=KEY, unit="user-1")
    assert (answer.arm, answer.reason, answer.share) == ("baseline", "stopped", 0.0)


@pytest.mark.parametrize("state", ["running", "paused", "promoted"])
def test_a_canary_at_full_share_serves_the_candidate(state: StateName) -> None:
    assert assign(a_canary(), at(1.0, state), key=KEY, unit="user-1").arm == "candidate"


@given(unit=st.text(min_size=1))
def test_who_is_held_back_had_the_baseline_before(unit: str) -> None:
    before = at(0.05)
    held = assign(a_canary(), at(0.98, "promoted"), key=KEY, unit=unit)
    if held.arm == "baseline":
        assert assign(a_canary(), before, key=KEY, unit=unit).arm == "baseline"
        assert held.reason == "cohort"


def test_stateful_requests_stay_with_the_baseline_whatever_their_user() -> None:
    answer = assign(a_canary(), at(1.0), key=KEY, unit="user-1", stateful=True)
    assert (answer.arm, answer.reason) == ("baseline", "stateful")


@pytest.mark.parametrize(("share", "random"), [(1.0, False), (1.0, True), (0.98, True)])
def test_a_promoted_candidate_has_the_requests_without_a_unit(share: float, random: bool) -> None:
    canary = replace(a_canary(), random_without_unit=random)
    answer = assign(canary, at(share, "promoted"), key=KEY, unit=None, draw=2**32 - 1)
    assert (answer.arm, answer.reason, answer.place) == ("candidate", "no_unit", None)
    assert may_have_begun(canary, at(share, "promoted"), None)


def test_nobody_shares_an_anonymous_bucket() -> None:
    answer = assign(a_canary(), at(1.0), key=KEY, unit=None, draw=0)
    assert (answer.arm, answer.reason) == ("baseline", "no_unit")


def test_a_draw_per_request_is_flagged() -> None:
    low = assign(a_canary(random=True), at(0.5), key=KEY, unit=None, draw=2**31 - 1)
    high = assign(a_canary(random=True), at(0.5), key=KEY, unit=None, draw=2**31)
    assert (low.arm, high.arm) == ("candidate", "baseline")
    assert {low.reason, high.reason} == {"random"}


def test_a_pin_wins_over_the_cohort_the_share_and_the_state_of_the_request() -> None:
    for state in (at(0.0), at(1.0), at(1.0, "rolled_back")):
        answer = assign(a_canary(), state, key=KEY, unit="user-1", stateful=True, pin="candidate")
        assert (answer.arm, answer.reason) == ("candidate", "pinned")


def test_once_promoted_the_candidate_serves_stateful_requests() -> None:
    answer = assign(a_canary(), at(1.0, "promoted"), key=KEY, unit="user-1", stateful=True)
    assert (answer.arm, answer.reason) == ("candidate", "cohort")


@given(unit=st.text(min_size=1), highest=st.floats(0.01, 1.0))
@pytest.mark.parametrize("state", ["running", "paused", "rolled_back"])
def test_a_unit_that_was_in_the_cohort_may_have_begun_a_conversation_there(
    unit: str, highest: float, state: StateName
) -> None:
    known = State(state=state, share=0.0, highest_share=highest)
    assert may_have_begun(a_canary(), known, bucket(KEY, "support-nov", unit)) == in_cohort(
        KEY, "support-nov", unit, highest
    )


@pytest.mark.parametrize(
    "state",
    [
        None,
        State(state="rolled_back", highest_share=1.0, hard=True),
        State(state="waiting", highest_share=1.0),
        State(state="ended", highest_share=1.0),
        State(state="running", highest_share=0.0),
    ],
)
def test_without_a_plan_a_share_or_after_a_hard_rollback_the_candidate_has_begun_nothing(
    state: State | None,
) -> None:
    assert not may_have_begun(a_canary(), state, bucket(KEY, "support-nov", "user-1"))


def test_without_a_unit_the_candidate_has_begun_something_only_where_arms_are_drawn() -> None:
    running = at(0.05)
    assert may_have_begun(a_canary(random=True), running, None)
    assert not may_have_begun(a_canary(), running, None)
    rolled_back = State(state="rolled_back", highest_share=1.0)
    assert not may_have_begun(a_canary(random=True), rolled_back, None)


def from_outside() -> Canary:
    return replace(a_canary(), assigned_outside=True)


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_a_flag_systems_arm_is_the_units_cohort(arm: ArmName) -> None:
    units = [f"user-{number}" for number in range(20)]
    answers = [assign(from_outside(), at(0.01), key=KEY, unit=unit, given=arm) for unit in units]
    assert {(answer.arm, answer.reason, answer.share) for answer in answers} == {(arm, "cohort", 0.01)}


@pytest.mark.parametrize("reason", ["no_assignment", "bad_assignment"])
def test_without_a_good_arm_the_baseline_serves_outside_the_cohort(reason: Given) -> None:
    answer = assign(from_outside(), at(0.99), key=KEY, unit="user-1", given=reason)
    assert (answer.arm, answer.reason) == ("baseline", reason)


@pytest.mark.parametrize("state", ["waiting", "rolled_back", "ended"])
def test_no_flag_system_brings_a_stopped_candidate_back(state: StateName) -> None:
    answer = assign(from_outside(), at(0.5, state), key=KEY, unit="user-1", given="candidate")
    assert (answer.arm, answer.reason) == ("baseline", "stopped")


def test_a_promoted_candidate_has_every_unit_whatever_the_flag_says() -> None:
    answer = assign(from_outside(), at(1.0, "promoted"), key=KEY, unit="user-1", given="baseline")
    assert answer.arm == "candidate"


def test_provider_side_state_a_pin_and_no_unit_come_before_the_flag() -> None:
    canary, state = from_outside(), at(0.5)
    assert assign(canary, state, key=KEY, unit="u", stateful=True, given="candidate").reason == "stateful"
    assert assign(canary, state, key=KEY, unit="u", pin="baseline", given="candidate").reason == "pinned"
    assert assign(canary, state, key=KEY, unit=None, given="no_assignment").reason == "no_unit"


def test_any_unit_of_a_flag_system_may_have_conversations_with_the_candidate() -> None:
    known = [f"user-{number}" for number in range(20)]
    assert all(may_have_begun(from_outside(), at(0.01), bucket(KEY, "support-nov", unit)) for unit in known)
    assert not may_have_begun(
        from_outside(), replace(at(0.01), hard=True), bucket(KEY, "support-nov", "user-1")
    )


def test_whether_a_flag_system_assigns_is_part_of_what_cannot_change() -> None:
    assert definition(from_outside()) != definition(a_canary())
