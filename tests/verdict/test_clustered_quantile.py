"""Quantiles of exchanges that come from fewer units."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verdict.reference import ratio
from verdict.statistics.ratio import quantile, woodruff


def test_the_worked_example() -> None:
    i, j = (grid.ravel() for grid in np.meshgrid(np.arange(1, 41), np.arange(1, 11), indexing="ij"))
    y = 1 + 0.001 * ((37 * i * i + 53 * j * j + 11 * i * j) % 1000) + 0.5 * (i % 7 == 0)
    middle = quantile(y, 0.95)
    slower = np.bincount(i, weights=y > middle)[1:]
    se = ratio(slower, np.full(40, 10.0)).se
    fixed = woodruff(y, 0.95, half_width=1.959964 * se)
    always = woodruff(y, 0.95, half_width=3.035122 * se)
    assert middle == pytest.approx(2.261)
    assert se == pytest.approx(0.022072, abs=5e-7)
    assert (fixed.low, fixed.high) == (pytest.approx(1.989), pytest.approx(2.457))
    assert (always.low, always.high) == (pytest.approx(1.981), math.inf)


values = st.lists(st.floats(0, 1e3), min_size=1, max_size=200)


@given(values, st.floats(0.01, 1.0))
def test_it_is_numpys_inverted_cdf(numbers: list[float], level: float) -> None:
    array = np.array(numbers)
    assume_off_rank = abs(level * len(numbers) - round(level * len(numbers))) > 1e-6
    if assume_off_rank:
        assert quantile(array, level) == np.quantile(array, level, method="inverted_cdf")


@given(
    st.lists(st.tuples(st.floats(0, 100), st.integers(1, 4)), min_size=1, max_size=60), st.floats(0.05, 0.99)
)
def test_a_whole_weight_is_a_repeated_value(pairs: list[tuple[float, int]], level: float) -> None:
    array, weights = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    repeated = np.repeat(array, weights.astype(int))
    if abs(level * len(repeated) - round(level * len(repeated))) > 1e-6:
        assert quantile(array, level, weights) == quantile(repeated, level)


def test_exact_ranks_are_not_missed_by_rounding() -> None:
    assert quantile(np.arange(1.0, 401), 0.95) == 380
    assert quantile(np.arange(1.0, 101), 0.29) == 29
