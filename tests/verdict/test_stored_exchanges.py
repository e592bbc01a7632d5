"""Which stored exchange an id names, wherever it lies, and which are the newest."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.verdict.totals import DAY_S, UnitTotals
from verdict.sample.stored_feedback import ExchangeKeys, find, newest


def _everything() -> Any:
    from pyarrow.compute import field

    return field("category") != "left out"


def _categories(totals: UnitTotals, ids: Sequence[str]) -> dict[int, str]:
    """The category of each exchange by its place among the ids."""
    found = find(totals.connection, ExchangeKeys.of(ids), ["category"], _everything)
    return {
        place: category
        for places, table in found
        for place, category in zip(places.tolist(), table["category"].to_pylist(), strict=True)
    }


@pytest.mark.parametrize("rolled", [False, True])
def test_an_id_finds_its_exchange_by_its_time(unit_totals: UnitTotals, rolled: bool) -> None:
    at = 20_000 * DAY_S
    names = [
        unit_totals.exchange(at=at + place * 0.37, category=f"k{place % 3}", tags={"n": str(place)})
        for place in range(9)
    ]
    left = unit_totals.exchange(at=at + 1, category="left out")
    if rolled:
        unit_totals.roll()
        names.append(unit_totals.exchange(at=at + 2, category="fresh"))
    asked = [*reversed(names), left, "no id", names[0]]
    expected = {place: f"k{(len(names) - 1 - place) % 3}" for place in range(len(names))}
    if rolled:
        expected[0] = "fresh"
    assert _categories(unit_totals, asked) == {**expected, len(names) + 2: "k0"}


@pytest.mark.parametrize("rolled", [False, True])
def test_exchanges_of_one_microsecond_are_told_apart_by_their_ids(
    unit_totals: UnitTotals, rolled: bool
) -> None:
    at = 20_000 * DAY_S
    near = (at, at, at + 1e-6, at + 2e-6)
    names = [unit_totals.exchange(at=moment, category=f"k{place}") for place, moment in enumerate(near)]
    if rolled:
        unit_totals.roll()
    assert _categories(unit_totals, names) == {place: f"k{place}" for place in range(4)}


def test_of_two_ids_with_one_microsecond_only_the_stored_one_is_found(unit_totals: UnitTotals) -> None:
    stored = unit_totals.exchange(category="stored")
    lost = unit_totals.name(at=100.0)
    assert _categories(unit_totals, [lost, stored, lost]) == {1: "stored"}


@pytest.mark.parametrize("rolled", [False, True])
def test_the_newest_are_read_and_no_more(unit_totals: UnitTotals, rolled: bool) -> None:
    for place in range(6):
        unit_totals.exchange(at=100.0 + place, category=f"k{place}")
    if rolled:
        unit_totals.roll()
    unit_totals.exchange(at=103.5, category="late")
    unit_totals.exchange(at=104.5, category="left out")
    table = newest(unit_totals.connection, ["at", "category"], _everything, since=100.0, until=105.0, most=3)
    assert table["category"].to_pylist() == ["k5", "k4", "late"]


def test_a_source_older_than_all_that_are_wanted_is_not_read(unit_totals: UnitTotals) -> None:
    unit_totals.exchange(at=100.0, category="old")
    unit_totals.roll()
    unit_totals.damage()
    names = [unit_totals.exchange(at=200.0 + place, category="new") for place in range(2)]
    assert _categories(unit_totals, names) == {0: "new", 1: "new"}
    table = newest(unit_totals.connection, ["at", "category"], _everything, since=0.0, until=300.0, most=2)
    assert table["category"].to_pylist() == ["new", "new"]
