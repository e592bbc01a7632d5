"""The chance to ship, told beforehand: against a simulation, and as traffic grows."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from report.power import Assumptions, Traffic, expected_power
from report.rubric import Criterion, parse_bound
from report.statistics.ratio import ratio
from report.statistics.sequence import multiplier, tuning

VALUES = {"task_completed": 0.88, "latency_p95": 1.2, "cost_per_request": 0.08, "csat": 4.33}
TAKEN = Assumptions(values=VALUES)


def _ship(criteria: Sequence[Criterion], share: float, requests: float, units: int = 20_000) -> float:
    traffic = Traffic(units=units, share=share, requests_per_unit=requests)
    return expected_power(criteria, traffic, assumptions=TAKEN).ship


def test_the_contracts_rubric_ships_seldom_at_a_small_share(criteria: Sequence[Criterion]) -> None:
    at_five = [_ship(criteria, 0.05, requests) for requests in (1, 3, 8)]
    at_ten = [_ship(criteria, 0.10, requests) for requests in (1, 3, 8)]
    assert at_five[0] < 0.2
    assert at_five[1:] == [pytest.approx(0.61, abs=0.1), pytest.approx(0.83, abs=0.1)]
    assert at_ten[1:] == [pytest.approx(0.96, abs=0.1), pytest.approx(0.99, abs=0.05)]


def test_more_users_and_more_requests_only_help(criteria: Sequence[Criterion]) -> None:
    for grown in (
        [_ship(criteria, 0.05, m) for m in (1, 2, 4, 8)],
        [_ship(criteria, w, 3) for w in (0.02, 0.05, 0.2)],
    ):
        assert grown == sorted(grown)


def test_under_the_gate_there_is_no_chance(criteria: Sequence[Criterion]) -> None:
    assert _ship(criteria, 0.05, 8, units=1000) == 0


def test_a_bound_on_the_baseline_pays_for_the_baselines_noise() -> None:
    def chance(acceptable: str, ideal: str) -> float:
        criterion = Criterion(
            metric="task_completed",
            acceptable=parse_bound(acceptable),
            ideal=parse_bound(ideal),
            weight=1,
            question="?",
        )
        taken = Assumptions(values={"task_completed": 0.88}, baselines={"task_completed": 0.88})
        traffic = Traffic(units=3000, share=0.5, requests_per_unit=2)
        return expected_power([criterion], traffic, assumptions=taken).ship

    assert chance(">= baseline - 4pp", ">= baseline") < chance(">= 84%", ">= 88%")


def test_a_simulated_rubric_row_passes_as_often_as_told() -> None:
    criterion = Criterion(
        metric="task_completed",
        acceptable=parse_bound(">= 85%"),
        ideal=parse_bound(">= 95%"),
        weight=1,
        question="?",
    )
    traffic = Traffic(units=10_000, share=0.1, requests_per_unit=4)
    taken = Assumptions(values={"task_completed": 0.89}, alike=0.3, response=1.0)
    (told,) = expected_power([criterion], traffic, assumptions=taken).criteria
    rng = np.random.default_rng(8)
    both = 1 / 0.3 - 1
    limit = multiplier(1000 * tuning(alpha=0.05, planned=500), 0.05)
    passed, worlds = 0, 1000
    for _ in range(worlds):
        done = rng.binomial(4, rng.beta(0.89 * both, 0.11 * both, size=1000)).astype(float)
        found = ratio(done, np.full(1000, 4.0))
        passed += found.value - limit * found.se >= 0.85
    assert told.units == 1000
    assert told.power == pytest.approx(passed / worlds, abs=0.03 + 3 * math.sqrt(0.25 / worlds))
