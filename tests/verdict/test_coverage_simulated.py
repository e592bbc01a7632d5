"""Simulations that show why users are the unit and why looking every day needs its own interval."""

import math

import numpy as np
import pytest

from tests.effort import in_more
from tests.verdict.reference import ratio
from verdict.statistics.sequence import mixture_interval, multiplier, tuning
from verdict.statistics.types import Floats

Z = 1.959964


def _users(rng: np.random.Generator, *, users: int, size: int, icc: float) -> Floats:
    """(users, size) values of mean 0 and variance 1, of which `icc` is the user's own."""
    own = rng.normal(size=(users, 1)) * math.sqrt(icc)
    return np.asarray(own + rng.normal(size=(users, size)) * math.sqrt(1 - icc), dtype=np.float64)


def _coverage(*, worlds: int, icc: float, seed: int) -> tuple[float, float]:
    """The share of worlds whose 95 % interval holds the true mean: by requests, and by users."""
    rng = np.random.default_rng(seed)
    by_request = by_user = 0
    for _ in range(worlds):
        values = _users(rng, users=200, size=8, icc=icc)
        flat = values.ravel()
        by_request += abs(flat.mean()) <= Z * flat.std(ddof=1) / math.sqrt(flat.size)
        found = ratio(values.sum(axis=1), np.full(200, 8.0))
        by_user += abs(found.value) <= Z * found.se
    return by_request / worlds, by_user / worlds


@pytest.mark.parametrize(("icc", "naive"), [(0.86, 0.54), in_more(0.4, 0.68)])
def test_intervals_over_requests_miss_and_intervals_over_users_hold(icc: float, naive: float) -> None:
    by_request, by_user = _coverage(worlds=1500, icc=icc, seed=17)
    assert by_request == pytest.approx(naive, abs=0.04)
    assert 0.92 <= by_user <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("icc", "naive"), [(0.86, 0.54), (0.4, 0.68)])
def test_intervals_over_requests_miss_and_intervals_over_users_hold_in_full(icc: float, naive: float) -> None:
    by_request, by_user = _coverage(worlds=40_000, icc=icc, seed=18)
    print(
        f"95 % intervals, users alike by {icc}: by requests {by_request:.1%}, by users {by_user:.1%} of 40000"
    )
    assert by_request == pytest.approx(naive, abs=0.015)
    assert by_user == pytest.approx(0.95, abs=0.005)


def _false_alarms(*, worlds: int, looks: int, seed: int) -> tuple[float, float]:
    """The share of A/A worlds in which somebody who looks `looks` times ever sees a difference.

    Candidate users arrive evenly; each look compares clustered ratios of all that have arrived, from 100 on.
    First with 1.96 standard errors, then with the sequence tuned at 500.
    """
    rng = np.random.default_rng(seed)
    planned, arriving = 500, 700
    rho2 = tuning(alpha=0.05, planned=planned)
    at = np.linspace(arriving / looks, arriving, looks).astype(int)
    limits = np.array([multiplier(rho2 * n, 0.05) if n >= 100 else math.inf for n in at])
    naive = sequential = 0
    for _ in range(worlds):
        (t, v_t), (c, v_c) = (_arm(rng, arriving * size, at * size) for size in (1, 9))
        z = np.abs(t - c) / np.sqrt(v_t + v_c)
        naive += bool((z[at >= 100] > Z).any())  # both begin at the same look
        sequential += bool((z > limits).any())
    return naive / worlds, sequential / worlds


def _arm(rng: np.random.Generator, users: int, at: Floats) -> tuple[Floats, Floats]:
    """R and its clustered variance at every look, from running sums: the ratio's formula, expanded."""
    count = 1.0 + rng.poisson(3, size=users)
    total = count * rng.normal(size=users) * 0.9 + np.sqrt(count) * rng.normal(size=users)
    s, n, ss, sn, nn = (
        np.cumsum(column)[at - 1] for column in (total, count, total**2, total * count, count**2)
    )
    value = s / n
    squares = ss - 2 * value * sn + value**2 * nn
    return value, squares / n**2 * at / (at - 1)


