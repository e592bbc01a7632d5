"""Durations as two bytes each."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from records.store.sums import LONGEST_S, SHORTEST_S, pack, unpack

SECONDS = st.floats(min_value=SHORTEST_S, max_value=LONGEST_S)


@given(st.lists(SECONDS))
def test_what_is_unpacked_is_what_was_packed_to_a_part_in_six_thousand(values: list[float]) -> None:
    found = unpack(pack(values))
    assert len(found) == len(values)
    assert np.allclose(found, values, rtol=1.5e-4, atol=0.0)


@given(st.lists(SECONDS, min_size=2).map(sorted))
def test_the_order_stays(values: list[float]) -> None:
    assert (np.diff(unpack(pack(values))) >= 0.0).all()


def test_what_is_off_the_scale_stands_at_its_end() -> None:
    found = unpack(pack([0.0, -1.0, math.nan, 1e-9, 1e9, math.inf]))
    assert np.allclose(found, [SHORTEST_S] * 4 + [LONGEST_S] * 2, rtol=1e-12)


def test_packed_values_are_appended_as_bytes() -> None:
    assert np.array_equal(unpack(pack([0.1]) + pack([2.0, 30.0])), unpack(pack([0.1, 2.0, 30.0])))
