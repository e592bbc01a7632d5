"""How soon the guardrails act on made-up traffic, and how seldom wrongly. Full sizes are slow tests."""

from dataclasses import replace
from statistics import median

import pytest

from alerts.rule import DEFAULT_RULES
from alerts.simulate import Detection, Scenario, detect, exchanges

WEEK_S = 7 * 86_400.0
ERROR_RULES = DEFAULT_RULES[:2]


def outcomes_needed(found: list[Detection]) -> list[int]:
    assert all(one.rolled_back_by is not None for one in found)
    assert all(one.pages == 1 for one in found)
    return sorted(one.candidate_outcomes for one in found)


def late(needed: list[int]) -> int:
    return needed[int(0.95 * len(needed))]


def failing(error: float, runs: int, *, base: float, alike: float = 20.0) -> list[int]:
    scenario = Scenario(candidate_error=error, base_error=base, alike=alike)
    return outcomes_needed([detect(scenario, seed, ERROR_RULES) for seed in range(runs)])


@pytest.mark.parametrize("base", [0.0, 0.02])
def test_a_candidate_that_fails_half_the_time_is_rolled_back_after_a_dozen_outcomes(base: float) -> None:
    needed = failing(0.5, 150, base=base)  # fewer do not tell a p95
    print(f"50 % errors, base {base:.0%}: median {median(needed)}, p95 {late(needed)}")
    assert median(needed) <= 12
    assert late(needed) <= 25


@pytest.mark.parametrize("base", [0.0, 0.02])
def test_a_candidate_that_fails_a_quarter_of_the_time_takes_a_few_dozen(base: float) -> None:
    needed = failing(0.25, 20, base=base)
    print(f"25 % errors, base {base:.0%}: median {median(needed)}")
    assert median(needed) <= 45


def test_equal_arms_are_left_alone_for_a_week() -> None:
    week = Scenario(
        users=400, exchanges_per_minute=5.0, base_error=0.02, duration_s=WEEK_S, judge_each_s=60.0
    )
    for seed, alike in enumerate([20.0, 2.0]):
        found = detect(replace(week, alike=alike), seed, ERROR_RULES)
        assert (found.rolled_back_by, found.pages) == (None, 0)


def test_an_outage_of_the_provider_is_paged_once_and_blames_nobody() -> None:
    for seed, error in enumerate([1.0, 0.5, 0.2]):
        found = detect(outage(error), seed)
        assert found.rolled_back_by is None
        assert (found.pages, found.outage_pages()) == (1, 1)


def outage(error: float) -> Scenario:
    return Scenario(outage_s=(1200.0, 1800.0), outage_error=error, duration_s=4500.0, judge_each_s=5.0)


def test_traffic_comes_in_order_of_completion_and_is_the_same_for_a_seed() -> None:
    scenario = Scenario(duration_s=60.0)
    first, second = list(exchanges(scenario, 3)), list(exchanges(scenario, 3))
    assert first == second != list(exchanges(scenario, 4))
    ends = [outcome.mono + (outcome.latency_s or 0.0) for outcome in first]
    assert ends == sorted(ends)


def test_users_differ_and_the_base_rate_is_what_was_asked_for() -> None:
    traffic = list(exchanges(Scenario(base_error=0.05, alike=2.0, duration_s=7200.0), 1))
    assert sum(outcome.failed for outcome in traffic) / len(traffic) == pytest.approx(0.05, abs=0.02)
    counts: dict[str, int] = {}
    for outcome in traffic:
        counts[outcome.unit] = counts.get(outcome.unit, 0) + 1
    assert max(counts.values()) > 5 * len(traffic) / 2000


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("error", "base", "usual", "rare"), [(0.5, 0.0, 12, 25), (0.5, 0.02, 12, 25)])
def test_half_failing_in_full(error: float, base: float, usual: int, rare: int) -> None:
    needed = failing(error, 1000, base=base)
    print(f"{error:.0%} errors, base {base:.0%}: median {median(needed)}, p95 {late(needed)}")
    assert median(needed) <= usual
    assert late(needed) <= rare


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("base", [0.0, 0.01, 0.02])
def test_a_quarter_failing_in_full(base: float) -> None:
    needed = failing(0.25, 500, base=base)
    print(f"25 % errors, base {base:.0%}: median {median(needed)}, p95 {late(needed)}")
    assert median(needed) <= 45


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_equal_arms_in_full() -> None:
    week = Scenario(users=400, exchanges_per_minute=10.0, duration_s=WEEK_S, judge_each_s=60.0)
    found = [
        detect(
            replace(week, alike=(20.0, 2.0)[seed % 2], base_error=(0.0, 0.01, 0.02)[seed % 3]),
            seed,
            ERROR_RULES,
        )
        for seed in range(60)
    ]
    rolled_back = sum(one.rolled_back_by is not None for one in found)
    print(f"A/A: {rolled_back} of {len(found)} weeks rolled back, {sum(one.pages for one in found)} pages")
    assert rolled_back == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_outages_in_full() -> None:
    found = [detect(outage(error), seed) for error in (0.1, 0.2, 0.5, 1.0) for seed in range(50)]
    rolled_back = sum(one.rolled_back_by is not None for one in found)
    print(f"outages: {rolled_back} of {len(found)} rolled back, {sum(one.pages for one in found)} pages")
    assert rolled_back == 0
    assert all(one.pages <= 1 for one in found)
