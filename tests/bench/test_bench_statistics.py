"""The benchmark's statistics against known answers and statsmodels, and where clusters make them wider."""

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar

from bench.benchmark.statistics import (
    least_for,
    mean,
    paired_difference,
    paired_p,
    paired_ratio,
    quantile,
    quantile_interval,
    quantile_of,
    resampled,
    share,
    weighted,
)
from common.interval import Interval, wilson


def alone(n: int) -> list[str]:
    return [str(number) for number in range(n)]


@pytest.mark.parametrize(("worse", "better"), [(8, 1), (3, 3), (1, 0), (12, 2)])
def test_pairs_are_tested_by_exact_mcnemar(worse: int, better: int) -> None:
    baseline = [True] * 20 + [True] * worse + [False] * better
    candidate = [True] * 20 + [False] * worse + [True] * better
    known = mcnemar([[20, worse], [better, 0]], exact=True).pvalue
    assert paired_p(baseline, candidate, alone(len(baseline))) == pytest.approx(known)


def test_models_that_agree_everywhere_have_no_p() -> None:
    assert paired_p([True, False], [True, False], alone(2)) is None


def test_ten_examples_of_one_document_are_one_piece_of_evidence() -> None:
    baseline, candidate = [True] * 30, [False] * 10 + [True] * 20
    plain = paired_p(baseline, candidate, alone(30))
    clustered = paired_p(baseline, candidate, ["one document"] * 10 + alone(20))
    assert plain is not None
    assert clustered is not None
    assert plain < 0.01 < 0.5 < clustered


