"""In which parts of the traffic failing exchanges are concentrated, and by what chance."""

from math import comb

import pytest

from common.concentration import Breakdown, Concentration, FailingPart, chance_of, failing_parts


def of_categories(failing: dict[str, int], traffic: dict[str, int]) -> tuple[FailingPart, ...]:
    return failing_parts(
        [
            Breakdown(
                by="category",
                failing=failing,
                of=sum(failing.values()),
                traffic=traffic,
                total=sum(traffic.values()),
            )
        ]
    )


def test_the_contract_s_sentence() -> None:
    found = of_categories({"refund": 12}, {"refund": 12, "order": 228})
    assert Concentration(parts=found).sentence == (
        "12 of 12 failing exchanges are in category refund (5 % of the traffic)"
    )


def test_failing_exchanges_that_lie_as_the_traffic_does_name_nothing() -> None:
    assert of_categories({"refund": 5, "order": 95}, {"refund": 50, "order": 950}) == ()
    assert of_categories({"order": 50}, {"order": 50}) == ()
    assert of_categories({}, {}) == ()


def test_less_than_a_third_of_them_is_not_where_they_lie() -> None:
    traffic = {"refund": 50, "order": 950}
    assert of_categories({"refund": 20, "order": 80}, traffic) == ()
    (part,) = of_categories({"refund": 40, "order": 60}, traffic)
    assert (part.value, part.failing, part.of, part.share) == ("refund", 40, 100, 0.05)


@pytest.mark.parametrize(("of", "part", "traffic"), [(4, 4, 20), (12, 12, 240), (60, 30, 400), (9, 20, 24)])
def test_the_chance_is_fishers(of: int, part: int, traffic: int) -> None:
    for failing in range(max(0, of + part - traffic), min(of, part) + 1):
        ways = sum(comb(part, x) * comb(traffic - part, of - x) for x in range(failing, min(of, part) + 1))
        assert chance_of(failing, of, part, traffic) == pytest.approx(ways / comb(traffic, of), rel=1e-9)


def test_the_chance_among_very_many_exchanges_is_found_without_overflow() -> None:
    assert chance_of(400, 1000, 50_000, 1_000_000) < 1e-100
    assert chance_of(50, 1000, 50_000, 1_000_000) == pytest.approx(0.52, abs=0.03)
