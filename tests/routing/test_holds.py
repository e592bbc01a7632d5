"""Who keeps an arm through changes of share."""

from collections.abc import Callable
from dataclasses import replace
from math import ceil

import pytest

from routing import transitions as t
from routing.assign import Held, assign
from routing.canary import Arm, ArmName, Canary, Match, Step
from routing.cohort import SPACE, bucket
from routing.holds import WHOLE, hold_of, keep, release
from routing.states import State

KEY = b"assignment key"
STEPS = [Step(share=0.05, for_s=10.0), Step(share=0.5)]
PLAIN = Canary(
    name="support-nov",
    match=Match(),
    baseline=Arm(provider="openai", model="old"),
    candidate=Arm(provider="openai", model="new"),
    steps=STEPS,
)
BY_FLAG = replace(PLAIN, assigned_outside=True)
AT_ONCE = replace(PLAIN, settle_s=0.0)
RANDOM = replace(PLAIN, random_without_unit=True)

Change = Callable[[State], State]
CHANGES: dict[str, Change] = {
    "start": lambda state: t.start(state, STEPS, now=1.0),
    "order": lambda state: t.set_share(state, STEPS, 0.5, now=2.0),
    "lower": lambda state: t.set_share(state, STEPS, 0.2, now=3.0),
    "ramp": lambda state: t.tick(state, STEPS, passed_s=11.0, held=False, now=2.0),
    "promote": lambda state: t.promote(state, reason="good", now=4.0),
    "rollback": lambda state: t.rollback(state, reason="errors", now=5.0),
    "resume": lambda state: t.resume(state, STEPS, reason="fixed", now=6.0),
    "pause": lambda state: t.pause(state, now=7.0),
}


def after(*changes: str, canary: Canary = PLAIN) -> State:
    """The state of a waiting canary after these changes."""
    state = t.first_seen(STEPS, by_hand=True, now=0.0)
    for name in changes:
        state = keep(canary, state, CHANGES[name](state))
    return state


def unit_at(low: float, high: float) -> str:
    """A unit whose place lies between these shares."""
    names = (f"user-{number}" for number in range(10_000))
    return next(name for name in names if low <= bucket(KEY, PLAIN.name, name) / SPACE < high)


def nobody(canary: str, phase: int, unit: str) -> bool:
    return False


def only(phase: int) -> Held:
    return lambda canary, kept, unit: kept == phase


@pytest.mark.parametrize(
    ("changes", "spans"),
    [
        (("start",), [(0.0, 1.0)]),
        (("start", "ramp"), [(0.0, 1.0), (0.05, 0.5)]),
        (("start", "order", "lower"), [(0.0, 1.0), (0.05, 0.5), (0.2, 0.5)]),
        (("start", "order", "pause"), [(0.0, 1.0), (0.05, 0.5)]),
        (("start", "promote"), [(0.0, 1.0), (0.0, 1.0)]),
        (("start", "order", "rollback"), []),
        (("start", "promote", "rollback"), []),
        (("start", "rollback", "resume"), [(0.0, 1.0)]),
    ],
)
def test_each_change_of_share_holds_the_units_that_it_would_move(
    changes: tuple[str, ...], spans: list[tuple[float, float]]
) -> None:
    found = [hold.span for hold in after(*changes).holds]
    assert found == [(ceil(low * SPACE), ceil(high * SPACE)) for low, high in spans]


def test_without_settle_everybody_moves_at_once() -> None:
    assert after("start", "order", "promote", canary=AT_ONCE).holds == ()


def test_a_flag_systems_units_are_moved_by_state_alone() -> None:
    assert [hold.span for hold in after("start", "order", canary=BY_FLAG).holds] == [WHOLE]
    assert [hold.span for hold in after("start", "promote", canary=BY_FLAG).holds] == [WHOLE, WHOLE]


def test_a_hold_ends_with_its_time_and_with_its_last_unit() -> None:
    state = after("start", "order")
    kept = PLAIN.settle_at_most_s
    assert [hold.before.phase for hold in release(state, frozenset({0}), now=9.0).holds] == [1]
    assert [hold.before.phase for hold in release(state, frozenset(), now=1.5 + kept).holds] == [1]
    assert release(state, frozenset(), now=9.0) is state


