"""Ratios of unit sums: the worked example, and what must hold for any sums."""

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st

from tests.verdict.reference import cuped, difference, log_ratio, ratio
from verdict.statistics.ratio import Ratio

T = (np.array([3.0, 1, 4, 0, 2]), np.array([4.0, 2, 5, 1, 4]))
C = (np.array([5.0, 2, 2, 6]), np.array([6.0, 4, 3, 7]))
X_T = np.array([0.8, 0.4, 0.7, 0.2, 0.5])
X_C = np.array([0.9, 0.5, 0.6, 0.8])


def test_the_worked_example_has_its_values_and_variances() -> None:
    candidate, baseline = ratio(*T), ratio(*C)
    assert (candidate.value, baseline.value) == (0.625, 0.75)
    assert candidate.variance == pytest.approx(0.008392334, abs=5e-10)
    assert baseline.variance == pytest.approx(0.00625)


def test_the_worked_example_has_its_standard_errors() -> None:
    candidate, baseline = ratio(*T), ratio(*C)
    assert difference(candidate, baseline).se == pytest.approx(0.121006, abs=5e-7)
    assert log_ratio(candidate, baseline).se == pytest.approx(0.180542, abs=5e-7)
    assert difference(candidate, baseline, factor=0.98).se == pytest.approx(0.119978, abs=6e-7)


def test_cuped_moves_both_arms_to_a_common_past() -> None:
    adjusted = cuped((*T, X_T), (*C, X_C))
    assert adjusted.theta == pytest.approx(0.756002, abs=5e-7)
    assert adjusted.candidate.value == pytest.approx(0.685480, abs=5e-7)
    assert adjusted.baseline.value == pytest.approx(0.674400, abs=5e-7)
    assert difference(adjusted.candidate, adjusted.baseline).se == pytest.approx(0.056055, abs=5e-7)


def test_a_past_that_never_varies_changes_nothing() -> None:
    adjusted = cuped((*T, np.ones(5)), (*C, np.ones(4)))
    assert adjusted.theta == 0
    assert adjusted.candidate.value == ratio(*T).value


def test_one_unit_has_no_variance_to_be_known() -> None:
    with pytest.raises(ValueError, match="two units"):
        ratio(np.array([1.0]), np.array([2.0]))


def test_with_one_exchange_a_unit_it_is_the_plain_mean() -> None:
    values = np.random.default_rng(5).normal(size=200)
    found = ratio(values, np.ones(200))
    plain = sm.stats.DescrStatsW(values)
    assert found.value == pytest.approx(plain.mean)
    assert found.se == pytest.approx(plain.std_mean)


def test_many_exchanges_a_unit_agree_with_a_regression_clustered_by_unit() -> None:
    rng = np.random.default_rng(6)
    sizes = rng.integers(1, 12, size=150)
    unit = np.repeat(np.arange(150), sizes)
    y = rng.normal(size=150)[unit] + rng.normal(size=len(unit))
    found = ratio(np.bincount(unit, weights=y), sizes.astype(float))
    fit = sm.OLS(y, np.ones(len(y))).fit(
        cov_type="cluster", cov_kwds={"groups": unit, "use_correction": False}
    )
    assert found.value == pytest.approx(fit.params[0])
    assert found.se == pytest.approx(fit.bse[0] * np.sqrt(150 / 149))


sums = st.lists(st.tuples(st.floats(-50, 50), st.integers(1, 30)), min_size=2, max_size=40)


@given(sums)
def test_influences_add_up_to_nothing(pairs: list[tuple[float, int]]) -> None:
    totals, counts = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    found = ratio(totals, counts)
    assert float(np.sum(found.influence)) == pytest.approx(0, abs=1e-6)
    assert found.variance >= 0


@given(sums, st.floats(0.1, 10))
def test_units_of_measure_do_not_matter(pairs: list[tuple[float, int]], scale: float) -> None:
    totals, counts = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    plain, scaled = ratio(totals, counts), ratio(totals * scale, counts)
    assert scaled.value == pytest.approx(plain.value * scale, abs=1e-6)
    assert scaled.se == pytest.approx(plain.se * scale, abs=1e-6)


def test_a_difference_with_itself_is_nothing() -> None:
    one: Ratio = ratio(*T)
    assert difference(one, one).value == 0
    assert log_ratio(one, one).value == 0
