"""Shares with few events: the published intervals, and Wilson's against statsmodels."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from report.statistics.events import log_mixture, mixture_interval, wilson


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


@given(st.integers(1, 400), st.floats(0, 1))
def test_wilson_agrees_with_statsmodels(trials: int, part: float) -> None:
    successes = round(part * trials)
    share = wilson(successes, trials)
    low, high = proportion_confint(successes, trials, method="wilson")
    assert (share.low, share.high) == (pytest.approx(low, abs=1e-9), pytest.approx(high, abs=1e-9))


def test_at_twenty_examples_wilson_covers_where_wald_does_not() -> None:
    n, p = 20, 0.95
    mass = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    ours = sum(m for k, m in enumerate(mass) if wilson(k, n).low <= p <= wilson(k, n).high)

    def wald(k: int) -> bool:
        low, high = proportion_confint(k, n, method="normal")
        return bool(low <= p <= high)

    naive = sum(m for k, m in enumerate(mass) if wald(k))
    assert ours == pytest.approx(0.925, abs=0.001)
    assert naive == pytest.approx(0.64, abs=0.005)
