"""Lanes: who has which units, and that nobody moves when a canary comes or goes."""

import json
from dataclasses import replace
from itertools import combinations, product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency

from routing.canary import Arm, Canary, Match, RequestChanges, Step
from routing.cohort import SPACE, in_cohort
from routing.lanes import allot, groups, holds, part_of, sizes
from routing.states import Lane, State, StateName, lane_place

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


def lane_of(wanted: Canary, others: list[Canary], states: dict[str, State] | None = None) -> Lane:
    """The lane that this canary is given beside these others."""
    lane = allot([*others, wanted], states or {}).lanes[wanted.name]
    assert lane is not None
    return lane


def takers(states: dict[str, State], place: int) -> list[str]:
    return [name for name, state in states.items() if holds(state, place)]


def test_canaries_that_match_the_same_requests_are_one_group_also_by_way_of_others() -> None:
    one, other, bridge = canary("a"), canary("b", models=("gpt-5",)), canary("c", models=("gpt-4o", "gpt-5"))
    assert groups([one, other]) == []
    assert [[each.name for each in group] for group in groups([one, other, bridge])] == [["a", "b", "c"]]
    elsewhere = replace(one, name="d", baseline=Arm(provider="azure", model="gpt-4o"))
    assert groups([one, elsewhere]) == []


def test_a_canary_alone_has_no_lane_unless_it_declares_one() -> None:
    assert allot([canary("a")], {}).lanes == {"a": None}
    assert lane_of(canary("a", 0.4), []).size == pytest.approx(0.4)


def test_what_is_not_declared_is_shared_equally() -> None:
    assert sizes([canary("a", 0.5), canary("b"), canary("c")]) == {"a": 0.5, "b": 0.25, "c": 0.25}
    states = started(canary("a"), canary("b"), canary("c"))
    assert [size(states[name]) for name in "abc"] == pytest.approx([1 / 3] * 3)


@given(place=st.integers(0, SPACE - 1))
def test_every_place_belongs_to_exactly_one_of_three_equal_lanes(place: int) -> None:
    states = started(canary("a"), canary("b"), canary("c"))
    assert len(takers(states, place)) == 1


def test_a_lane_that_has_ended_goes_to_nobody() -> None:
    states = started(canary("a"), canary("b"), canary("c"))
    after = {**states, "b": replace(states["b"], state="ended", share=0.0)}
    lane = states["b"].lane
    assert lane is not None
    (begin, end), *_ = lane.spans
    for place in (begin, end - 1):
        assert takers(states, place) == ["b"]
        assert takers(after, place) == []
    assert allot([canary("a"), canary("c")], after).lanes == {}
    assert part_of(after["b"]) == 0.0