@pytest.mark.parametrize(
    ("changes", "low", "high", "held", "arm", "phase"),
    [
        # Held: the arm, phase and share of before. Moved, or outside the changed places: the new ones.
        (("start", "order"), 0.05, 0.5, only(1), "baseline", 1),
        (("start", "order"), 0.05, 0.5, nobody, "candidate", 2),
        (("start", "order"), 0.0, 0.05, only(1), "candidate", 2),
        (("start", "order"), 0.5, 1.0, only(1), "baseline", 2),
        (("start", "order", "lower"), 0.2, 0.5, only(1), "baseline", 1),
        (("start", "order", "lower"), 0.2, 0.5, only(2), "candidate", 2),
        (("start", "order", "lower"), 0.2, 0.5, nobody, "baseline", 3),
        (("start", "promote"), 0.5, 1.0, only(1), "baseline", 1),
        (("start", "promote"), 0.5, 1.0, nobody, "candidate", 2),
        (("start", "rollback", "resume"), 0.0, 0.05, only(2), "baseline", 2),
        (("start", "order", "rollback"), 0.0, 0.05, only(1), "baseline", 3),
    ],
)
def test_a_held_unit_is_assigned_as_before_the_change(
    changes: tuple[str, ...], low: float, high: float, held: Held, arm: ArmName, phase: int
) -> None:
    found = assign(PLAIN, after(*changes), key=KEY, unit=unit_at(low, high), held=held)
    assert (found.arm, found.phase) == (arm, phase)
    assert found.reason == ("stopped" if found.share == 0.0 else "cohort")


def test_until_it_is_known_who_keeps_an_arm_everybody_does() -> None:
    unit = unit_at(0.05, 0.5)
    assert assign(PLAIN, after("start", "order"), key=KEY, unit=unit).arm == "baseline"


@pytest.mark.parametrize(
    ("canary", "given", "expected"),
    [
        (RANDOM, {"unit": None, "draw": 0}, ("candidate", "no_unit", 2)),
        (PLAIN, {"unit": None}, ("candidate", "no_unit", 2)),
        (PLAIN, {"unit": unit_at(0.1, 0.5), "pin": "candidate"}, ("candidate", "pinned", 1)),
        (PLAIN, {"unit": unit_at(0.0, 0.05), "stateful": True}, ("baseline", "stateful", 1)),
        (PLAIN, {"unit": unit_at(0.0, 0.05)}, ("candidate", "cohort", 1)),
        (BY_FLAG, {"unit": unit_at(0.0, 0.05), "given": "baseline"}, ("baseline", "cohort", 1)),
        (BY_FLAG, {"unit": unit_at(0.5, 1.0), "given": "candidate"}, ("candidate", "cohort", 1)),
        (BY_FLAG, {"unit": unit_at(0.5, 1.0), "given": "no_assignment"}, ("baseline", "no_assignment", 1)),
    ],
)
def test_what_else_decides_an_arm_decides_as_before_a_promotion(
    canary: Canary, given: dict[str, object], expected: tuple[str, str, int]
) -> None:
    state = after("start", "promote", canary=canary)
    found = assign(canary, state, key=KEY, held=only(1), **given)  # type: ignore[arg-type]
    assert (found.arm, found.reason, found.phase) == expected


@pytest.mark.parametrize(
    ("changes", "place", "phase", "arm", "kept"),
    [
        (("start", "order"), 0.3, 1, "baseline", 1),
        (("start", "order"), 0.3, 0, "baseline", 0),
        (("start",), 0.7, 0, "baseline", 0),
        (("start", "order"), 0.3, 2, "candidate", None),
        (("start", "order"), 0.7, 1, "baseline", None),
        (("start", "order", "lower"), 0.3, 1, "baseline", 1),
        (("start", "order", "lower"), 0.3, 2, "candidate", 2),
        (("start", "promote"), 0.01, 1, "candidate", None),
        (("start", "promote"), 0.01, 1, "baseline", 1),
        (("start", "promote"), None, 1, "baseline", 1),
    ],
)
def test_a_units_last_exchange_says_which_hold_it_has(
    changes: tuple[str, ...], place: float | None, phase: int, arm: ArmName, kept: int | None
) -> None:
    at = None if place is None else int(place * SPACE)
    hold = hold_of(after(*changes), place=at, phase=phase, arm=arm)
    assert (None if hold is None else hold.before.phase) == kept
