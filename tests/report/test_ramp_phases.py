"""Ramps: arms compared within a phase, users that move between arms counted once."""

import numpy as np
import pytest

from report.statistics.phases import UnitSums, arms, unit_sums
from report.statistics.ratio import difference, ratio

ROWS = (
    ("a", 0, 2, 3, True), ("b", 0, 1, 2, True), ("c", 0, 4, 5, False), ("d", 0, 2, 4, False),
    ("e", 0, 3, 3, False), ("a", 1, 3, 4, True), ("b", 1, 2, 2, True), ("c", 1, 1, 3, True),
    ("d", 1, 3, 4, False), ("e", 1, 2, 5, False), ("g", 1, 4, 4, False),
)  # fmt: skip


def _sums() -> UnitSums:
    names, phases, totals, counts, candidate = zip(*ROWS, strict=True)
    return UnitSums(
        unit=np.array(["abcdeg".index(name) for name in names], dtype=np.int64),
        phase=np.array(phases, dtype=np.int64),
        candidate=np.array(candidate),
        total=np.array(totals, dtype=float),
        count=np.array(counts, dtype=float),
    )


def test_the_worked_example_of_two_phases() -> None:
    both = arms(_sums())
    assert both.candidate.value == pytest.approx(0.642857, abs=5e-7)
    assert both.baseline.value == pytest.approx(0.712912, abs=5e-7)
    assert both.value(1) == pytest.approx(-0.070055, abs=5e-7)
    assert both.se(1) == pytest.approx(0.123769, abs=5e-7)


def test_within_one_phase_it_is_the_delta_method() -> None:
    rng = np.random.default_rng(3)
    unit = rng.integers(0, 60, size=500)
    value = rng.normal(size=500)
    both = arms(unit_sums(unit, np.zeros(500, dtype=np.int64), unit % 3 == 0, value, np.ones(500)))
    totals, counts = np.bincount(unit, weights=value), np.bincount(unit).astype(float)
    mine = np.arange(60) % 3 == 0
    candidate, baseline = ratio(totals[mine], counts[mine]), ratio(totals[~mine], counts[~mine])
    expected = difference(candidate, baseline, factor=0.9)
    assert both.value(0.9) == pytest.approx(expected.value)
    assert both.se(0.9) == pytest.approx(expected.se)


def test_a_drift_between_phases_is_not_taken_for_the_candidates_doing() -> None:
    # Everything gets worse on the day the share goes from 10 % to 50 %; neither arm differs within a day.
    unit = np.arange(2000, dtype=np.int64)
    phase = (unit >= 1000).astype(np.int64)
    candidate = np.where(phase == 0, unit % 10 == 0, unit % 2 == 0)
    value = np.where(phase == 0, 1.0, 0.0)
    both = arms(unit_sums(unit, phase, candidate, value, np.ones(2000)))
    assert both.value(1) == pytest.approx(0)
    pooled = value[candidate].mean() - value[~candidate].mean()
    assert pooled < -0.3
