"""A category's share is that of the traffic which the captures stand for."""

import pytest

from bench.dataset.file import are_capped, shares
from tests.bench.test_sampling import a_capture, many


def test_a_share_is_that_of_all_captured_exchanges() -> None:
    assert shares(many(common=24, refund=1)) == {"common": 0.96, "refund": 0.04}
    assert shares([]) == {}


def test_an_exchange_drawn_by_the_rate_stands_for_those_that_were_not() -> None:
    by_quota = [
        a_capture(f"{name}-{n}", name, kept="category", rate=0.02, per_category=20)
        for name in ("common", "refund")
        for n in range(20)
    ]
    drawn = [a_capture(f"drawn-{n}", "common", kept="rate", rate=0.02) for n in range(4)]
    # 20 + 4 / 2 % common ones, 20 refunds
    assert shares([*by_quota, *drawn]) == {
        "common": pytest.approx(220 / 240),
        "refund": pytest.approx(20 / 240),
    }


@pytest.mark.parametrize(("rate", "count", "capped"), [(0.0, 20, True), (0.0, 19, False), (0.02, 20, False)])
def test_a_quota_that_was_reached_without_a_rate_hides_what_is_common(
    rate: float, count: int, capped: bool
) -> None:
    found = [a_capture(f"{n}", "c", kept="category", rate=rate, per_category=20) for n in range(count)]
    assert are_capped(found) is capped
