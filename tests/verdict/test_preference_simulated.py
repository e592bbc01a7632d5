"""What a row on people's preference lets pass, with judges of every kind: false ship and power.

The full runs are `slow`; their figures are in docs/judge.md.
"""

import math

import numpy as np
import pytest

from tests.verdict.preference_simulated import Judge, Sitting, shipped, world

DAILY = Sitting(days=(2, 3, 4, 5, 6, 7), labels=40)
GOOD, BIASED, WEAK = Judge(right=0.9), Judge(right=0.75, leaning=0.32), Judge(right=0.6)


def _ships(name: str, prefers: float, judge: Judge, sitting: Sitting, runs: int, pairs: int = 1000) -> float:
    rng = np.random.default_rng([*name.encode()])
    days = max(sitting.days)
    made = (world(rng, f"{name}{run}", prefers, judge, sitting, pairs) for run in range(runs))
    return sum(shipped(each, days) for each in made) / runs


def test_a_candidate_at_the_bound_hardly_ever_ships_whatever_the_judge_says() -> None:
    assert _ships("bound", 0.4, Judge(right=0.5, leaning=0.9), DAILY, 30) <= 0.2


def test_two_hundred_labels_in_one_sitting_ship_an_equal_candidate() -> None:
    assert _ships("equal", 0.5, BIASED, Sitting(days=(2,), labels=200), 20) >= 0.7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "judge", "sitting"),
    [
        ("good", GOOD, DAILY),
        ("for the candidate", BIASED, DAILY),
        ("against it", Judge(right=0.75, leaning=-0.32), DAILY),
        ("weak", WEAK, DAILY),
        ("blind", Judge(right=0.5, leaning=0.9), DAILY),
        ("drifting", Judge(right=0.8, drifting=1.0), DAILY),
        ("two people", Judge(right=0.8, leaning=0.2), Sitting(days=DAILY.days, labels=40, people=2)),
        ("one sitting", BIASED, Sitting(days=(2,), labels=200)),
        ("sixty labels", BIASED, Sitting(days=(2,), labels=60)),
    ],
)
def test_false_ship_at_the_bound(name: str, judge: Judge, sitting: Sitting) -> None:
    runs = 500
    found = _ships(name, 0.4, judge, sitting, runs)
    print(f"people's preference at its bound, {name}: ships {found:.1%} of {runs}")
    assert found <= 0.07


@pytest.mark.slow
@pytest.mark.parametrize(("prefers", "labels"), [(0.5, 100), (0.45, 430), (0.5, 200), (0.45, 200)])
@pytest.mark.parametrize(("name", "judge"), [("good", GOOD), ("biased", BIASED), ("weak", WEAK)])
def test_power_of_one_look(name: str, judge: Judge, prefers: float, labels: int) -> None:
    runs = 200
    found = _ships(f"{name}{labels}", prefers, judge, Sitting(days=(2,), labels=labels), runs)
    print(f"{name} judge, {labels} of 1,000 pairs labelled, people prefer it in {prefers:.0%}: {found:.0%}")
    expected = {(0.5, 100): 0.72, (0.45, 430): 0.68, (0.5, 200): 0.9, (0.45, 200): 0.45}[prefers, labels]
    assert found >= expected - 3 * math.sqrt(0.2 / runs)
