"""A session's arm through changes of its user and of the share."""

from dataclasses import replace

import pytest
from msgspec import structs

from routing.assign import Assignment, assign
from routing.canary import ArmName
from routing.cohort import SPACE
from routing.sessions import KNOWN_FOR_S, MOST_CHANGES, SessionArm, merged
from routing.states import State
from tests.routing.test_assign import KEY, a_canary

CANARY = a_canary()
HERS = SessionArm("support-nov", "5e", "a0", 7, "candidate", "cohort", 2, 3, 0.1, 100.0, 200.0, 2)
THEN = Assignment(arm="candidate", reason="cohort", run=2, phase=3, share=0.1, place=7)


def assigned(state: State, *, session: SessionArm = HERS, now: float = 210.0, **more: object) -> Assignment:
    return assign(CANARY, state, key=KEY, unit="another user", session=session, now=now, **more)  # type: ignore[arg-type]


def test_a_session_has_its_arm_whoever_goes_on_with_it_and_counts_to_who_began_it() -> None:
    assert assigned(State(state="running", share=0.1, run=2, phase=3)) == THEN
    assert assigned(State(state="running", share=0.1, run=2, phase=3), stateful=True) == THEN
    a_day_later = HERS.at + KNOWN_FOR_S - 1.0
    assert assigned(State(state="running", share=0.1, run=2, phase=3), now=a_day_later) == THEN


@pytest.mark.parametrize(
    "state",
    [
        State(state="running", share=0.0000001, run=2, phase=4),
        State(state="paused", share=0.6, run=2, phase=4),
        State(state="promoted", share=1.0, run=2, phase=5),
    ],
)
def test_a_change_of_share_moves_a_session_only_once_it_has_been_idle(state: State) -> None:
    mine = structs.replace(HERS, arm="baseline", place=SPACE // 2)
    kept = assigned(state, session=mine, now=HERS.at + CANARY.settle_s - 1.0)
    assert (kept.arm, kept.phase, kept.share, kept.place) == ("baseline", 3, 0.1, SPACE // 2)
    moved = assigned(state, session=mine, now=HERS.at + CANARY.settle_s)
    arm: ArmName = "candidate" if state.share > 0.5 else "baseline"
    assert (moved.arm, moved.phase, moved.place) == (arm, state.phase, SPACE // 2)


@pytest.mark.parametrize("state", ["rolled_back", "ended"])
def test_a_rollback_moves_every_session(state: str) -> None:
    now = assigned(State(state=state, share=0.1, run=2, phase=4))  # type: ignore[arg-type]
    assert (now.arm, now.reason, now.place) == ("baseline", "stopped", 7)


def test_after_a_fresh_start_a_session_has_the_arm_of_the_unit_that_began_it() -> None:
    now = assigned(State(state="running", share=0.1, run=3, phase=9))
    assert now == Assignment(arm="candidate", reason="cohort", run=3, phase=9, share=0.1, place=7)


def test_a_pin_and_a_missing_prompt_go_before_the_session() -> None:
    state = State(state="running", share=0.1, run=2, phase=3)
    assert assigned(state, pin="baseline").arm == "baseline"
    assert assigned(state, missed=True).reason == "prompt_missed"


def test_without_settle_a_change_of_share_moves_a_session_at_once() -> None:
    moves = replace(CANARY, settle_s=0.0)
    state = State(state="running", share=0.6, run=2, phase=4)
    mine = structs.replace(HERS, arm="baseline", place=SPACE // 2)
    now = assign(moves, state, key=KEY, unit="another user", session=mine, now=201.0)
    assert (now.arm, now.phase) == ("candidate", 4)


def test_what_two_processes_know_is_who_began_it_the_newest_arm_and_all_who_answered() -> None:
    begun_earlier = structs.replace(HERS, unit="b1", arm="baseline", first_at=90.0, at=95.0, answered=1)
    for pair in ((HERS, begun_earlier), (begun_earlier, HERS)):
        both = merged(*pair)
        assert (both.unit, both.arm, both.first_at, both.at) == ("b1", "baseline", 90.0, 200.0)
        assert (both.answered, both.only) == (3, None)
    moved = structs.replace(HERS, unit="b1", phase=4, first_at=150.0, at=160.0)
    assert merged(HERS, moved).unit == merged(moved, HERS).unit == "b1"
    forgotten = structs.replace(
        HERS, unit="b1", first_at=HERS.at + 2 * KNOWN_FOR_S, at=HERS.at + 2 * KNOWN_FOR_S
    )
    assert merged(HERS, forgotten) == merged(forgotten, HERS) == forgotten


def test_of_two_processes_that_count_changes_of_user_the_one_that_saw_more_is_believed() -> None:
    assert HERS.with_user("a0") is HERS
    once = HERS.with_user("b1")
    assert (once.user, once.changes, once.unit) == ("b1", 1, "a0")
    assert once.with_user("b1") is once
    back = once.with_user("a0")
    assert (back.user, back.changes) == ("a0", 2)
    for pair in ((HERS, back), (back, once), (once, back)):
        assert (merged(*pair).user, merged(*pair).changes) == ("a0", 2)


def test_changes_of_user_are_not_counted_beyond_their_limit() -> None:
    session = HERS
    for number in range(2 * MOST_CHANGES):
        session = session.with_user(f"user {number}")
    assert session.changes == MOST_CHANGES + 1
