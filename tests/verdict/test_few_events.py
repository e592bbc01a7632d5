"""Shares with few events: the published intervals."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.statistics.sequence import log_mixture, mixture_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 200, 0.0, 0.030611), (3.5, 400, 0.000583, 0.036405), (12, 1000, 0.003358, 0.029198)],
)
def test_the_mixture_interval(successes: float, trials: int, low: float, high: float) -> None:
    share = mixture_interval(successes, trials, alpha=0.05)
    assert (share.low, share.high) == (pytest.approx(low, abs=5e-7), pytest.approx(high, abs=6e-7))


@given(st.integers(1, 3000), st.floats(0, 1))
def test_the_interval_holds_the_mean_and_ends_where_evidence_is_enough(trials: int, part: float) -> None:
    successes = part * trials
    share = mixture_interval(successes, trials, alpha=0.05)
    assert 0 <= share.low <= part + 1e-9
    assert part - 1e-9 <= share.high <= 1
    for end in (share.low, share.high):
        if 1e-12 < end < 1 - 1e-12:
            assert log_mixture(successes, trials, end) == pytest.approx(math.log(20), abs=1e-3)


@given(st.integers(0, 500), st.integers(1, 500))
def test_it_is_the_same_seen_from_the_other_side(successes: int, failures: int) -> None:
    trials = successes + failures
    share = mixture_interval(successes, trials, alpha=0.05)
    mirrored = mixture_interval(failures, trials, alpha=0.05)
    assert share.low == pytest.approx(1 - mirrored.high, abs=1e-9)
