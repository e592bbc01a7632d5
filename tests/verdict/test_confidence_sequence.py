"""Always-valid multipliers and evidence: the published numbers, and what must hold between them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verdict.reference import evidence, one_sided_multiplier
from verdict.statistics.sequence import (
    log_evidence,
    multiplier,
    one_sided_evidence,
    p_value,
    tuning,
    units_needed,
)


@pytest.mark.parametrize(
    ("alpha", "information", "two_sided", "one_sided"),
    [(0.05, 8.212, 3.035, 2.779), (0.01, 11.756, 3.572, 3.355), (0.001, 16.688, 4.206, 4.027)],
)
def test_at_the_planned_number_of_units(
    alpha: float, information: float, two_sided: float, one_sided: float
) -> None:
    tau = tuning(alpha=alpha, planned=1)
    assert tau == pytest.approx(information, abs=5e-4)
    assert multiplier(tau, alpha) == pytest.approx(two_sided, abs=5e-4)
    assert one_sided_multiplier(tuning(alpha=2 * alpha, planned=1), alpha) == pytest.approx(
        one_sided, abs=6e-4
    )


def test_at_three_hundred_of_five_hundred_planned() -> None:
    tau = 300 * tuning(alpha=0.05, planned=500)
    assert tau == pytest.approx(4.927181, abs=5e-7)
    assert multiplier(tau, 0.05) == pytest.approx(3.057480, abs=5e-7)
    halved = 300 * tuning(alpha=0.1, planned=500)
    assert one_sided_multiplier(halved, 0.05) == pytest.approx(2.807184, abs=5e-7)
    assert evidence(3.5, tau) == pytest.approx(66.809864, abs=5e-7)
    assert one_sided_evidence(3.5, tau) == pytest.approx(133.525044, abs=5e-7)
    assert one_sided_evidence(-1, tau) == pytest.approx(0.225256, abs=5e-7)
    assert p_value(3.5, tau) == pytest.approx(0.014968, abs=5e-7)


APPROXIMATE = -2 * math.log(0.05) + math.log(-2 * math.log(0.05) + 1)
"""n*·ρ² by the first terms of W₋₁'s series, as other programs have it: 8.0 where the exact one is 8.2."""


@pytest.mark.parametrize(
    ("information", "low", "high"),
    [(APPROXIMATE, -0.55844, 1.56516), (tuning(alpha=0.05, planned=1), -0.559886, 1.566608)],
)
def test_a_relative_lift_has_the_interval_of_either_tuning(
    information: float, low: float, high: float
) -> None:
    n_a, n_b = 3000, 3461
    mean_a, mean_b = 1396.87 / n_a, 2422.7 / n_b
    var_a = (52377.9767 - n_a * mean_a**2) / (n_a - 1)
    var_b = (134698.29 - n_b * mean_b**2) / (n_b - 1)
    lift = mean_b / mean_a - 1
    se = math.sqrt(var_b / (mean_a**2 * n_b) + var_a * mean_b**2 / (mean_a**4 * n_a))
    half = se * multiplier((n_a + n_b) * information / 1000, 0.05)
    assert lift == pytest.approx(0.50336, abs=5e-6)
    assert (lift - half, lift + half) == (pytest.approx(low, abs=5e-6), pytest.approx(high, abs=5e-6))


@pytest.mark.parametrize(
    ("information", "bound", "digits"),
    [(APPROXIMATE, 30.352, 5e-4), (tuning(alpha=0.05, planned=1), 30.351224, 5e-7)],
)
def test_the_normal_mixture_at_its_planned_variance(information: float, bound: float, digits: float) -> None:
    # A sum of variance 100 at the planned 100: c standard errors of 10.
    assert 10 * multiplier(information, 0.05) == pytest.approx(bound, abs=digits)


