"""Lanes in states: cut with the file, fixed at the start, carried through restarts; who gets none is told."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from canary.config import parse
from control.feed.events import WorkerRegistry
from control.monitor.monitor import Monitor
from control.operator.operator import Operator
from control.operator.orders import BadOrder
from control.operator.retiring import KnownRetirements
from control.operator.status import explanation
from control.settings import ControlSettings
from control.states.preflights import Preflights
from control.states.rollouts import Rollouts
from records.exports.prometheus import Meters
from records.store import Act, Store
from routing import transitions
from routing.cohort import SPACE
from routing.lanes import part_of
from routing.states import State, States, lane_place
from tests.control.desks import standing_orders

KEY = b"key"
ENTRY = """
  - name: {name}
    match: {{models: [gpt-4o]}}
    baseline: {{provider: openai, model: old, request: {{remove: [seed]}}}}
    candidate: {{provider: openai, model: {name}-model}}
    share: 10%
    {more}
"""


def settings(*canaries: str) -> ControlSettings:
    """Of canaries given as "NAME" or "NAME: more lines"."""
    parts = [each.partition(": ") for each in canaries]
    entries = "".join(ENTRY.format(name=name, more=more) for name, _, more in parts)
    head = 'providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}\ncanaries:'
    return parse(head + (entries or " []"), "canary.yaml", {}).control


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store.open("sqlite:///canary.db", tmp_path)) as opened:
        yield opened


def loaded(
    store: Store, *files: Sequence[str], plans: list[States] | None = None
) -> tuple[Rollouts, list[str]]:
    """The states after these files, one after the other, and what the last one is told."""
    rollouts = Rollouts(store, (plans if plans is not None else []).append)
    problems: list[str] = []
    for at, file in enumerate(files):
        problems = rollouts.reconcile(settings(*file), 1000.0 + at)
    return rollouts, problems


def state(rollouts: Rollouts, name: str) -> State:
    found = rollouts.state(name)
    assert found is not None
    return found


def sizes(rollouts: Rollouts) -> dict[str, float]:
    return {name: round(part_of(each.state), 4) for name, each in sorted(rollouts.states.items())}


def operator(rollouts: Rollouts, store: Store, *file: str) -> Operator:
    wanted = settings(*file)
    meters = Meters(canaries=wanted.canaries, feedback_metrics=[], mono=time.monotonic)
    return Operator(
        preflights=Preflights(None, rollouts),
        settings=lambda: wanted,
        store=store,
        rollouts=rollouts,
        monitor=Monitor(meters=meters, rollouts=rollouts, settings=wanted),
        workers=WorkerRegistry(),
        troubles=list,
        assignment_key=lambda: KEY,
        standing=standing_orders(store, rollouts, wanted),
        retirements=KnownRetirements(store, lambda: wanted),
    )


def test_canaries_of_one_file_have_equal_lanes_and_keep_them(store: Store) -> None:
    rollouts, problems = loaded(store, ["a", "b", "c"], ["c", "b", "a"])
    assert problems == []
    assert sizes(rollouts) == {"a": 0.3333, "b": 0.3333, "c": 0.3333}
    versions = {name: each.version for name, each in rollouts.states.items()}
    again, _ = loaded(store, ["a", "b", "c"])  # another process, or after a restart
    assert {name: each.version for name, each in again.states.items()} == versions
    assert again.states == rollouts.states


def test_waiting_canaries_follow_the_file_until_one_has_started(store: Store) -> None:
    waiting = "start: manual"
    rollouts, _ = loaded(store, [f"a: {waiting}", f"b: {waiting}"])
    assert sizes(rollouts) == {"a": 0.5, "b": 0.5}
    before = rollouts.states
    rollouts.reconcile(settings(f"a: {waiting}", f"b: {waiting}"), 1001.0)
    assert rollouts.states == before  # a lane that came back from the store is no change
    rollouts.reconcile(settings(f"a: {waiting}"), 1002.0)
    assert state(rollouts, "a").lane is None
    assert part_of(state(rollouts, "b")) == 0.0


def test_a_canary_takes_the_places_of_one_that_leaves_with_the_same_file(store: Store) -> None:
    rollouts, problems = loaded(store, ["a", "b"], ["a", "c"])
    assert problems == []
    assert (state(rollouts, "b").state, state(rollouts, "c").state) == ("ended", "running")
    assert state(rollouts, "c").lane == state(rollouts, "b").lane
    assert sizes(rollouts) == {"a": 0.5, "b": 0.0, "c": 0.5}


def test_who_comes_too_late_waits_and_everybody_is_told_why(store: Store) -> None:
    rollouts, problems = loaded(store, ["a", "b"], ["a", "b", "c"])
    why = (
        "canary 'c' gets no lane: the canaries that started before it have all units of these requests. "
        "Remove one of them from the file, or give this one a match of its own"
    )
    assert problems == [why]
    assert (state(rollouts, "c").state, state(rollouts, "c").reason) == ("waiting", why)
    desk = operator(rollouts, store, "a", "b", "c")
    *_, shown = desk.status()["canaries"]
    assert (shown["refused"], shown["orders"], shown["lane"]) == (why, [], None)
    assert why in desk.degraded()  # /readyz
    order = desk.order("c", "start", who="ann", reason="", share=None)
    with pytest.raises(BadOrder, match="start is refused: canary 'c' gets no lane") as refused:
        asyncio.run(order)  # type: ignore[arg-type]
    assert refused.value.status == 409


def test_it_starts_by_itself_once_a_lane_is_free(store: Store) -> None:
    rollouts, _ = loaded(store, ["a", "b"], ["a", "b", "c"], ["a", "c"])
    assert state(rollouts, "c").lane == state(rollouts, "b").lane
    preflights = Preflights(None, rollouts)

    async def turn() -> None:
        preflights.turn(settings("a", "c"))
        await asyncio.gather(*preflights._tasks.values())

    asyncio.run(turn())
    assert (state(rollouts, "c").state, state(rollouts, "c").reason) == ("running", "")


def test_a_canary_that_is_not_given_its_lane_yet_does_not_start(store: Store) -> None:
    """The file has just changed: the lanes that it cuts are not in the states."""
    rollouts, _ = loaded(store, ["a: start: manual"])
    desk = operator(rollouts, store, "a: start: manual", "b: start: manual")
    order = desk.order("a", "start", who="ann", reason="", share=None)
    with pytest.raises(BadOrder, match="canary 'a' is given its lane at this moment: try again"):
        asyncio.run(order)  # type: ignore[arg-type]


def test_a_rollback_and_a_resume_leave_the_lane_as_it_is(store: Store) -> None:
    rollouts, _ = loaded(store, ["a", "b"])
    lane = state(rollouts, "a").lane
    desk = operator(rollouts, store, "a", "b")
    for order in ("rollback", "resume", "promote"):
        against = order == "promote"
        given = desk.order("a", order, who="ann", reason="r", share=None, against_verdict=against)  # type: ignore[arg-type]
        done = asyncio.run(given)  # type: ignore[arg-type]
        assert (state(rollouts, "a").lane, done["lane"]) == (lane, 0.5)


def test_a_started_lane_cannot_change_in_the_file(store: Store) -> None:
    rollouts, (problem,) = loaded(store, ["a: lane: 40%", "b"], ["a: lane: 30%", "b"])
    assert "its match, arms, request changes, unit or session rule or lane differ in the file" in problem
    assert "Its baseline serves all users of its lane" in problem
    assert sizes(rollouts) == {"a": 0.4, "b": 0.6}


def test_a_started_canary_without_a_lane_that_gets_one_in_the_file_is_refused(store: Store) -> None:
    _, problems = loaded(store, ["a"], ["a: lane: 50%", "b"])
    assert any(
        "(`lane:` added after the start counts too). Its baseline serves everybody" in each
        for each in problems
    )


def test_sizes_are_shown_with_nine_digits(store: Store) -> None:
    rollouts, _ = loaded(store, ["a: lane: 30%", "b"])
    desk = operator(rollouts, store, "a: lane: 30%", "b")
    assert desk.status()["canaries"][0]["lane"] == 0.3
    assert desk.explain("user-1")["canaries"][0]["lane"]["size"] == 0.3
    assert asyncio.run(desk.order("a", "pause", who="ann", reason="because", share=None))["lane"] == 0.3
    assert part_of(state(rollouts, "a")) == 0.3  # the metric


def test_explain_says_that_a_canary_gets_no_lane_and_why(store: Store) -> None:
    rollouts, (why,) = loaded(store, ["a", "b"], ["a", "b", "c"])
    *_, told = explanation(settings("a", "b", "c").canaries, rollouts, "user-1", KEY)["canaries"]
    assert (told["canary"], told["arm"], told["lane"]) == ("c", "baseline", None)
    assert (told["reason"], told["refused"], told["sentence"]) == ("no_lane", why, why)


def test_explain_says_whose_lane_a_unit_is_in(store: Store) -> None:
    rollouts, _ = loaded(store, ["a: lane: 40%", "b: lane: 30%"], ["a: lane: 40%"])
    canaries = settings("a: lane: 40%").canaries
    for number in range(50):
        unit = f"user-{number}"
        place = lane_place(KEY, unit) / SPACE
        (told,) = explanation(canaries, rollouts, unit, KEY)["canaries"]
        assert told["lane"] == {"size": pytest.approx(0.4), "place": place, "mine": place < 0.4}
        if place < 0.4:
            assert told["reason"] == "cohort"
            assert told["sentence"].startswith("its hash falls at")
        elif place < 0.7:
            assert (told["reason"], told["arm"]) == ("no_lane", "baseline")
            assert (
                told["sentence"]
                == "not its lane: that of 'b', which has ended and whose baseline serves the unit"
            )
        else:
            assert told["sentence"].startswith("not its lane: the unit is in no lane. A baseline serves it")


def test_explain_names_the_other_canary(store: Store) -> None:
    rollouts, _ = loaded(store, ["a", "b"])
    told = explanation(settings("a", "b").canaries, rollouts, "user-1", KEY)["canaries"]
    mine, other = sorted(told, key=lambda each: not each["lane"]["mine"])
    assert other["sentence"] == f"not its lane: the unit is in the lane of canary {mine['canary']!r}"
    alone = explanation(settings("a").canaries, loaded(store)[0], "user-1", KEY)
    assert [each["lane"] is not None for each in alone["canaries"]] == [True]


def test_explain_of_a_flag_system_s_canary_names_no_arm_while_the_flag_decides(store: Store) -> None:
    by_flag = "a: assignment: header"
    rollouts, _ = loaded(store, [by_flag])

    def told() -> tuple[str | None, str, str]:
        (found,) = explanation(settings(by_flag).canaries, rollouts, "user-1", KEY)["canaries"]
        return found["arm"], found["reason"], found["sentence"]

    arm, reason, sentence = told()
    assert (arm, reason) == (None, "cohort") and sentence.startswith("the flag system decides")
    act = Act(at=1100.0, action="rollback", who="ann", reason="r")
    rollouts.change("a", act, lambda state: transitions.rollback(state, reason="r", now=act.at))
    arm, reason, sentence = told()
    assert (arm, reason) == ("baseline", "stopped")
    assert sentence.startswith("the canary is rolled back") and "whatever the flag system says" in sentence
