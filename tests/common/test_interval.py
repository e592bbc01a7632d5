"""Wilson's interval against published figures and statsmodels, and how often it covers."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from common.interval import wilson


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)],
)
def test_the_published_intervals(hits: int, of: int, low: float, high: float) -> None:
    """Newcombe 1998, table I."""
    assert wilson(hits, of) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 3000), st.floats(0, 1))
def test_it_is_statsmodels(of: int, part: float) -> None:
    hits = round(part * of)
    assert wilson(hits, of) == pytest.approx(proportion_confint(hits, of, method="wilson"), abs=1e-9)


@given(st.integers(1, 3000))
def test_none_and_all_end_where_a_share_does(of: int) -> None:
    assert (wilson(0, of)[0], wilson(of, of)[1]) == (0.0, 1.0)


def test_at_twenty_examples_it_covers_where_wald_does_not() -> None:
    n, p = 20, 0.95
    mass = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]

    def covered(ends: list[tuple[float, float]]) -> float:
        return sum(m for m, (low, high) in zip(mass, ends, strict=True) if low <= p <= high)

    assert covered([wilson(k, n) for k in range(n + 1)]) == pytest.approx(0.925, abs=0.001)
    wald = [proportion_confint(k, n, method="normal") for k in range(n + 1)]
    assert covered(wald) == pytest.approx(0.64, abs=0.005)