@pytest.mark.parametrize("state", ["running", "paused", "rolled_back", "promoted"])
def test_whatever_becomes_of_a_canary_that_is_still_there_its_lane_stays(state: StateName) -> None:
    states = started(canary("a"), canary("b"))
    after = {**states, "a": replace(states["a"], state=state)}
    for place in (0, SPACE // 2, SPACE - 1):
        assert takers(states, place) == takers(after, place)
    assert allot([canary("a"), canary("b")], after).lanes == {}


def test_a_new_canary_gets_units_that_never_had_a_lane_before_those_of_a_canary_that_ended() -> None:
    states = started(canary("a", 0.3), canary("b", 0.3))
    states["a"] = replace(states["a"], state="ended")
    lane = lane_of(canary("c", 0.5), [canary("b", 0.3)], states)
    assert lane.size == pytest.approx(0.5, abs=1e-6)
    never = round(0.6 * SPACE)
    assert sum(end - begin for begin, end in lane.spans if begin >= never) == SPACE - never


def test_nobody_who_has_started_makes_room() -> None:
    states = started(canary("a"))
    found = allot([canary("a"), canary("b")], states)
    assert found.lanes == {"b": None}
    assert not holds(State(), 0)
    assert "canary 'b' gets no lane: the canaries that started before it have all units" in found.refused["b"]
    states = started(canary("a"), canary("b"))
    states["b"] = replace(states["b"], state="ended")
    part = allot([canary("a"), canary("c", 0.4), canary("d", 0.3)], states)
    (why,) = part.refused.values()
    assert "'d' gets no lane: it wants 30.0% of the units, and 10.0% are left. Set `lane: 10%` or less" in why
    fits = lane_of(canary("b", 0.2), [canary("a", 0.8)], started(canary("a", 0.8)))
    assert fits.size == pytest.approx(0.2, abs=1e-6)
    rest = lane_of(canary("c"), [canary("a", 0.3), canary("b", 0.3)], started(canary("a", 0.3)))
    assert rest.size == pytest.approx(0.4, abs=1e-6)


def test_lanes_are_cut_anew_until_the_first_canary_starts() -> None:
    waiting = {name: State(lane=lane) for name, lane in allot([canary("a"), canary("b")], {}).lanes.items()}
    assert lane_of(canary("c"), [canary("a"), canary("b")], waiting).size == pytest.approx(1 / 3)
    assert allot([canary("a")], waiting).lanes == {"a": None}  # its lane is taken from it, as nobody shares
    fixed = {**waiting, "a": replace(waiting["a"], state="running")}
    found = allot([canary("a"), canary("b"), canary("c")], fixed)
    assert found.lanes == {"b": waiting["b"].lane, "c": None}
    assert set(found.refused) == {"c"}


@pytest.mark.parametrize(
    ("changed", "kept"),
    [
        (canary("b"), True),
        (canary("b", 0.5), True),
        (canary("b", 0.2), False),
        (canary("b", models=("gpt-4o", "gpt-5")), False),
    ],
)
def test_a_waiting_canary_keeps_its_lane_while_the_file_says_the_same(changed: Canary, kept: bool) -> None:
    states = {name: State(lane=lane) for name, lane in allot([canary("a"), canary("b")], {}).lanes.items()}
    states["a"] = replace(states["a"], state="running")
    lane = lane_of(changed, [canary("a")], states)
    assert (lane == states["b"].lane) == kept
    assert lane.match == changed.match
    mine, theirs = lane.spans[0], states["a"].lane
    assert theirs is not None
    assert not theirs.has(mine[0])


def test_an_ended_canary_hands_its_users_the_baseline_that_it_had_at_its_start() -> None:
    states = {name: State(lane=lane) for name, lane in allot([canary("a"), canary("b")], {}).lanes.items()}
    states["a"] = replace(states["a"], state="running")
    moved = replace(canary("b"), baseline=Arm(provider="openai", model="newer"))
    assert lane_of(moved, [canary("a")], states).baseline.model == "newer"  # it has not started yet


def test_a_canary_that_matches_the_requests_of_two_gets_places_that_neither_has() -> None:
    states = started(canary("a", 0.5), canary("b", 0.2, models=("gpt-5",)))
    bridge = canary("c", 0.1, models=("gpt-4o", "gpt-5"))
    states = started(canary("a", 0.5), canary("b", 0.2, models=("gpt-5",)), bridge, before=states)
    assert size(states["c"]) == pytest.approx(0.1, abs=1e-6)
    lane = states["c"].lane
    assert lane is not None
    for begin, end in lane.spans:
        assert takers(states, begin) == takers(states, end - 1) == ["c"]
    full = replace(bridge, name="d", lane=0.6)
    found = allot([canary("a", 0.5), canary("b", 0.2, models=("gpt-5",)), full], states)
    assert "it wants 60.0% of the units" in found.refused["d"]


def test_a_file_that_redefines_a_started_canary_gives_its_places_to_nobody() -> None:
    states = started(canary("a", 0.9), canary("b", 0.1))
    elsewhere = canary("a", 0.9, models=("gpt-5",))
    assert set(allot([elsewhere, canary("b", 0.1), canary("c", 0.5)], states).refused) == {"c"}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["run", "end", "promote"]), st.sampled_from([None, 0.1, 0.25, 0.4, 1.0]),
            st.sampled_from([("gpt-4o",), ("gpt-5",), ("gpt-4o", "gpt-5"), ()]),
        ),
        max_size=8,
    )
)  # fmt: skip
def test_whatever_comes_and_goes_no_request_has_two_canaries_and_nobody_moves(
    story: list[tuple[str, float | None, tuple[str, ...]]],
) -> None:
    states: dict[str, State] = {}
    living: list[Canary] = []
    for number, (fate, lane, models) in enumerate(story):
        before = {name: state.lane for name, state in states.items()}
        living.append(canary(f"c{number}", lane, models))
        if sum(each.lane or 0.0 for each in living) > 1.0:
            living.pop()  # the check of the file refuses it
            continue
        found = allot(living, states)
        states |= {name: State(lane=got) for name, got in found.lanes.items()}
        for name in set(found.lanes) - set(found.refused):
            states[name] = replace(states[name], state="promoted" if fate == "promote" else "running")
        for name, known in before.items():
            assert known is None or states[name].lane == known
        for one, other in combinations(living, 2):
            if one.meets(other):
                edges = [span[0] for each in states.values() if each.lane for span in each.lane.spans]
                for place in [0, *edges]:
                    assert not (holds(states[one.name], place) and holds(states[other.name], place))
        if fate == "end":
            gone = living.pop(0).name
            states[gone] = replace(states[gone], state="ended")


def test_a_lane_is_the_same_after_a_store_and_a_plan_have_carried_it() -> None:
    changes = RequestChanges(remove=["seed"], set=[("a", "1")])
    wanted = replace(canary("a", 0.4), baseline=Arm(provider="openai", model="m", request=changes))
    state = State(lane=lane_of(wanted, []))
    for read in (
        msgspec.json.decode(msgspec.json.encode(state), type=State),
        msgspec.convert(json.loads(json.dumps(state.document)), State),
    ):
        assert read == state
        assert read.lane is not None
        assert {read.lane.baseline: 1}[state.lane.baseline if state.lane else None] == 1  # type: ignore[index]


def test_lanes_are_independent_of_every_arms_hash() -> None:
    """χ² of the joint table of lane and arm, and of two canaries' arms, over 100,000 units."""
    table = dict.fromkeys(product(range(3), (False, True)), 0)
    for number in range(100_000):
        unit = f"user-{number}"
        lane = lane_place(KEY, unit) * 3 // SPACE
        table[lane, in_cohort(KEY, "support", unit, 0.1)] += 1
    counts = [[table[lane, arm] for arm in (False, True)] for lane in range(3)]
    _, p, _, _ = chi2_contingency(counts)
    assert p > 0.001
    assert [sum(row) / 100_000 for row in counts] == pytest.approx([1 / 3] * 3, abs=0.003)


def test_the_published_vector_of_a_lane() -> None:
    """HMAC-SHA-256 with a key of 32 zero bytes; docs/lanes.md has it too."""
    assert lane_place(bytes(32), "user-1") == 3070912795