def test_clusters_widen_an_interval_and_singletons_do_not() -> None:
    correct = ([True] * 5 + [False] * 5) * 10
    single = share(correct, alone(100))
    alike = share(correct, [str(number // 5) for number in range(100)])
    assert single is not None
    assert alike is not None
    assert (single.low, single.high) == pytest.approx(wilson(50, 100))
    assert (alike.low, alike.high) == pytest.approx(wilson(10, 20), abs=1e-9)
    assert share([], []) is None


def test_clusters_that_are_all_right_are_worth_one_each() -> None:
    found = share([True] * 40, [str(number // 10) for number in range(40)])
    assert found is not None
    assert found.low == pytest.approx(wilson(4, 4)[0])


def test_pairs_tell_a_ratio_that_unpaired_noise_would_hide() -> None:
    cost = np.random.default_rng(2).lognormal(0, 2, size=60)
    found = paired_ratio(cost.tolist(), (0.9 * cost).tolist(), alone(60), of=mean)
    assert found is not None
    assert (found.low, found.estimate, found.high) == pytest.approx((0.9, 0.9, 0.9))


def test_the_bootstrap_covers_and_says_the_same_each_time() -> None:
    covered, random = 0, np.random.default_rng(3)
    for _ in range(60):
        theirs = random.lognormal(0, 0.5, size=80)
        ours = theirs * random.lognormal(np.log(1.2), 0.3, size=80)
        found = paired_ratio(theirs.tolist(), ours.tolist(), alone(80), of=mean)
        assert found is not None
        covered += found.low <= 1.2 * np.exp(0.3**2 / 2) <= found.high
    assert covered >= 51
    assert found == paired_ratio(theirs.tolist(), ours.tolist(), alone(80), of=mean)


def test_latency_compares_by_its_p95() -> None:
    times = [float(number) for number in range(1, 101)]
    found = paired_ratio(times, [2 * each for each in times], alone(100), of=quantile_of(0.95))
    assert found is not None
    assert found.estimate == 2
    assert paired_ratio([1.0], [2.0], ["0"], of=quantile_of(0.95)) is None


def test_quantiles_are_values_that_were_measured() -> None:
    assert [quantile([1.0, 2.0, 3.0, 10.0], level) for level in (0.5, 0.75, 0.95)] == [2.0, 3.0, 10.0]
    assert quantile([], 0.5) is None


def test_a_difference_of_pairs_covers_and_pairs_that_all_agree_leave_doubt() -> None:
    random, covered = np.random.default_rng(4), 0
    for _ in range(400):
        kinds = random.choice(3, p=[0.05, 0.1, 0.85], size=100)
        found = paired_difference((kinds == 1).tolist(), (kinds == 0).tolist(), alone(100))
        assert found is not None
        covered += found.low <= -0.05 <= found.high
    assert covered >= 0.93 * 400
    agreed = paired_difference([True] * 60, [True] * 60, alone(60))
    assert agreed is not None
    assert -0.05 < agreed.low < -0.03 < 0.03 < agreed.high < 0.05
    assert paired_difference([], [], []) is None


def test_a_difference_of_pairs_is_wider_where_documents_fail_as_a_whole() -> None:
    baseline, candidate = [True] * 100, [False] * 10 + [True] * 90
    plain = paired_difference(baseline, candidate, alone(100))
    clustered = paired_difference(baseline, candidate, [str(number // 10) for number in range(100)])
    assert plain is not None
    assert clustered is not None
    assert clustered.high - clustered.low > 2 * (plain.high - plain.low)


def test_a_percentiles_interval_lies_between_two_of_the_values_and_covers() -> None:
    """Of 100 values the binomial's 2.5 % and 97.5 % points for p95 are 90 and 99: the 90th and the 100th."""
    found = quantile_interval([float(value) for value in range(1, 101)], alone(100), 0.95)
    assert found == Interval(low=90.0, estimate=95.0, high=100.0)
    random, truth = np.random.default_rng(5), -np.log(0.05)
    missed = 0
    for _ in range(400):
        one = quantile_interval(random.exponential(size=150).tolist(), alone(150), 0.95)
        missed += one is None or not one.low <= truth <= one.high
    assert missed / 400 < 0.05
    assert quantile_interval([], [], 0.95) is None


def test_a_percentile_of_documents_is_less_sure_than_one_of_examples() -> None:
    values = [float(number // 10) for number in range(400)]
    single = quantile_interval(values, alone(400), 0.5)
    alike = quantile_interval(values, [str(number // 10) for number in range(400)], 0.5)
    assert single is not None
    assert alike is not None
    assert alike.low < single.low < single.high < alike.high


@pytest.mark.parametrize(("level", "least"), [(0.5, 6), (0.9, 36), (0.95, 72), (0.99, 368)])
def test_the_least_number_of_values_for_an_upper_end(level: float, least: int) -> None:
    assert level**least <= 0.025 < level ** (least - 1)
    assert least_for(level) == least


def test_a_difference_may_be_to_a_part_of_the_baseline() -> None:
    baseline, candidate = [True] * 90 + [False] * 10, [True] * 80 + [False] * 10 + [True] * 10
    found = paired_difference(baseline, candidate, alone(100), factor=0.5)
    assert found is not None
    assert found.estimate == pytest.approx(0.9 - 0.45)
    assert found.low < 0.45 < found.high


def test_movers_sum_of_one_part_is_the_part_and_of_two_adds_squares() -> None:
    one, other = Interval(low=0.7, estimate=0.8, high=0.9), Interval(low=0.2, estimate=0.6, high=0.7)
    assert weighted([(1.0, one)]) == one
    both = weighted([(0.5, one), (0.5, other)])
    assert both.estimate == pytest.approx(0.7)
    assert both.low == pytest.approx(0.7 - (0.05**2 + 0.2**2) ** 0.5)
    assert both.high == pytest.approx(0.7 + (0.05**2 + 0.05**2) ** 0.5)
    apart = weighted([(1.0, one), (-1.0, other)])
    assert apart.low == pytest.approx(0.2 - (0.1**2 + 0.1**2) ** 0.5)
    assert apart.high == pytest.approx(0.2 + (0.1**2 + 0.4**2) ** 0.5)


def test_a_bootstrap_needs_two_clusters() -> None:
    values = np.array([[1.0, 2.0, 3.0]])
    assert resampled(values, ["a", "a", "a"], lambda found: mean(found[0])) is None
    found = resampled(values, alone(3), lambda found: mean(found[0]))
    assert found is not None
    assert found.low < found.estimate == 2.0 < found.high
