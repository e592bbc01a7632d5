"""State transitions of a canary."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from routing import transitions as t
from routing.canary import HoldbackTerms, Step
from routing.states import Holdback, State, StateName

FIVE = [Step(share=0.05)]
TEN = [Step(share=0.10)]
RAMP = [Step(share=0.01, for_s=3600), Step(share=0.05, for_s=7200), Step(share=0.10, for_s=86400)]
NAMES: tuple[StateName, ...] = ("waiting", "running", "paused", "rolled_back", "promoted", "ended")


def running(steps: list[Step] = RAMP) -> State:
    return t.first_seen(steps, by_hand=False, now=100.0)


def rolled_back(steps: list[Step] = RAMP) -> State:
    return t.rollback(running(steps), reason="errors", now=200.0)


def tick(
    state: State, seconds: float, *, held: bool = False, enough: bool = True, steps: list[Step] = RAMP
) -> State:
    return t.tick(state, steps, passed_s=seconds, held=held, now=300.0, enough=enough)


def test_a_step_ends_when_all_that_it_names_is_reached() -> None:
    steps = [
        Step(share=0.01, users=300),
        Step(share=0.05, for_s=3 * 86_400, users=2000),
        Step(share=0.1),
    ]
    assert t.steps_text(steps) == "0.01@300,0.05/259200@2000,0.1"

    def after(state: State, seconds: float, users: int, *, held: bool = False) -> State:
        return t.tick(state, steps, passed_s=seconds, held=held, now=300.0, users=users)

    first = running(steps)
    assert after(first, 1e6, 299).share == 0.01
    assert after(first, 1.0, 300, held=True) == first
    second = after(first, 1.0, 300)
    assert (second.step, second.share, second.step_elapsed_s) == (1, 0.05, 0.0)
    assert after(second, 3 * 86_400 - 1, 5000).share == 0.05
    assert after(second, 3 * 86_400, 1999).share == 0.05
    third = after(second, 3 * 86_400, 2000)
    assert (third.step, third.share) == (2, 0.1)
    assert after(third, 1e6, 10**6).step == 2


def test_a_cap_lowers_the_share_holds_the_ramp_and_is_no_order() -> None:
    state = t.set_share(running(), RAMP, 0.05, now=150.0)
    capped = t.cap(state, 0.02, now=200.0)
    assert (capped.share, capped.effective_share, capped.phase) == (0.05, 0.02, state.phase + 1)
    assert tick(capped, 1e6) == capped
    assert t.configure(capped, RAMP, now=250.0) == capped
    lifted = t.cap(capped, None, now=300.0)
    assert (lifted.effective_share, lifted.phase) == (0.05, capped.phase + 1)
    assert {each.step_phase for each in (state, capped, lifted, t.pause(capped, now=260.0))} == {state.phase}
    back = t.resume(t.rollback(capped, reason="bad", now=300.0), RAMP, reason="fixed", now=400.0)
    assert back.step_phase == back.phase
    assert t.set_share(capped, RAMP, 0.1, now=300.0).effective_share == 0.1
    assert t.promote(capped, reason="good", now=300.0).effective_share == 1.0
    assert t.rollback(capped, reason="bad", now=300.0).effective_share == 0.0
    assert t.resume(t.pause(capped, now=260.0), RAMP, reason="", now=300.0).effective_share == 0.02
    for name in ("waiting", "rolled_back", "promoted", "ended"):
        assert t.cap(replace(state, state=name), 0.02, now=300.0).cap is None


@pytest.mark.parametrize(("had", "wanted"), [(None, 0.02), (0.02, 0.01), (0.02, None)])
def test_a_paused_canarys_share_stays_whatever_the_quota(had: float | None, wanted: float | None) -> None:
    paused = t.pause(t.cap(running(FIVE), had, now=200.0), now=260.0)
    assert t.cap(paused, wanted, now=300.0) == paused


def test_a_canary_starts_when_it_is_first_loaded() -> None:
    state = running()
    assert (state.state, state.share, state.run, state.phase, state.started_at) == (
        "running",
        0.01,
        1,
        1,
        100.0,
    )


def test_a_canary_to_be_started_by_hand_waits() -> None:
    state = t.first_seen(RAMP, by_hand=True, now=1.0)
    assert (state.state, state.effective_share, state.phase) == ("waiting", 0.0, 0)
    assert t.start(state, RAMP, now=2.0).share == 0.01


ACTIONS: dict[t.Action, Callable[[State], State]] = {
    "start": lambda state: t.start(state, RAMP, now=9.0),
    "ramp": lambda state: t.set_share(state, RAMP, 0.05, now=9.0),
    "pause": lambda state: t.pause(state, now=9.0),
    "resume": lambda state: t.resume(state, RAMP, reason="fixed", now=9.0),
    "rollback": lambda state: t.rollback(state, reason="errors", now=9.0),
    "promote": lambda state: t.promote(state, reason="good", now=9.0),
    "end": lambda state: t.end(state, reason="removed", now=9.0),
}
TABLE: dict[t.Action, list[StateName | None]] = {
    "start": ["running", None, None, None, None, None],
    "ramp": [None, "running", "paused", None, None, None],
    "pause": [None, "paused", None, None, None, None],
    "resume": [None, None, "running", "running", None, None],
    "rollback": [None, "rolled_back", "rolled_back", "rolled_back", "rolled_back", None],
    "promote": [None, "promoted", "promoted", None, None, None],
    "end": ["ended", "ended", "ended", "ended", "ended", None],
}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("place", range(len(NAMES)))
def test_the_table_is_the_law(action: t.Action, place: int) -> None:
    before = replace(running(), state=NAMES[place])
    expected = TABLE[action][place]
    if expected is not None:
        assert ACTIONS[action](before).state == expected
        assert action in t.legal(before)
        return
    with pytest.raises(t.IllegalTransition) as caught:
        ACTIONS[action](before)
    assert action not in caught.value.legal == t.legal(before)
    options = str(caught.value).partition("(")[2]
    assert all(each in options for each in caught.value.legal if each != "end")
    assert "end" not in options  # nobody can order it


def test_the_ramp_advances_one_step_at_a_time() -> None:
    state = tick(running(), 3599)
    assert (state.step, state.share, state.phase) == (0, 0.01, 1)
    state = tick(state, 1)
    assert (state.step, state.share, state.phase, state.step_elapsed_s) == (1, 0.05, 2, 0.0)
    state = tick(state, 10 * 86400)  # nobody ticked for ten days
    assert (state.step, state.share, state.phase) == (2, 0.10, 3)
    assert tick(state, 10 * 86400).share == 0.10  # the last step stays


def test_a_step_that_too_few_users_have_seen_stays_until_enough_have() -> None:
    state = tick(running(), 5000, enough=False)
    assert (state.step, state.share, state.step_elapsed_s) == (0, 0.01, 5000)
    assert tick(state, 1).step == 1


def test_the_ramp_clock_stands_while_held_or_paused() -> None:
    state = tick(running(), 3000)
    assert tick(state, 3600, held=True) == state
    paused = t.pause(state, now=5.0)
    assert tick(paused, 3600) == paused
    resumed = t.resume(paused, RAMP, reason="", now=6.0)
    assert (resumed.step_elapsed_s, resumed.run) == (3000, 1)
    assert tick(resumed, 600).step == 1


def test_a_clock_that_goes_backwards_does_not_move_the_ramp() -> None:
    state = tick(running(), 3000)
    assert tick(state, -3600) == state


def test_pausing_keeps_the_share_and_the_phase() -> None:
    state = t.pause(running(), now=5.0)
    assert (state.effective_share, state.phase, state.changed_at) == (0.01, 1, 5.0)


def test_a_rollback_takes_the_share_and_the_first_reason_stands() -> None:
    state = rolled_back()
    assert (state.state, state.effective_share, state.reason, state.phase) == (
        "rolled_back",
        0.0,
        "errors",
        2,
    )
    assert t.rollback(state, reason="cost", now=900.0) == state


def test_resuming_after_a_rollback_begins_a_new_run_at_the_first_step() -> None:
    high = t.rollback(tick(running(), 3600), reason="errors", now=200.0)
    state = t.resume(high, RAMP, reason="provider fixed it", now=400.0)
    assert (state.run, state.step, state.share, state.started_at) == (2, 0, 0.01, 400.0)
    assert state.reason == "provider fixed it"


HELD = HoldbackTerms(share=0.02, for_s=7 * 86400.0)


def test_a_promotion_may_hold_units_back_until_a_time() -> None:
    state = t.promote(running(), reason="good", now=10.0, holdback=HELD)
    assert (state.state, state.share, state.holds_back) == ("promoted", 0.98, True)
    assert state.holdback == Holdback(phase=state.phase, since=10.0, until=10.0 + 7 * 86400.0)
    over = t.end_holdback(state, now=20.0)
    assert (over.state, over.share, over.phase) == ("promoted", 1.0, state.phase + 1)
    assert over.holdback is not None and (over.holdback.ended_at, over.holds_back) == (20.0, False)
    assert t.end_holdback(over, now=30.0) == over
    assert t.end_holdback(running(), now=30.0) == running()


def test_who_had_the_candidate_is_not_held_back() -> None:
    state = replace(running(), share=0.99)
    after = t.promote(state, reason="good", now=10.0, holdback=HELD)
    assert (after.share, after.phase) == (0.99, state.phase + 1)  # a phase of its own all the same


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (3 / 86400, "ended early, after less than 0.1 of 7 days"),
        (2.5, "ended early, after 2.5 of 7 days"),
        (7, "its 7 days are over"),
    ],
)
def test_how_long_a_hold_back_lasted_is_said_in_plain_figures(days: float, said: str) -> None:
    assert Holdback(phase=1, since=0.0, until=7 * 86400.0).lasted(days * 86400) == said


def test_a_rollback_and_an_end_end_the_hold_back_and_a_new_run_has_none() -> None:
    state = t.promote(running(), reason="good", now=10.0, holdback=HELD)
    for over in (t.rollback(state, reason="bad", now=20.0), t.end(state, reason="gone", now=20.0)):
        assert over.holdback is not None and (over.share, over.holdback.ended_at) == (0.0, 20.0)
    assert t.resume(t.rollback(state, reason="bad", now=20.0), RAMP, reason="r", now=30.0).holdback is None


def test_a_second_rollback_may_only_make_the_first_one_hard() -> None:
    soft = rolled_back()
    assert not soft.hard
    hard = t.rollback(soft, reason="it leaks", now=900.0, hard=True)
    assert hard == replace(soft, hard=True)
    assert t.rollback(hard, reason="never mind", now=950.0) == hard


def test_a_resume_after_a_hard_rollback_lets_the_candidate_answer_again() -> None:
    hard = t.rollback(running(), reason="errors", now=200.0, hard=True)
    assert not t.resume(hard, RAMP, reason="mended", now=400.0).hard


def test_the_highest_share_is_that_of_every_run() -> None:
    state = t.promote(running(), reason="good", now=1.0)
    state = t.resume(t.rollback(state, reason="cost", now=2.0), RAMP, reason="again", now=3.0)
    assert (state.share, state.highest_share) == (0.01, 1.0)
    raised = t.set_share(running(), RAMP, 0.05, now=2.0)
    assert t.set_share(raised, RAMP, 0.01, now=3.0).highest_share == 0.05


def test_resuming_after_a_rollback_needs_a_reason() -> None:
    with pytest.raises(t.IllegalTransition, match="needs a reason"):
        t.resume(rolled_back(), RAMP, reason=" ", now=1.0)


def test_a_changed_share_acts_once() -> None:
    state = running(FIVE)
    raised = t.configure(state, TEN, now=7.0)
    assert (raised.share, raised.phase, raised.state) == (0.10, 2, "running")
    lowered_by_hand = t.set_share(raised, TEN, 0.02, now=8.0)
    assert t.configure(lowered_by_hand, TEN, now=9.0) == lowered_by_hand


def test_a_changed_share_never_rearms_a_rollback_but_is_used_by_the_next_resume() -> None:
    state = t.configure(rolled_back(FIVE), TEN, now=7.0)
    assert (state.state, state.effective_share) == ("rolled_back", 0.0)
    assert t.resume(state, TEN, reason="fixed", now=8.0).share == 0.10


def test_an_edited_ramp_goes_on_from_where_it_is() -> None:
    state = tick(tick(running(), 3600), 60)
    longer = [RAMP[0], Step(share=0.05, for_s=9000), Step(share=0.2)]
    edited = t.configure(state, longer, now=7.0)
    assert (edited.step, edited.share, edited.step_elapsed_s, edited.phase) == (1, 0.05, 60, 2)
    assert t.configure(state, [Step(share=0.005)], now=7.0).share == 0.005


def test_a_share_set_by_hand_ends_the_ramp_unless_it_is_one_of_its_steps() -> None:
    by_hand = t.set_share(running(), RAMP, 0.03, now=5.0)
    assert tick(by_hand, 1e9).share == 0.03
    on_ramp = t.set_share(running(), RAMP, 0.05, now=5.0)
    assert tick(on_ramp, 7200).share == 0.10


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_the_ends_of_the_scale_have_actions_of_their_own(share: float) -> None:
    with pytest.raises(t.IllegalTransition, match=r"rollback.*promote"):
        t.set_share(running(), RAMP, share, now=5.0)


# Any sequence of reloads, ticks and guardrails

AUTOMATIC = st.one_of(
    st.tuples(st.just("reload"), st.sampled_from([FIVE, TEN, RAMP])),
    st.tuples(st.just("tick"), st.floats(-1e6, 1e6)),
    st.tuples(st.just("rollback"), st.none()),
)


def play(state: State, event: tuple[str, object], steps: list[Step]) -> tuple[State, list[Step]]:
    kind, value = event
    if kind == "reload":
        assert isinstance(value, list)
        return t.configure(state, value, now=1.0), value
    if kind == "tick":
        assert isinstance(value, float)
        return tick(state, value, steps=steps), steps
    try:
        return t.rollback(state, reason="errors", now=1.0), steps
    except t.IllegalTransition:
        return state, steps


@given(st.lists(AUTOMATIC, max_size=30))
def test_a_rollback_is_latched_under_any_reloads_and_ticks(events: list[tuple[str, object]]) -> None:
    state, steps = rolled_back(), RAMP
    for event in events:
        state, steps = play(state, event, steps)
        assert (state.state, state.effective_share, state.run) == ("rolled_back", 0.0, 1)


@given(st.sampled_from(NAMES), st.lists(AUTOMATIC, max_size=30))
def test_exposure_rises_only_by_the_ramp_or_a_changed_config(
    name: StateName, events: list[tuple[str, object]]
) -> None:
    state, steps = replace(running(), state=name), RAMP
    for event in events:
        before, known = state, steps
        state, steps = play(state, event, steps)
        if state.effective_share > before.effective_share:
            assert before.state in ("running", "paused")
            changed = t.steps_text(steps) != t.steps_text(known)
            advanced = event[0] == "tick" and state.step == before.step + 1
            assert changed or advanced
        assert state.phase - before.phase == (state.effective_share != before.effective_share)


@given(st.floats(0, 1e7), st.booleans())
def test_a_tick_under_a_config_that_was_not_taken_in_changes_nothing(seconds: float, held: bool) -> None:
    state = running(RAMP)
    assert tick(state, seconds, held=held, steps=TEN) == state
