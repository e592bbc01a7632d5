"""Windows: what they count, what they forget, how right their quantiles are."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from alerts.evidence.statistics import SLICES, Window


def test_an_empty_window_knows_nothing_and_says_so() -> None:
    window = Window(600.0, binned=True)
    assert window.count(0.0) == 0
    assert window.mean(0.0) is None
    assert window.share_over(0.0) is None
    assert window.quantile(0.95, 0.0) is None


def test_values_are_kept_for_the_span_and_at_most_a_slice_longer() -> None:
    window = Window(600.0)
    window.add(1000.0, 1.0)
    assert window.count(1600.0) == 1
    assert window.count(1600.0 + 600.0 / SLICES + 1e-6) == 0


def test_the_whole_run_is_never_forgotten() -> None:
    window = Window(None)
    window.add(0.0, 1.0, over=True)
    window.add(1e7, 3.0)
    assert (window.count(2e7), window.over(2e7), window.mean(2e7)) == (2, 1, 2.0)


def test_values_may_come_out_of_order() -> None:
    window = Window(60.0)
    for at in (100.0, 50.0, 99.0, 41.0):
        window.add(at, 1.0)
    assert window.count(100.0) == 4


def test_memory_is_bounded_whatever_comes() -> None:
    window = Window(60.0, binned=True)
    draw = random.Random(3)
    for index in range(20_000):
        window.add(index * 0.5, draw.expovariate(1.0))
    assert len(window.slices) <= 2 * SLICES + 1
    assert max(len(part.bins) for part in window.slices.values()) < 1000


def test_a_p95_is_right_within_one_percent() -> None:
    draw = random.Random(11)
    values = [draw.lognormvariate(0.0, 1.0) for _ in range(5000)]
    window = Window(600.0, binned=True)
    for index, value in enumerate(values):
        window.add(index * 0.1, value)
    exact = float(np.quantile(values, 0.95, method="inverted_cdf"))
    assert window.quantile(0.95, 500.0) == pytest.approx(exact, rel=0.011)


@given(st.lists(st.floats(0.001, 1000.0), min_size=1, max_size=80), st.sampled_from([0.05, 0.5, 0.95, 0.99]))
def test_any_quantile_is_the_inverted_cdf_within_its_precision(values: list[float], q: float) -> None:
    window = Window(None, binned=True)
    for value in values:
        window.add(0.0, value)
    exact = float(np.quantile(values, q, method="inverted_cdf"))
    assert window.quantile(q, 0.0) == pytest.approx(exact, rel=0.011)


@pytest.mark.parametrize(("q", "count"), [(0.5, 40), (0.95, 400)])
def test_the_interval_of_a_quantile_holds_it_nineteen_times_of_twenty(q: float, count: int) -> None:
    draws, truth, held = np.random.default_rng(7), stats.lognorm.ppf(q, 0.5), 0
    for _ in range(400):
        window = Window(None, binned=True)
        for value in draws.lognormal(0.0, 0.5, count):
            window.add(0.0, float(value))
        low, high = window.whole(0.0).bounds(q)
        assert low is not None and high is not None
        held += low * 0.99 <= truth <= high * 1.01
    assert held >= 370


def test_an_end_of_an_interval_that_lies_beyond_what_was_seen_is_unknown() -> None:
    window = Window(None, binned=True)
    assert window.whole(0.0).bounds(0.95) == (None, None)
    for number in range(1, 21):
        window.add(0.0, float(number))
    low, high = window.whole(0.0).bounds(0.95)
    assert (low, high) == (pytest.approx(18.0, rel=0.011), None)


def test_a_value_of_zero_has_a_place() -> None:
    window = Window(None, binned=True)
    window.add(0.0, 0.0)
    assert window.quantile(0.95, 0.0) == pytest.approx(0.0, abs=1e-5)
