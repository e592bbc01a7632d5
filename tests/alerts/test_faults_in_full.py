"""What models really do wrong, at full size: how soon the default rules act, and how seldom wrongly.

`make test-statistics` runs these; each prints its figure, and docs/guardrails.md tells them.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from alerts.rules.rule import DEFAULT_RULES, Rule
from alerts.simulation.traffic import ArmBehaviour, Scenario
from alerts.simulation.trials import Detection, Task, alarms, calm_week, detected, going_bad, play

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

RUNS = int(os.environ.get("CANARY_SIMULATED_RUNS", "500"))
WEEKS, OUTAGES = 2 * RUNS, 4 * RUNS // 5
REFUND = "refund"
SHARES = {0.05: 1.0, 0.2: 2.0, 0.5: 5.0}
"""The candidate's share, and how many times as many outcomes it may take: more come while one is judged."""
USUAL = Scenario(
    base_left=0.03,
    base_faults=(("cut_off", 0.02), ("refused", 0.01), ("empty", 0.002), ("tool_args_invalid", 0.002)),
    categories=(("other", 0.95), (REFUND, 0.05)),
    streams=0.5,
    judge_each_s=2.0,
)
"""Users differ in activity, errors, patience, faults and latency. Healthy p95: 1.8 s."""
SLOW = replace(USUAL, latency_s=4.0 / 2.276)
"""A healthy p95 of 4 s."""
BUSY = replace(USUAL, users=5_000, exchanges_per_minute=500.0)
"""So many that a category of 5 % has an exchange of the candidate in a minute."""
OF_CATEGORY = tuple(
    replace(rule, category=REFUND) for rule in DEFAULT_RULES if rule.rule.startswith("error_rate")
)
WITH_CATEGORY = (*DEFAULT_RULES, *OF_CATEGORY)

BAD: dict[str, tuple[Scenario, int]] = {
    "hangs, app timeout of 30 s": (
        replace(USUAL, candidate=ArmBehaviour(hangs=1.0), app_timeout_s=30.0, patience_s=600.0),
        12,
    ),
    "hangs, no app timeout": (replace(USUAL, candidate=ArmBehaviour(hangs=1.0)), 12),
    "3 times as slow as a p95 of 4 s": (  # 40 % of its exchanges are slower than 1.5 times that p95
        replace(SLOW, candidate=ArmBehaviour(latency_s=3.0 * SLOW.latency_s)),
        30,
    ),
    "empty, 100 %": (replace(USUAL, candidate=ArmBehaviour(faults=(("empty", 1.0),))), 12),
    "empty, 50 %": (replace(USUAL, candidate=ArmBehaviour(faults=(("empty", 0.5),))), 25),
    "empty, 25 %": (replace(USUAL, candidate=ArmBehaviour(faults=(("empty", 0.25),))), 45),
    "invalid tool arguments, 25 %": (
        replace(USUAL, candidate=ArmBehaviour(faults=(("tool_args_invalid", 0.25),))),
        45,
    ),
    "40 % errors in a category of 5 %": (
        replace(BUSY, candidate=ArmBehaviour(error=0.4, category=REFUND)),
        60,
    ),
}
PAGED: dict[str, tuple[Scenario, int]] = {
    "refused, 25 %": (replace(USUAL, candidate=ArmBehaviour(faults=(("refused", 0.25),))), 45),
    "cut off, 25 %": (replace(USUAL, candidate=ArmBehaviour(faults=(("cut_off", 0.25),))), 45),
}


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(int(os.environ.get("CANARY_JOBS", os.cpu_count() or 1))) as running:
        yield running


