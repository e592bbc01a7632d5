"""Sessions of agents, at full size: how soon the rules about them act, and how seldom wrongly.

`make test-statistics` runs these; each prints its figure, and docs/guardrails.md tells them.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from alerts.rules.rule import DEFAULT_RULES, OF_SESSIONS
from alerts.simulation.traffic import ArmBehaviour, Scenario
from alerts.simulation.trials import Detection, Task, alarms, calm_week, play, spread

pytestmark = [pytest.mark.slow, pytest.mark.timeout(4 * 3600)]

RUNS = int(os.environ.get("CANARY_SIMULATED_RUNS", "500"))
WEEKS = 2 * RUNS
RULES = tuple(rule for rule in DEFAULT_RULES if rule.rule in OF_SESSIONS)
AGENTS = Scenario(steps=8.0, cost_cv=0.4, exchanges_per_minute=40.0, judge_each_s=15.0)
"""2,000 users, a few of whom have most of the sessions: five a minute, of eight exchanges on average."""


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(int(os.environ.get("CANARY_JOBS", os.cpu_count() or 1))) as running:
        yield running


def played(pool: ProcessPoolExecutor, scenarios: Iterable[Scenario]) -> list[Detection]:
    """Each scenario once, its place in the list its seed."""
    return list(pool.map(play, [Task(each, seed, RULES) for seed, each in enumerate(scenarios)], chunksize=4))


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize(
    ("what", "candidate", "rolls_back"),
    [
        ("three times the steps", ArmBehaviour(steps=3.0), False),
        ("three times the cost", ArmBehaviour(cost=3.0), True),
        ("every third session stuck", ArmBehaviour(stuck=1 / 3), False),
    ],
)
def test_a_candidate_that_runs_away_is_noticed_soon(
    pool: ProcessPoolExecutor, what: str, candidate: ArmBehaviour, rolls_back: bool, share: float
) -> None:
    scenario = replace(AGENTS, candidate=candidate, share=share, duration_s=2_400.0 / share)
    found = played(pool, [scenario] * RUNS)
    acted = [each.sessions if rolls_back else each.sessions_at_page for each in found]
    known = spread([count for count in acted if count is not None], RUNS)
    print(f"\n{what}, {share:.0%}: {known} sessions of {RUNS} runs")
    assert known.median is not None and known.median <= (40 if share < 0.5 else 60)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_equal_agents_are_left_alone(pool: ProcessPoolExecutor, share: float) -> None:
    weeks = [
        calm_week(
            replace(
                AGENTS,
                share=share,
                users=(100, 400, 2_000)[n % 3],
                exchanges_per_minute=1.0,
                steps=(8.0, 20.0)[n // 3 % 2],
                steps_sigma=(0.6, 1.0, 1.5)[n // 6 % 3],
                cost_cv=(0.4, 1.0)[n // 18 % 2],
                base_stuck=(0.0, 0.01, 0.3)[n // 36 % 3],
            )
        )
        for n in range(WEEKS)
    ]
    found = alarms(played(pool, weeks))
    print(
        f"\nA/A, {share:.0%}: {found.runs} weeks, rolled back {dict(found.rolled_back)},"
        f" paged {dict(found.paged)}"
    )
    assert sum(found.rolled_back.values()) <= 0.01 * found.runs
