"""The guardrails' promises at full size: how soon a bad candidate goes, how seldom a good one does.

`make test-statistics` runs these; each prints its figure, and docs/guardrails.md tells them. Runs are spread
over the cores.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from alerts.rules.rule import DEFAULT_RULES, Rule
from alerts.simulation.traffic import ArmBehaviour, Scenario
from alerts.simulation.trials import Detection, Task, alarms, calm_week, detected, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

ERROR_RULES = DEFAULT_RULES[:2]
PER_OUTCOME_S = 60.0 / (200.0 * 0.05)
"""Seconds in which the candidate of the plain scenario meets one exchange."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(os.cpu_count()) as running:
        yield running


def played(
    pool: ProcessPoolExecutor, scenarios: Iterable[Scenario], rules: Sequence[Rule] = DEFAULT_RULES
) -> list[Detection]:
    """Each scenario once, the number in line its seed."""
    return list(pool.map(play, [Task(each, seed, rules) for seed, each in enumerate(scenarios)], chunksize=4))


@pytest.mark.parametrize("base", [0.0, 0.01, 0.02])
@pytest.mark.parametrize(("error", "usual", "rare"), [(0.5, 12, 25), (0.25, 45, None)])
def test_a_failing_candidate_is_rolled_back_soon(
    pool: ProcessPoolExecutor, error: float, usual: int, rare: int | None, base: float
) -> None:
    scenario = Scenario(candidate=ArmBehaviour(error=error), base_error=base)
    found = detected(played(pool, [scenario] * 1000, ERROR_RULES), 0.0)
    print(f"\n{error:.0%} errors, base {base:.0%}: {found.outcomes} candidate outcomes of {found.runs} runs")
    assert sum(found.rolled_back.values()) == found.runs
    assert found.outcomes.median is not None
    assert found.outcomes.median <= usual
    assert rare is None or (found.outcomes.p95 is not None and found.outcomes.p95 <= rare)


@pytest.mark.parametrize("alike", [2.0, 20.0])
@pytest.mark.parametrize("base", [0.0, 0.01, 0.02])
def test_a_candidate_that_fails_after_a_thousand_clean_outcomes_is_rolled_back_too(
    pool: ProcessPoolExecutor, base: float, alike: float
) -> None:
    clean_s = 1000 * PER_OUTCOME_S
    scenario = Scenario(
        candidate=ArmBehaviour(error=0.25),
        base_error=base,
        alike=alike,
        fault_at_s=clean_s,
        duration_s=clean_s + 3 * 3600.0,
    )
    found = detected(played(pool, [scenario] * 100, ERROR_RULES), clean_s)
    print(
        f"\n25% after 1,000 clean, base {base:.0%}, κ {alike:g}: {found.outcomes}, {dict(found.rolled_back)}"
    )
    assert found.outcomes.median is not None
    assert found.outcomes.median <= 60


def test_where_all_of_few_users_have_failed_before_the_absolute_rule_alone_takes_longer(
    pool: ProcessPoolExecutor,
) -> None:
    """25 candidate users who have met 40 outcomes each: no first failure is left for the relative rule."""
    clean_s = 1000 * PER_OUTCOME_S
    scenario = Scenario(
        users=500,
        candidate=ArmBehaviour(error=0.25),
        base_error=0.02,
        alike=200.0,
        fault_at_s=clean_s,
        duration_s=clean_s + 3 * 3600.0,
    )
    found = detected(played(pool, [scenario] * 100, ERROR_RULES), clean_s)
    print(
        f"\n25% after 1,000 clean, base 2%, 500 users alike: {found.outcomes}, by {dict(found.rolled_back)}"
    )
    assert found.rolled_back["error_rate"] > 0.8 * found.runs
    assert found.outcomes.median is not None
    assert found.outcomes.median <= 80


def test_equal_arms_are_left_alone_in_a_thousand_weeks(pool: ProcessPoolExecutor) -> None:
    weeks = [
        calm_week(
            Scenario(
                users=(400, 2000)[n // 6 % 2],
                exchanges_per_minute=2.0,
                base_error=(0.0, 0.01, 0.02)[n % 3],
                alike=(20.0, 2.0)[n // 3 % 2],
                cost_cv=1.0,
            )
        )
        for n in range(1000)
    ]
    found = alarms(played(pool, weeks))
    print(f"\nA/A: {found.runs} weeks, rolled back {dict(found.rolled_back)}, paged {dict(found.paged)}")
    assert sum(found.rolled_back.values()) <= 0.01 * found.runs


@pytest.mark.parametrize("error", [0.1, 0.2, 0.5, 1.0])
def test_an_outage_of_the_provider_is_paged_once_and_rolls_nothing_back(
    pool: ProcessPoolExecutor, error: float
) -> None:
    scenario = Scenario(
        outage_s=(1200.0, 1800.0),
        outage=ArmBehaviour(error=error),
        fault_at_s=1200.0,
        duration_s=2700.0,
        base_error=0.01,
    )
    found = played(pool, [replace(scenario, base_error=(0.0, 0.01, 0.02)[n % 3]) for n in range(100)])
    back = sum(one.rolled_back_by is not None for one in found)
    pages = [[each.rules for each in one.notices if each.event == "page"] for one in found]
    once = sum(len(rules) == 1 and "outage" in rules[0] for rules in pages)
    print(
        f"\noutage of 10 min at {error:.0%}: {back} of {len(found)} rolled back, {once} with one outage page"
    )
    assert back == 0
    assert all(one.pages <= 1 for one in found)
    assert once == len(found)


TEN_A_SECOND = Scenario(users=20_000, exchanges_per_minute=600.0)
DEAR = replace(TEN_A_SECOND, cost_cv=1.0, candidate=ArmBehaviour(cost=3.0))
# A p95 of 4 s with 18 % slower than 3 s: the log-normal of this median and sigma.
SLOW = replace(TEN_A_SECOND, candidate=ArmBehaviour(latency_s=2.092, latency_sigma=0.394))


@pytest.mark.parametrize(("rule", "scenario"), [("cost_per_request", DEAR), ("latency_p95", SLOW)])
def test_cost_and_latency_are_paged_within_five_minutes(
    pool: ProcessPoolExecutor, rule: str, scenario: Scenario
) -> None:
    found = detected(played(pool, [replace(scenario, duration_s=300.0)] * 300), 0.0)
    print(f"\n{rule}: within 5 min {found.paged[rule]} of {found.runs} paged, {found.minutes_to_page} min")
    assert found.paged[rule] >= 0.95 * found.runs


@pytest.mark.parametrize(("rule", "scenario"), [("cost_per_request", DEAR), ("latency_p95", SLOW)])
def test_cost_and_latency_that_change_after_an_hour_are_paged_too(
    pool: ProcessPoolExecutor, rule: str, scenario: Scenario
) -> None:
    scenario = replace(scenario, fault_at_s=3600.0, duration_s=3600.0 + 900.0, judge_each_s=5.0)
    found = detected(played(pool, [scenario] * 50), 3600.0)
    print(f"\n{rule} after a good hour: {found.paged[rule]} of {found.runs}, {found.minutes_to_page} min")
    assert found.paged[rule] >= 0.95 * found.runs