def played(
    pool: ProcessPoolExecutor, scenarios: Iterable[Scenario], rules: tuple[Rule, ...] = DEFAULT_RULES
) -> list[Detection]:
    """Each scenario once, its place in the list its seed."""
    return list(pool.map(play, [Task(each, seed, rules) for seed, each in enumerate(scenarios)], chunksize=4))


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("what", BAD)
def test_a_bad_candidate_is_rolled_back_soon(pool: ProcessPoolExecutor, what: str, share: float) -> None:
    scenario, most = BAD[what]
    scenario = going_bad(replace(scenario, share=share), within_s=3600.0)
    rules = WITH_CATEGORY if scenario.candidate.category else DEFAULT_RULES
    found = detected(played(pool, [scenario] * RUNS, rules), scenario.fault_at_s)
    print(
        f"\n{what}, {share:.0%}: {found.outcomes} outcomes, {found.minutes} min,"
        f" {dict(found.rolled_back)} of {found.runs}"
    )
    assert sum(found.rolled_back.values()) == found.runs
    assert found.outcomes.median is not None
    assert found.outcomes.median <= SHARES[share] * most


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("what", PAGED)
def test_refusals_and_answers_cut_off_are_paged_soon(
    pool: ProcessPoolExecutor, what: str, share: float
) -> None:
    scenario, most = PAGED[what]
    scenario = going_bad(replace(scenario, share=share), within_s=1800.0)
    found = detected(played(pool, [scenario] * RUNS), scenario.fault_at_s)
    print(
        f"\n{what}, {share:.0%}: paged {dict(found.paged)}, {found.outcomes_to_page} outcomes,"
        f" {found.minutes_to_page} min"
    )
    assert not found.rolled_back
    assert found.outcomes_to_page.median is not None
    assert found.outcomes_to_page.median <= SHARES[share] * most


@pytest.mark.parametrize("share", SHARES)
def test_equal_arms_with_faults_and_callers_who_leave_are_left_alone(
    pool: ProcessPoolExecutor, share: float
) -> None:
    weeks = [
        calm_week(
            replace(
                USUAL,
                share=share,
                users=(400, 2000)[n // 6 % 2],
                exchanges_per_minute=1.0,
                base_error=(0.0, 0.01, 0.02)[n % 3],
                base_left=(0.03, 0.03, 0.2, 0.6)[n // 12 % 4],
                alike=(20.0, 2.0)[n // 3 % 2],
                cost_cv=1.0,
            )
        )
        for n in range(WEEKS)
    ]
    found = alarms(played(pool, weeks, WITH_CATEGORY))
    print(
        f"\nA/A, {share:.0%}: {found.runs} weeks, rolled back {dict(found.rolled_back)},"
        f" paged {dict(found.paged)}"
    )
    assert sum(found.rolled_back.values()) <= 0.01 * found.runs


@pytest.mark.parametrize(
    "outage",
    [ArmBehaviour(error=0.2), ArmBehaviour(error=1.0), ArmBehaviour(hangs=0.3), ArmBehaviour(hangs=1.0)],
    ids=["20 % fail", "all fail", "30 % hang", "all hang"],
)
@pytest.mark.parametrize("share", SHARES)
def test_an_outage_of_both_arms_rolls_hardly_anything_back(
    pool: ProcessPoolExecutor, outage: ArmBehaviour, share: float
) -> None:
    scenario = replace(
        USUAL,
        share=share,
        outage_s=(1200.0, 1800.0),
        outage=outage,
        fault_at_s=1200.0,
        duration_s=3600.0,
        app_timeout_s=30.0,
    )
    timeouts = (30.0, None)
    found = played(
        pool, [replace(scenario, app_timeout_s=timeouts[n % 2]) for n in range(OUTAGES // 4)], WITH_CATEGORY
    )
    back = [one.rolled_back_by for one in found if one.rolled_back_by is not None]
    print(f"\noutage {outage}, {share:.0%}: {back} of {len(found)} rolled back")
    assert len(back) <= (0.0 if share < 0.5 else 0.02 * len(found))


def test_callers_in_flight_of_both_arms_who_leave_at_once_roll_nothing_back(
    pool: ProcessPoolExecutor,
) -> None:
    scenario = replace(
        USUAL,
        users=10_000,
        exchanges_per_minute=1200.0,
        latency_s=8.0,
        cancelled_s=(600.0, 1200.0, 1800.0, 2400.0, 3000.0),
        judge_each_s=5.0,
    )
    found = alarms(played(pool, [scenario] * (RUNS // 25)))
    print(f"\nbursts: {found.runs} runs, rolled back {dict(found.rolled_back)}, paged {dict(found.paged)}")
    assert not found.rolled_back
