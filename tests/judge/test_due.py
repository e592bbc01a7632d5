"""A day's number of judgements lasts for every category, and all of it may be used."""

from collections import Counter
from itertools import count
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from judge.runs.due import Stratum, UnjudgedExchange, choose

_SERIAL = count()
Arm = Literal["", "baseline", "candidate"]


def waiting(category: str, number: int, *, arm: Arm = "", at: float = 0.0) -> list[UnjudgedExchange]:
    return [
        UnjudgedExchange(exchange_id=f"e{next(_SERIAL)}", category=category, arm=arm, rank=at + each)
        for each in range(number)
    ]


def counts(chosen: list[UnjudgedExchange]) -> dict[Stratum, int]:
    return dict(Counter((each.category, each.arm) for each in chosen))


def test_in_the_morning_each_category_has_its_own_part_only() -> None:
    due = [*waiting("common", 50), *waiting("rare", 2)]
    assert counts(choose(due, {}, number=20, of_day=0.0, most=64)) == {("common", ""): 10, ("rare", ""): 2}


def test_by_midnight_the_common_may_have_used_what_the_rare_had_no_use_for() -> None:
    due = [*waiting("common", 50), *waiting("rare", 2)]
    assert counts(choose(due, {}, number=20, of_day=1.0, most=64)) == {("common", ""): 18, ("rare", ""): 2}


def test_at_noon_half_of_what_a_category_did_not_use_is_free() -> None:
    begun = {("common", ""): 10, ("rare", ""): 0}
    chosen = choose(waiting("common", 50), begun, number=20, of_day=0.5, most=64)
    assert len(chosen) == 5
    late = choose(waiting("rare", 9), {**begun, ("common", ""): 15}, number=20, of_day=0.5, most=64)
    assert len(late) == 5


def test_a_category_of_an_earlier_day_keeps_its_room_before_it_is_seen_today() -> None:
    begun = {("common", ""): 0, ("refund", ""): 0}
    assert len(choose(waiting("common", 50), begun, number=20, of_day=0.0, most=64)) == 10


def test_both_arms_have_an_equal_part_of_a_category() -> None:
    due = [*waiting("x", 50, arm="baseline"), *waiting("x", 50, arm="candidate")]
    assert set(counts(choose(due, {}, number=20, of_day=0.3, most=64)).values()) == {10}


def test_the_newest_come_first_and_the_fewest_before_them() -> None:
    due = [*waiting("a", 3, at=100.0), *waiting("b", 3)]
    chosen = choose(due, {("a", ""): 1}, number=99, of_day=0.0, most=3)
    assert [(each.category, each.rank) for each in chosen] == [("b", 2.0), ("a", 102.0), ("b", 1.0)]


def test_more_categories_than_the_days_number_are_no_reason_to_wait() -> None:
    due = [each for number in range(30) for each in waiting(f"c{number}", 2)]
    assert len(choose(due, {}, number=5, of_day=0.0, most=64)) == 5


@given(
    number=st.integers(1, 60),
    arrivals=st.lists(st.tuples(st.floats(0.0, 1.0), st.integers(0, 5), st.integers(1, 40)), max_size=12),
    late=st.floats(0.0, 1.0),
)
def test_never_more_than_the_days_number_and_no_category_is_starved(
    number: int, arrivals: list[tuple[float, int, int]], late: float
) -> None:
    """Whatever comes in a day, a category that comes late finds what of its part was still to accrue."""
    begun: dict[Stratum, int] = {(f"c{each}", ""): 0 for each in range(7)}
    part, queue = number / len(begun), list[UnjudgedExchange]()
    events = [*((at, f"c{which}", many) for at, which, many in arrivals), (late, "c6", number)]
    for at, category, many in sorted(events):
        is_first = not any(each.category == category for each in queue) and not begun[category, ""]
        queue += waiting(category, many, at=at)
        for each in choose(queue, begun, number=number, of_day=at, most=10_000):
            begun[each.category, each.arm] += 1
            queue.remove(each)
        assert sum(begun.values()) <= number
        if is_first:
            assert begun[category, ""] >= min(many, int(part * (1.0 - at))) - 1
    midnight = choose(queue, begun, number=number, of_day=1.0, most=10_000)
    assert len(midnight) == min(len(queue), number - sum(begun.values()))
