"""The evidence against its published known answers, to the digits given."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.evidence.statistics import (
    ROLLBACK_MIXTURE,
    UNITS_KEPT,
    Evidence,
    absolute_steps,
    betting_steps,
    log_mean,
    relative_steps,
    unit_steps,
)


def after(outcomes: list[int], limits: list[float]) -> Evidence:
    evidence = Evidence()
    for index, (failed, limit) in enumerate(zip(outcomes, limits, strict=True)):
        failure, success = absolute_steps(limit)
        evidence.add(f"u{index}", failure if failed else success)
    return evidence


def mixture_of(failures: np.ndarray, successes: np.ndarray, limit: float) -> np.ndarray:
    """ln of the mixture on a grid of counts."""
    failure, success = absolute_steps(limit)
    logs = np.stack([failures * f + successes * s for f, s in zip(failure, success, strict=True)])
    return np.asarray(np.logaddexp.reduce(logs, axis=0) - math.log(3))


def first_alarm(rate: float, horizon: int, limit: float = 0.05) -> np.ndarray:
    """P(the mixture reaches 1000 for the first time at outcome n), n = 1..horizon, by exact recursion.

    The number of failures among those still running is a Markov chain; what crosses is taken out.
    """
    width = horizon + 1 if horizon < 2000 else 1400
    failures = np.arange(width)
    running = np.zeros(width)
    running[0] = 1.0
    alarms = np.zeros(horizon)
    for n in range(1, horizon + 1):
        moved = running * (1 - rate)
        moved[1:] += running[:-1] * rate
        crossed = mixture_of(failures, n - failures, limit) >= ROLLBACK_MIXTURE
        alarms[n - 1] = moved[crossed].sum()
        running = np.where(crossed, 0.0, moved)
    return alarms


def test_absolute_evidence_at_a_fixed_limit_gives_the_known_answers() -> None:
    evidence = after([0, 0, 1, 0, 1, 1, 0, 1], [0.05] * 8)
    assert evidence.mixture == pytest.approx(5.577665, abs=5e-7)
    assert evidence.cusum == pytest.approx(6.413329, abs=5e-7)


def test_absolute_evidence_under_a_limit_that_the_baseline_moves_gives_the_known_answer() -> None:
    evidence = after(
        [1, 1, 0, 1, 1], [0.05, 0.05, 0.15, 0.3, 0.05]
    )  # the outcome at a limit of .9 is skipped
    assert evidence.mixture == pytest.approx(5.358434, abs=5e-7)
    assert evidence.cusum == pytest.approx(5.358434, abs=5e-7)


@pytest.mark.parametrize(
    ("rate", "median", "late"),
    [(1.0, 4, 4), (0.5, 9, 20), (0.3, 22, 52), (0.25, 33, 76), (0.15, 105, 244), (0.10, 348, 816)],
)
def test_the_mixture_reaches_a_thousand_after_the_known_number_of_outcomes(
    rate: float, median: int, late: int
) -> None:
    reached = np.cumsum(first_alarm(rate, 1000))
    assert int(np.searchsorted(reached, 0.5)) + 1 == median
    assert int(np.searchsorted(reached, 0.95)) + 1 == late


def test_a_candidate_exactly_at_the_limit_is_convicted_with_the_known_probability() -> None:
    assert first_alarm(0.05, 20_000).sum() == pytest.approx(0.000623, abs=5e-7)


@pytest.mark.parametrize(("outcomes", "fewest"), [(10, 5), (20, 7), (50, 11), (100, 16)])
def test_the_fewest_failures_that_convict_are_the_known_ones(outcomes: int, fewest: int) -> None:
    failures = np.arange(outcomes + 1)
    reached = mixture_of(failures, outcomes - failures, 0.05) >= ROLLBACK_MIXTURE
    assert int(np.argmax(reached)) == fewest


def test_relative_evidence_gives_the_known_answers() -> None:
    evidence = Evidence()
    seen = []
    for index, candidate in enumerate([1, 0, 1, 1, 0, 1]):
        failing_candidate, failing_baseline = relative_steps(0.05)
        evidence.add(f"u{index}", failing_candidate if candidate else failing_baseline)
        seen.append(evidence.mixture)
    assert seen == pytest.approx([1.605673, 1.049486, 2.777302, 4.685535, 3.979415, 5.917914], abs=5e-7)


def test_betting_on_a_mean_gives_the_known_answers() -> None:
    evidence = Evidence()
    for index, cost_usd in enumerate([0.05, 0.2, 0.09, 0.4, 0.3, 0.1]):
        evidence.add(f"u{index}", betting_steps(cost_usd, 0.08))
    assert evidence.mixture == pytest.approx(2.088347, abs=5e-7)
    assert evidence.cusum == pytest.approx(2.295453, abs=5e-7)


def test_means_are_taken_without_overflow() -> None:
    assert log_mean([5000.0, 0.0, -5000.0]) == pytest.approx(5000.0 - math.log(3))


def test_the_last_alternative_stays_a_probability_when_the_limit_is_high() -> None:
    failure, _ = absolute_steps(0.4)
    assert [0.4 * math.exp(step) for step in failure] == pytest.approx([0.7, 0.7, 0.7])


def test_one_unit_alone_never_convicts() -> None:
    evidence = Evidence()
    failure, _ = absolute_steps(0.05)
    for _ in range(50):
        evidence.add("one", failure)
    assert evidence.mixture > 2 * ROLLBACK_MIXTURE
    assert not evidence.convicts_run(3)
    assert not evidence.convicts_since(3)


def test_three_units_of_which_one_carries_the_evidence_do_not_convict() -> None:
    evidence = Evidence()
    failure, _ = absolute_steps(0.05)
    for unit in ["heavy"] * 10 + ["b", "c"]:
        evidence.add(unit, failure)
    assert evidence.adverse_units == 3
    assert evidence.mixture_without_heaviest() == pytest.approx(after([1, 1], [0.05] * 2).mixture)
    assert not evidence.convicts_run(3)


def test_several_units_together_convict() -> None:
    assert not after([1] * 3, [0.05] * 3).convicts_run(3)
    assert after([1] * 4, [0.05] * 4).convicts_run(3)
    assert not after([1] * 4, [0.05] * 4).convicts_since(3)
    assert after([1] * 7, [0.05] * 7).convicts_since(3)


def test_the_running_statistic_forgets_a_clean_past_and_the_units_of_it() -> None:
    clean_then_bad = after([1, *[0] * 1000, *[1] * 7], [0.05] * 1008)
    assert clean_then_bad.mixture < 0
    assert clean_then_bad.convicts_since(3)
    assert clean_then_bad.adverse_units == 8
    assert clean_then_bad.adverse_units_since == 7


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=60))
def test_the_running_statistic_without_a_unit_is_never_overstated(history: list[tuple[str, bool]]) -> None:
    failure, success = absolute_steps(0.05)
    evidence = Evidence()
    for unit, failed in history:
        evidence.add(unit, failure if failed else success)
    for left_out in {unit for unit, _ in history}:
        without = Evidence()
        for unit, failed in history:
            if unit != left_out:
                without.add(unit, failure if failed else success)
        if without.observations:
            floors = [max(m, 0.0) for m in without.running]
            assert evidence.cusum_without_heaviest() <= log_mean(floors) + 1e-9


def test_only_so_many_units_are_remembered_and_the_heaviest_stay() -> None:
    evidence = Evidence()
    failure, _ = absolute_steps(0.05)
    evidence.add("heavy", failure)
    for index in range(2 * UNITS_KEPT):
        evidence.add(f"u{index}", failure)
        if index % 1000 == 0:
            evidence.add("heavy", failure)
    assert len(evidence.units) <= UNITS_KEPT * 1.5
    assert "heavy" in evidence.units


def test_a_healthy_candidate_far_below_the_limit_gathers_no_evidence() -> None:
    draw = random.Random(7)
    evidence = after([int(draw.random() < 0.01) for _ in range(5000)], [0.05] * 5000)
    assert not evidence.pages(3)


SHARES = st.floats(0.001, 0.999)


@given(
    known=SHARES,
    weight=SHARES,
    factor=st.floats(1.0, 10.0),
    baseline=st.floats(0.0, 1.0),
    part=st.floats(0.0, 1.0),
)
def test_units_are_an_e_variable_wherever_the_candidate_is_within_its_limit(
    known: float, weight: float, factor: float, baseline: float, part: float
) -> None:
    """The mean over both arms is at most 1, so a block's product is, too (its geometric mean is less)."""
    steps = unit_steps(known, weight, factor)
    if steps is None:
        assert factor * known >= 1.0
        return
    candidate = part * min(1.0, factor * baseline)
    (having, without), (having_b, without_b) = steps
    for k in range(3):
        mean = weight * (candidate * math.exp(having[k]) + (1 - candidate) * math.exp(without[k])) + (
            1 - weight
        ) * (baseline * math.exp(having_b[k]) + (1 - baseline) * math.exp(without_b[k]))
        assert mean <= 1.0 + 1e-6


