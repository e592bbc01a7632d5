"""The chance to ship, told beforehand: against a simulation, and as traffic grows."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from report.power import Assumptions, Traffic, expected_power
from report.rubric import Criterion, parse_bound
from report.statistics.ratio import ratio
from report.statistics.sequence import multiplier, tuning

VALUES = {"task_completed": 0.88, "latency_p95": 1.2, "cost_per_request": 0.08, "csat": 4.33}
TAKEN = Assumptions(values=VALUES)


def _ship(criteria: Sequence[Criterion], share: float, requests: float, units: int = 20_000) -> float:
    traffic = Traffic(units=units, share=share, requests_per_unit=requests)
    return expected_power(criteria, traffic, assumptions=TAKEN).ship


@pytest.mark.parametrize(
    ("share", "requests", "ships"),
    [(0.05, 1, 0.09), (0.05, 3, 0.61), (0.05, 8, 0.83), (0.10, 1, 0.61), (0.10, 3, 0.96), (0.10, 8, 0.99)],
)
def test_the_contracts_rubric_ships_as_often_as_is_honestly_expected(
    criteria: Sequence[Criterion], share: float, requests: float, ships: float
) -> None:
    assert _ship(criteria, share, requests) == pytest.approx(ships, abs=0.03)


def test_a_share_that_answers_can_be_given_for_each_metric(criteria: Sequence[Criterion]) -> None:
    traffic = Traffic(units=20_000, share=0.05, requests_per_unit=1)
    half = Assumptions(values=VALUES, responses={"task_completed": 0.5, "csat": 0.5})
    found = expected_power(criteria, traffic, assumptions=half).criteria
    assert [each.units for each in found] == [500, 1000, 1000, 500]
    asked = expected_power(criteria, traffic, assumptions=TAKEN).criteria
    assert [each.units for each in asked] == [1000, 1000, 1000, 125]


def test_users_who_ask_unequally_often_tell_less_than_their_number(criteria: Sequence[Criterion]) -> None:
    # 1 + Poisson(3) requests: the moments by hand, E[N] = 4 and E[N²] = 19.
    row = criteria[0]
    traffic = Traffic(units=10_000, share=0.1, requests_per_unit=4)
    (found,) = expected_power([row], traffic, assumptions=TAKEN).criteria
    se = math.sqrt(0.88 * 0.12 / 1000 * (0.6 / 4 + 0.4 * 19 / 16))
    limit = multiplier(1000 * tuning(alpha=0.05, planned=500), 0.05)
    assert found.power == pytest.approx(float(stats.norm.cdf(0.03 / se - limit)))


def test_more_users_and_more_requests_only_help(criteria: Sequence[Criterion]) -> None:
    for grown in (
        [_ship(criteria, 0.05, m) for m in (1, 2, 4, 8)],
        [_ship(criteria, w, 3) for w in (0.02, 0.05, 0.2)],
    ):
        assert grown == sorted(grown)


@pytest.mark.parametrize("metric", ["error_rate", "answer_faults", "cut_off", "abandoned"])
def test_a_share_of_exchanges_is_expected_to_be_small_and_to_vary_as_one(metric: str) -> None:
    row = Criterion(
        metric=metric, acceptable=parse_bound("<= 1.5x baseline"), ideal=parse_bound("<= baseline"),
        weight=1, question="?",
    )  # fmt: skip
    few, many = (
        expected_power([row], Traffic(units=units, share=0.1, requests_per_unit=4)).ship
        for units in (5_000, 200_000)
    )
    assert few < 0.2 < 0.9 < many


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
    taken = Assumptions(values={"task_completed": 0.89}, alike=0.3)
    (told,) = expected_power([criterion], traffic, assumptions=taken).criteria
    rng = np.random.default_rng(8)
    both = 1 / 0.3 - 1
    limit = multiplier(1000 * tuning(alpha=0.05, planned=500), 0.05)
    passed, worlds = 0, 1000
    for _ in range(worlds):
        asked = 1 + rng.poisson(3, size=1000)
        done = rng.binomial(asked, rng.beta(0.89 * both, 0.11 * both, size=1000)).astype(float)
        found = ratio(done, asked.astype(float))
        passed += found.value - limit * found.se >= 0.85
    assert told.units == 1000
    assert told.power == pytest.approx(passed / worlds, abs=0.03 + 3 * math.sqrt(0.25 / worlds))