def test_the_worked_example_of_units_needed() -> None:
    # With c held at 3.035 it is 2,812; at the τ of the answer itself c is 3.165 and it takes a few more.
    fixed = (3.035 + 0.8416212) ** 2 * 0.4**2 * (1 + 0.05 / 0.95) / 0.03**2
    assert fixed == pytest.approx(2812, abs=1)
    rho2 = tuning(alpha=0.05, planned=500)
    needed = units_needed(sigma=0.4, delta=0.03, share=0.05, alpha=0.05, rho2=rho2)
    c = multiplier(rho2 * needed, 0.05)
    assert needed == pytest.approx((c + 0.8416212) ** 2 * 0.4**2 * (1 + 0.05 / 0.95) / 0.03**2, rel=1e-3)
    assert needed == pytest.approx(3028, abs=1)


def test_units_needed_at_the_planned_number_use_its_multiplier() -> None:
    rho2 = tuning(alpha=0.05, planned=2812.3)
    needed = units_needed(sigma=0.4, delta=0.03, share=0.05, alpha=0.05, rho2=rho2)
    assert needed == pytest.approx(2812, abs=1)


def test_no_number_of_units_tells_nothing_from_the_bound() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        units_needed(sigma=1, delta=0, share=None, alpha=0.05, rho2=0.01)


taus = st.floats(0.01, 1e4)


@given(st.floats(-30, 30), taus)
def test_p_is_below_alpha_exactly_outside_the_interval(z: float, tau: float) -> None:
    c = multiplier(tau, 0.05)
    if abs(abs(z) - c) > 1e-6:
        assert (p_value(z, tau) < 0.05) == (abs(z) > c)


@given(st.floats(0, 40), taus)
def test_one_sided_evidence_splits_the_two_sided(z: float, tau: float) -> None:
    if log_evidence(z, tau) < 708:  # Twice e^708 is still a float.
        halves = one_sided_evidence(z, tau) + one_sided_evidence(-z, tau)
        assert halves == pytest.approx(2 * evidence(z, tau), rel=1e-9)


def test_evidence_beyond_a_float_is_infinite() -> None:
    assert evidence(40, 1e4) == math.inf
    assert one_sided_evidence(40, 1e4) == math.inf
    assert p_value(40, 1e4) == 0
    assert evidence(37.65, 1e6) == pytest.approx(math.exp(log_evidence(37.65, 1e6)))


@given(taus)
def test_a_look_that_may_be_repeated_is_dearer_than_one_look(tau: float) -> None:
    assert multiplier(tau, 0.05) > 1.96


def _seen_in_time(*, worlds: int, seed: int) -> tuple[int, float]:
    """The units that the formula asks for, and how often a true distance is then seen at one
    of 14 looks."""
    sigma, delta, share = 0.4, 0.03, 0.05
    rho2 = 0.0
    units = 2812.0
    for _ in range(20):  # n* is the answer itself
        rho2 = tuning(alpha=0.05, planned=units)
        units = units_needed(sigma=sigma, delta=delta, share=share, alpha=0.05, rho2=rho2)
    mine, theirs = math.ceil(units), math.ceil(units * (1 - share) / share)
    days = np.arange(1, 15) / 14
    at, of = (days * mine).astype(int), (days * theirs).astype(int)
    rng = np.random.default_rng(seed)
    seen = 0
    for _ in range(worlds):
        candidate = np.cumsum(delta + sigma * rng.normal(size=mine))[at - 1] / at
        baseline = np.cumsum(sigma * rng.normal(size=theirs))[of - 1] / of
        se = sigma * np.sqrt(1 / at + 1 / of)
        c = np.array([multiplier(rho2 * n, 0.05) for n in at])
        seen += bool(((candidate - baseline - c * se > 0) & (at >= 100)).any())
    return mine, seen / worlds


def test_the_units_needed_are_enough() -> None:
    units, seen = _seen_in_time(worlds=300, seed=9)
    assert units == pytest.approx(2812, abs=2)
    assert seen >= 0.75


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_units_needed_are_enough_in_full() -> None:
    units, seen = _seen_in_time(worlds=4000, seed=91)
    print(f"power at any of 14 looks with n* = n = {units}: {seen:.1%} of 4000")
    assert seen >= 0.80