def test_units_of_equal_arms_reach_a_thousand_in_less_than_one_run_in_a_thousand() -> None:
    """Blocks of one and one, at the limit itself and with a guess that learns; the mean stays at most 1."""
    draw = np.random.default_rng(3)
    logs, reached = np.zeros(4000), np.zeros(4000, dtype=bool)
    for _ in range(60):
        steps = unit_steps(0.2, 0.5, 1.5)
        assert steps is not None
        of_candidate, of_baseline = steps
        candidate, baseline = draw.random(4000) < 0.3, draw.random(4000) < 0.2
        logs += np.where(candidate, of_candidate[0][1], of_candidate[1][1])
        logs += np.where(baseline, of_baseline[0][1], of_baseline[1][1])
        reached |= logs >= ROLLBACK_MIXTURE
    assert reached.mean() <= 0.001 + 3 * math.sqrt(0.001 / 4000)


def test_tests_of_one_rule_share_its_error_budget() -> None:
    alone, one_of_three = Evidence(), Evidence.of_tests(3)
    failure, _ = absolute_steps(0.05)
    for number in range(6):
        alone.add(f"u{number}", failure)
        one_of_three.add(f"u{number}", failure, test=2)
    assert one_of_three.mixture == pytest.approx(alone.mixture - math.log(3), abs=1e-2)
    assert one_of_three.adverse_units == alone.adverse_units == 6
    assert one_of_three.mixture_without_heaviest() < one_of_three.mixture


def test_the_last_alternative_may_be_that_nearly_all_fail() -> None:
    failure, success = absolute_steps(0.2, highest=0.95)
    assert [0.2 * math.exp(step) for step in failure] == pytest.approx([0.4, 0.6, 0.95])
    assert [0.8 * math.exp(step) for step in success] == pytest.approx([0.6, 0.4, 0.05])
