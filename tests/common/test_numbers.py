"""Numbers as people read them."""

import math

import pytest

from common.numbers import (
    count,
    decimal,
    dollars,
    percent,
    rough_percent,
    seconds,
    seconds_between,
    set_percent,
    times,
)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (percent(None), "–"),
        (percent(0.05), "5.0 %"),
        (percent(0.0125), "1.2 %"),
        (percent(0.0004), "0.04 %"),
        (percent(0.714), "71.4 %"),
        (percent(-0.0), "0.0 %"),
        (rough_percent(0.417), "42 %"),
        (rough_percent(0.004), "0.4 %"),
        (set_percent(0.05), "5 %"),
        (set_percent(0.0025), "0.25 %"),
        (seconds(0.08), "80 ms"),
        (seconds(0.85), "0.85 s"),
        (seconds(1.24), "1.24 s"),
        (seconds_between(-0.024, 0.077), "−24 to +77 ms"),
        (dollars(4900.4), "$4,900"),
        (dollars(12.3), "$12.30"),
        (dollars(0.00012345), "$0.000123"),
        (dollars(0.0), "$0.00"),
        (dollars(-0.5), "−$0.500"),
        (times(1.24), "1.2×"),
        (times(1240), "1,240×"),
        (times(0.0413), "0.041×"),
        (times(0.0), "0×"),
        (decimal(4.312), "4.31"),
        (decimal(math.inf), "–"),
        (count(1, "user"), "1 user"),
        (count(12_000, "user"), "12,000 users"),
        (count(None), "–"),
    ],
)
def test_a_number_reads_as_a_person_says_it(told: str, text: str) -> None:
    assert told == text
