"""Lanes: who has which units, and that nobody's change when a canary comes or goes."""

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from routing.canary import Arm, Canary, Match, Step
from routing.cohort import SPACE, in_cohort
from routing.lane import lane_place
from routing.lanes import allot, groups, sizes, taker
from routing.plan import State

KEY = b"k" * 32


def canary(name: str, lane: float | None = None, models: tuple[str, ...] = ("gpt-4o",)) -> Canary:
    return Canary(
        name=name,
        match=Match(models=frozenset(models)),
        baseline=Arm(provider="openai", model="gpt-4o-2024-08-06"),
        candidate=Arm(provider="openai", model=f"candidate-{name}"),
        steps=(Step(share=0.1),),
        lane=lane,
    )


def started(*canaries: Canary, before: dict[str, State] | None = None) -> dict[str, State]:
    """The states after these canaries have started beside those that were there."""
    states = dict(before or {})
    lanes = allot(canaries, states).lanes
    for each in canaries:
        if each.name not in states:
            states[each.name] = State(state="running", share=0.1, lane=lanes.get(each.name))
    return states


def size(state: State) -> float:
    assert state.lane is not None
    return state.lane.size


def test_canaries_that_match_the_same_requests_are_one_group_also_by_way_of_others() -> None:
    one, other, bridge = canary("a"), canary("b", models=("gpt-5",)), canary("c", models=("gpt-4o", "gpt-5"))
    assert groups([one, other]) == []
    assert [[each.name for each in group] for group in groups([one, other, bridge])] == [["a", "b", "c"]]
    elsewhere = replace(one, name="d", baseline=Arm(provider="azure", model="gpt-4o"))
    assert groups([one, elsewhere]) == []


def test_a_canary_alone_has_no_lane_unless_it_declares_one() -> None:
    assert allot([canary("a")], {}).lanes == {}
    assert allot([canary("a", 0.4)], {}).lanes["a"].size == pytest.approx(0.4)


def test_what_is_not_declared_is_shared_equally() -> None:
    assert sizes([canary("a", 0.5), canary("b"), canary("c")]) == {"a": 0.5, "b": 0.25, "c": 0.25}
    states = started(canary("a"), canary("b"), canary("c"))
    assert [size(states[name]) for name in "abc"] == pytest.approx([1 / 3] * 3)


@given(place=st.integers(0, SPACE - 1))
def test_every_place_belongs_to_exactly_one_of_three_equal_lanes(place: int) -> None:
    states = started(canary("a"), canary("b"), canary("c"))
    assert sum(taker([name], states, place) is not None for name in "abc") == 1


def test_a_lane_that_has_ended_goes_to_nobody() -> None:
    states = started(canary("a"), canary("b"), canary("c"))
    after = {**states, "b": replace(states["b"], state="ended", share=0.0)}
    lane = states["b"].lane
    assert lane is not None
    (begin, end), *_ = lane.spans
    for place in (begin, end - 1):
        assert taker("abc", states, place) == "b"
        assert taker("abc", after, place) is None
    assert allot([canary("a"), canary("c")], after).lanes == {}


def test_a_new_canary_gets_units_that_never_had_a_lane_before_those_of_a_canary_that_ended() -> None:
    states = started(canary("a", 0.3), canary("b", 0.3))
    states["a"] = replace(states["a"], state="ended")
    lane = allot([canary("b", 0.3), canary("c", 0.5)], states).lanes["c"]
    assert lane.size == pytest.approx(0.5, abs=1e-6)
    never = round(0.6 * SPACE)
    assert sum(end - begin for begin, end in lane.spans if begin >= never) == SPACE - never


def test_nobody_who_has_started_makes_room() -> None:
    states = started(canary("a"))
    found = allot([canary("a"), canary("b")], states)
    assert found.lanes == {}
    assert "canary 'b' gets no lane: the canaries that started before it have all units" in found.refused["b"]
    part = allot([canary("a", 0.8), canary("b")], started(canary("a", 0.8)))
    assert "it wants 50.0% of the units, and 20.0% are left. Set `lane: 20%` or less" in part.refused["b"]
    fits = allot([canary("a", 0.8), canary("b", 0.2)], started(canary("a", 0.8)))
    assert fits.lanes["b"].size == pytest.approx(0.2, abs=1e-6)


def test_lanes_are_cut_anew_until_the_first_canary_starts() -> None:
    waiting = {name: State(lane=lane) for name, lane in allot([canary("a"), canary("b")], {}).lanes.items()}
    assert allot([canary("a"), canary("b"), canary("c")], waiting).lanes["a"].size == pytest.approx(1 / 3)
    fixed = {**waiting, "a": replace(waiting["a"], state="running")}
    found = allot([canary("a"), canary("b"), canary("c")], fixed)
    assert found.lanes == {"b": waiting["b"].lane}
    assert set(found.refused) == {"c"}


def test_a_canary_that_bridges_two_groups_is_refused() -> None:
    states = started(canary("a", 0.5), canary("b", 0.2, models=("gpt-5",)))
    bridge = canary("c", 0.1, models=("gpt-4o", "gpt-5"))
    found = allot([canary("a", 0.5), canary("b", 0.2, models=("gpt-5",)), bridge], states)
    assert "it would join the lanes of 'a' and 'b', which share no requests" in found.refused["c"]


def test_lanes_are_independent_of_every_arms_hash() -> None:
    """χ² of the joint table of lane and arm, and of two canaries' arms, over 100,000 units."""
    table = dict.fromkeys(product(range(3), (False, True)), 0)
    for number in range(100_000):
        unit = f"user-{number}"
        lane = lane_place(KEY, unit) * 3 // SPACE
        table[lane, in_cohort(KEY, "support", unit, 0.1)] += 1
    counts = [[table[lane, arm] for arm in (False, True)] for lane in range(3)]
    assert chi2_contingency(counts).pvalue > 0.001
    assert [sum(row) / 100_000 for row in counts] == pytest.approx([1 / 3] * 3, abs=0.003)


def test_the_published_vector_of_a_lane() -> None:
    """HMAC-SHA-256 with a key of 32 zero bytes; docs/lanes.md has it too."""
    assert lane_place(bytes(32), "user-1") == 3070912795