def test_the_running_formula_is_the_ratio() -> None:
    rng = np.random.default_rng(1)
    value, variance = _arm(rng, 150, np.array([150]))
    rng = np.random.default_rng(1)
    count = 1.0 + rng.poisson(3, size=150)
    total = count * rng.normal(size=150) * 0.9 + np.sqrt(count) * rng.normal(size=150)
    found = ratio(total, count)
    assert (value[0], variance[0]) == (pytest.approx(found.value), pytest.approx(found.variance))


def _monte_carlo_limit(worlds: int) -> float:
    return 0.05 + 3 * math.sqrt(0.05 * 0.95 / worlds)


@pytest.mark.parametrize("looks", [14, in_more(30)])
def test_looking_every_day_raises_false_alarms_but_not_with_the_sequence(looks: int) -> None:
    naive, sequential = _false_alarms(worlds=1500, looks=looks, seed=looks)
    assert naive > 0.15
    assert sequential <= _monte_carlo_limit(1500)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("looks", [14, 30, 336])
def test_looking_every_day_raises_false_alarms_but_not_with_the_sequence_in_full(looks: int) -> None:
    naive, sequential = _false_alarms(worlds=20_000, looks=looks, seed=looks)
    print(f"A/A, {looks} looks: naive {naive:.1%}, sequence {sequential:.2%} of 20000")
    assert naive > 0.15
    assert sequential <= _monte_carlo_limit(20_000)


def _ever_wrong(*, p: float, worlds: int, users: int, seed: int) -> float:
    """How often an interval for a rare share, read after every 50 users, ever leaves the truth out."""
    rng = np.random.default_rng(seed)
    wrong = 0
    for _ in range(worlds):
        failures = np.cumsum(rng.random(users) < p)
        looks = [mixture_interval(float(failures[n - 1]), n, alpha=0.05) for n in range(100, users + 1, 50)]
        wrong += any(not share.low <= p <= share.high for share in looks)
    return wrong / worlds


@pytest.mark.parametrize("p", [0.01, in_more(0.002)])
def test_rare_errors_are_covered_at_every_look(p: float) -> None:
    worlds = 200
    assert _ever_wrong(p=p, worlds=worlds, users=800, seed=4) <= _monte_carlo_limit(worlds)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("p", [0.01, in_more(0.002)])
def test_rare_errors_are_covered_at_every_look_in_full(p: float) -> None:
    found = _ever_wrong(p=p, worlds=4000, users=800, seed=41)
    print(f"rare errors at {p:.1%}: an interval ever without the truth {found:.2%} of 4000")
    assert found <= 0.05


def _ships_at_the_bound(*, p: float, worlds: int, seed: int) -> tuple[float, float]:
    """How often an error rate exactly at its bound is read as under it at one of 14 looks: by the normal
    approximation's sequence, and by the mixture. 600 users, of four requests each."""
    rng = np.random.default_rng(seed)
    rho2, at = tuning(alpha=0.05, planned=500), np.linspace(600 / 14, 600, 14).astype(int)
    looks = at[at >= 100]
    c = np.array([multiplier(rho2 * n, 0.05) for n in looks])
    normal = mixture = 0
    for _ in range(worlds):
        means = rng.binomial(4, p, size=600) / 4
        sums, squares = np.cumsum(means)[looks - 1], np.cumsum(means**2)[looks - 1]
        se = np.sqrt((squares - sums**2 / looks) / (looks - 1) / looks)
        normal += bool((sums / looks + c * se < p).any())
        shares = (mixture_interval(float(s), int(n), alpha=0.05) for s, n in zip(sums, looks, strict=True))
        mixture += any(share.high < p for share in shares)
    return normal / worlds, mixture / worlds


@pytest.mark.parametrize(("p", "often"), [(0.01, 0.05), (0.002, 0.3)])
def test_rare_errors_would_often_be_shipped_by_a_normal_approximation(p: float, often: float) -> None:
    normal, mixture = _ships_at_the_bound(p=p, worlds=300, seed=5)
    assert normal > often
    assert mixture <= _monte_carlo_limit(300)
