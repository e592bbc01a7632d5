"""The verdict's promises, held by simulation: a look every day for two weeks, by the report's own code.

The quick forms show that the machinery runs; the full ones (`make test-statistics`) print each figure.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from records.metric import BUILT_IN
from report.decision import decide
from report.document import Verdict
from report.judge import judge
from report.judged_canary import JudgedCanary
from report.metrics import observe
from report.power import Assumptions, Traffic, expected_power
from report.reading import read
from report.rubric import Criterion, parse_bound
from report.sample import Sample
from report.statistics.sequence import multiplier, tuning, units_needed
from report.verdict import find
from tests.report.simulated import DAY_S, Arms, World, as_planned, world


def _criterion(metric: str, acceptable: str, ideal: str) -> Criterion:
    return Criterion(
        metric=metric, acceptable=parse_bound(acceptable), ideal=parse_bound(ideal), weight=1, question="?"
    )


def _limit(worlds: int, level: float = 0.05) -> float:
    """What a rate of `level` is hardly ever seen above: three standard errors of the simulation."""
    return level + 3 * math.sqrt(level * (1 - level) / worlds)


@dataclass(frozen=True)
class Edge:
    """A candidate that is exactly at its acceptable bound."""

    criterion: Criterion
    arms: Arms
    users: int = 6000
    share: float = 0.1


EDGES = {
    "errors_1pc": Edge(_criterion("error_rate", "< 1%", "< 0.1%"), Arms(errors=(0.01, 0.01))),
    "errors_0.2pc": Edge(_criterion("error_rate", "< 0.2%", "< 0.01%"), Arms(errors=(0.002, 0.002))),
    "errors_1pc_of_many": Edge(
        _criterion("error_rate", "< 1%", "< 0.1%"), Arms(errors=(0.01, 0.01)), users=12_000, share=0.5
    ),
    "completed": Edge(_criterion("task_completed", ">= 85%", ">= 99%"), Arms(completed=(0.88, 0.85))),
    "completed_vs_baseline": Edge(
        _criterion("task_completed", ">= baseline - 2pp", ">= baseline + 9pp"), Arms(completed=(0.88, 0.86))
    ),
    "cost": Edge(_criterion("cost_per_request", "< 0.08", "< 0.01"), Arms(cost_usd=(0.08, 0.08))),
    "cost_vs_baseline": Edge(
        _criterion("cost_per_request", "<= 1.2x baseline", "<= 0.5x baseline"), Arms(cost_usd=(0.08, 0.096))
    ),
    "p95": Edge(_criterion("latency_p95", "< 1.2s", "< 0.1s"), Arms()),
    "p95_vs_baseline": Edge(
        _criterion("latency_p95", "<= 1.2x baseline", "<= 0.5x baseline"), Arms(p95_s=(1.0, 1.2))
    ),
    "csat": Edge(_criterion("csat", "> 4.1", "> 4.9"), Arms(csat=(4.3, 4.1))),
}


def _ever_passes(edge: Edge, *, worlds: int, seed: int) -> float:
    """The share of worlds in which one of 14 daily looks reads the bound as kept."""
    rng = np.random.default_rng(seed)
    passed = 0
    for _ in range(worlds):
        told = world(rng, edge.arms, users=edge.users, share=edge.share)
        passed += _passes(told, edge.criterion)
    return passed / worlds


def _passes(told: World, criterion: Criterion, planned: float = 500) -> bool:
    for sample in told.seen():
        seen = observe(sample, criterion.metric, BUILT_IN, now=told.days * DAY_S)
        if judge(criterion, read(sample, seen, planned=planned)).state in ("PASS", "IDEAL"):
            return True
    return False


@pytest.mark.parametrize("name", ["errors_1pc", "completed_vs_baseline"])
def test_a_candidate_exactly_at_its_bound_is_seldom_shipped(name: str) -> None:
    assert _ever_passes(EDGES[name], worlds=30, seed=3) <= _limit(30)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", EDGES)
def test_a_candidate_exactly_at_its_bound_is_seldom_shipped_in_full(name: str) -> None:
    found = _ever_passes(EDGES[name], worlds=2000, seed=31)
    print(f"exactly at the bound, {name}: shipped at any of 14 looks {found:.2%} of 2000")
    assert found <= 0.05


ALIKE = (
    _criterion("task_completed", ">= baseline - 2pp", ">= baseline + 5pp"),
    _criterion("latency_p95", "<= 1.1x baseline", "<= 0.7x baseline"),
    _criterion("cost_per_request", "<= 1.1x baseline", "<= 0.7x baseline"),
    _criterion("csat", ">= baseline - 0.1", ">= baseline + 0.3"),
)
NO_ROOM = (
    _criterion("task_completed", ">= baseline", ">= baseline + 5pp"),
    _criterion("latency_p95", "<= baseline", "<= 0.7x baseline"),
    _criterion("cost_per_request", "<= baseline", "<= 0.7x baseline"),
    _criterion("csat", ">= baseline", ">= baseline + 0.3"),
)


def _verdict(sample: Sample, canary: JudgedCanary, *, now: float) -> Verdict:
    """As `build` has it, without what is only shown."""
    return decide(find(sample, canary, now=now))[0]


def _ever_refused(criteria: Sequence[Criterion], *, worlds: int, seed: int) -> float:
    """The share of A/A worlds with "don't ship" at one of 14 daily looks; the split is a part of it."""
    rng = np.random.default_rng(seed)
    canary = JudgedCanary(name="aa", criteria=criteria, minimum_days=0)
    refused = 0
    for _ in range(worlds):
        told = world(rng, Arms(errors=(0.01, 0.01)))
        for sample in told.seen():
            fair = replace(sample, shares={0: 0.1})
            if _verdict(fair, canary, now=told.days * DAY_S) == "dont_ship":
                refused += 1
                break
    return refused / worlds


def test_two_equal_models_are_seldom_told_apart() -> None:
    assert _ever_refused(ALIKE, worlds=4, seed=5) <= 1 / 4


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "criteria"), [("with room", ALIKE), ("without room", NO_ROOM)])
def test_two_equal_models_are_seldom_told_apart_in_full(name: str, criteria: Sequence[Criterion]) -> None:
    found = _ever_refused(criteria, worlds=2000, seed=51)
    print(f"A/A, four rows {name}: don't ship at any of 14 looks {found:.2%} of 2000")
    assert found <= 0.05


def _seen_in_time(*, worlds: int, seed: int) -> tuple[int, float]:
    """The units that the formula asks for, and how often a true distance is then seen at one of 14 looks."""
    sigma, delta, share = 0.4, 0.03, 0.05
    rho2 = 0.0
    units = 2812.0
    for _ in range(20):  # n* is the answer itself
        rho2 = tuning(alpha=0.05, planned=units)
        units = units_needed(sigma=sigma, delta=delta, share=share, alpha=0.05, rho2=rho2)
    mine, theirs = math.ceil(units), math.ceil(units * (1 - share) / share)
    looks = np.arange(1, 15) / 14
    at, of = (looks * mine).astype(int), (looks * theirs).astype(int)
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


VALUES = {"task_completed": 0.88, "latency_p95": 1.2, "cost_per_request": 0.08, "csat": 4.33}


def _told_and_shipped(
    criteria: Sequence[Criterion], *, share: float, requests: float, worlds: int, seed: int
) -> tuple[float, float]:
    """What `canary check` tells of 20,000 users, and the share of worlds that the report ships at the end."""
    traffic = Traffic(units=20_000, share=share, requests_per_unit=requests)
    told = expected_power(criteria, traffic, assumptions=Assumptions(values=VALUES)).ship
    canary = JudgedCanary(name="power", criteria=criteria, minimum_days=0)
    rng = np.random.default_rng(seed)
    shipped = 0
    for _ in range(worlds):
        seen = as_planned(rng, candidates=round(20_000 * share), requests=requests)
        sample = seen.until(len(seen.count))
        shipped += _verdict(sample, canary, now=seen.days * DAY_S).startswith("ship")
    return told, shipped / worlds


def test_the_expected_power_is_what_a_simulation_sees(criteria: Sequence[Criterion]) -> None:
    told, shipped = _told_and_shipped(criteria, share=0.1, requests=3, worlds=20, seed=7)
    assert told == pytest.approx(0.97, abs=0.01)
    assert shipped >= 0.8


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("share", [0.05, 0.1])
@pytest.mark.parametrize("requests", [1, 3, 8])
def test_the_expected_power_is_what_a_simulation_sees_in_full(
    criteria: Sequence[Criterion], share: float, requests: float
) -> None:
    told, shipped = _told_and_shipped(criteria, share=share, requests=requests, worlds=400, seed=71)
    print(f"share {share:g}, {requests:g} requests a user: told {told:.0%}, shipped {shipped:.0%} of 400")
    assert abs(told - shipped) <= 0.03 + 3 * math.sqrt(0.25 / 400)
