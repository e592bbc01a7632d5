"""How soon the guardrails act on made-up traffic, and how seldom wrongly: the promises in short."""

from dataclasses import replace
from statistics import fmean, median, stdev

import pytest

from alerts.rules.rule import DEFAULT_RULES
from alerts.simulation.traffic import ArmBehaviour, Scenario, records
from alerts.simulation.trials import Detection, detect
from records.outcome import Outcome

WEEK_S = 7 * 86_400.0
ERROR_RULES = DEFAULT_RULES[:2]
SLOW = ArmBehaviour(latency_s=2.0, latency_sigma=0.0)


def exchanges(scenario: Scenario, seed: int) -> list[Outcome]:
    """The outcomes of the traffic, in order of completion."""
    return [record for _, record in records(scenario, seed) if isinstance(record, Outcome)]


def outcomes_needed(found: list[Detection]) -> list[int]:
    assert all(one.rolled_back_by is not None for one in found)
    assert all(one.pages == 1 for one in found)
    return sorted(one.candidate_outcomes for one in found)


def late(needed: list[int]) -> int:
    return needed[int(0.95 * len(needed))]


def failing(error: float, runs: int, *, base: float, alike: float = 20.0) -> list[int]:
    scenario = Scenario(candidate=ArmBehaviour(error=error), base_error=base, alike=alike)
    return outcomes_needed([detect(scenario, seed, ERROR_RULES) for seed in range(runs)])


@pytest.mark.parametrize("base", [pytest.param(0.0, marks=pytest.mark.more), 0.02])
def test_a_candidate_that_fails_half_the_time_is_rolled_back_after_a_dozen_outcomes(base: float) -> None:
    needed = failing(0.5, 150, base=base)  # fewer do not tell a p95
    print(f"50 % errors, base {base:.0%}: median {median(needed)}, p95 {late(needed)}")
    assert median(needed) <= 12
    assert late(needed) <= 25


@pytest.mark.more
@pytest.mark.parametrize("base", [0.0, 0.02])
def test_a_candidate_that_fails_a_quarter_of_the_time_takes_a_few_dozen(base: float) -> None:
    needed = failing(0.25, 20, base=base)
    print(f"25 % errors, base {base:.0%}: median {median(needed)}")
    assert median(needed) <= 45


@pytest.mark.parametrize(("seed", "alike"), [(0, 20.0), pytest.param(2, 2.0, marks=pytest.mark.more)])
def test_equal_arms_are_left_alone_for_a_week(seed: int, alike: float) -> None:
    week = Scenario(
        users=400, exchanges_per_minute=5.0, base_error=0.02, duration_s=WEEK_S, judge_each_s=60.0
    )
    found = detect(replace(week, alike=alike), seed, ERROR_RULES)
    assert (found.rolled_back_by, found.pages) == (None, 0)


@pytest.mark.parametrize(
    ("seed", "error"),
    [(0, 1.0), pytest.param(1, 0.5, marks=pytest.mark.more), pytest.param(2, 0.2, marks=pytest.mark.more)],
)
def test_an_outage_of_the_provider_is_paged_once_and_blames_nobody(seed: int, error: float) -> None:
    found = detect(outage(error), seed)
    assert found.rolled_back_by is None
    (page,) = [notice for notice in found.notices if notice.event == "page"]
    assert "outage" in page.rules


def outage(error: float) -> Scenario:
    return Scenario(
        outage_s=(1200.0, 1800.0), outage=ArmBehaviour(error=error), duration_s=4500.0, judge_each_s=5.0
    )


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


def test_costs_have_the_spread_and_the_factor_that_were_asked_for() -> None:
    scenario = Scenario(
        users=20_000, exchanges_per_minute=600.0, cost_cv=0.75, candidate=ArmBehaviour(cost=3.0)
    )
    traffic = list(exchanges(replace(scenario, share=0.5, duration_s=3600.0), 5))
    mean: dict[str, float] = {}
    for arm in ("baseline", "candidate"):
        costs = [outcome.cost_usd or 0.0 for outcome in traffic if outcome.arm == arm]
        mean[arm] = fmean(costs)
        assert stdev(costs) / mean[arm] == pytest.approx(0.75, rel=0.15)
    assert mean["candidate"] / mean["baseline"] == pytest.approx(3.0, rel=0.1)


def test_a_candidate_is_slow_from_the_fault_on_and_not_before() -> None:
    scenario = Scenario(candidate=SLOW, fault_at_s=300.0, share=0.5)
    for outcome in exchanges(replace(scenario, duration_s=600.0), 1):
        faulty = outcome.arm == "candidate" and outcome.mono >= 300.0
        assert (outcome.latency_s == 2.0) is faulty


def test_a_seldom_looked_at_guardrail_convicts_with_the_same_outcome() -> None:
    scenario = Scenario(candidate=ArmBehaviour(error=0.5), base_error=0.0)
    often, seldom = (detect(replace(scenario, judge_each_s=each), 3, ERROR_RULES) for each in (1.0, 30.0))
    assert often.rolled_back_by == seldom.rolled_back_by
    assert often.at_s <= seldom.at_s <= often.at_s + 31.0
