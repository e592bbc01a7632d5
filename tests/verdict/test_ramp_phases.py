"""Ramps: arms compared within a phase, users that move between arms counted once."""

from collections.abc import Sequence

import numpy as np
import pytest

from records.facts.metric import BUILT_IN
from tests.verdict.reference import difference, ratio
from verdict.rows.reading import MetricReading, read
from verdict.rows.row import State, decide
from verdict.sample.csv_log import ExchangeTable
from verdict.sample.observations import observe
from verdict.sample.sample import Ratings, Sample, TextColumn
from verdict.statistics.ratio import UnitSums, arms, unit_sums
from verdict.terms.rubric import Criterion, parse_bound

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


NOW = 1000.0


def _ramp(*blocks: tuple[int, bool, int, int, int]) -> Sample:
    """Blocks of (phase, candidate, users, exchanges each, of which each user failed so many, the first users
    the whole of them): one user after the other, the task completed where it did not fail."""
    phase, candidate, unit, failed = [], [], [], []
    users = 0
    for each, arm, many, exchanges, failing in blocks:
        size = many * exchanges
        phase += [each] * size
        candidate += [arm] * size
        unit += np.repeat(np.arange(users, users + many), exchanges).tolist()
        failed += [True] * failing + [False] * (size - failing)
        users += many
    n = len(unit)
    at = np.linspace(0.0, 900.0, n)
    said = np.flatnonzero(np.ones(n, dtype=np.bool_))
    return ExchangeTable(
        units=tuple(f"u{i}" for i in range(users)),
        unit=np.array(unit, dtype=np.int64),
        candidate=np.array(candidate),
        phase=np.array(phase, dtype=np.int64),
        at=at,
        counts=np.ones(n, dtype=np.bool_),
        failed=np.array(failed),
        latency_s=np.where(failed, 5.0, 1.0),
        ttft_s=np.full(n, np.nan),
        cost_usd=np.full(n, np.nan),
        tokens=np.full(n, np.nan),
        category=TextColumn.of([""] * n),
        feedback={"task_completed": Ratings(row=said, value=1.0 - np.array(failed, dtype=float), at=at)},
    ).sample()


def _read(sample: Sample, metric: str) -> MetricReading:
    return read(sample, observe(sample, metric, BUILT_IN, now=NOW), planned=500)


def _state(reading: MetricReading, metric: str, bounds: Sequence[str]) -> State:
    acceptable, ideal = map(parse_bound, bounds)
    return decide(
        Criterion(metric=metric, acceptable=acceptable, ideal=ideal, weight=1, question="?"), reading
    ).state


def test_arms_that_never_met_in_a_phase_are_not_compared() -> None:
    # Only the baseline's users spoke in the first step, only the candidate's in the second.
    sample = _ramp((0, False, 200, 1, 20), (1, True, 200, 1, 40))
    for metric, better in (("task_completed", ">="), ("latency_p95", "<=")):
        reading = _read(sample, metric)
        assert (reading.baseline, reading.compared) == (None, False)
        assert _state(reading, metric, (f"{better} 1.2x baseline", f"{better} baseline")) == "NODATA"
    own = _read(sample, "task_completed")
    assert own.candidate == pytest.approx(0.8)
    assert _state(own, "task_completed", (">= 60%", ">= 95%")) == "PASS"


def test_one_user_of_a_heavy_phase_is_no_baseline_however_many_a_light_one_has() -> None:
    sample = _ramp((0, False, 150, 1, 15), (0, True, 2, 1, 0), (1, False, 1, 1, 1), (1, True, 150, 1, 45))
    reading = _read(sample, "task_completed")
    assert (reading.candidate_units, reading.baseline_units) == (152, 151)
    assert reading.carrying[1] == 1
    assert _state(reading, "task_completed", (">= baseline - 2pp", ">= baseline")) == "NODATA"
    assert _state(reading, "task_completed", (">= 50%", ">= 99%")) == "PASS"


def test_nor_is_one_user_with_most_of_a_ramps_requests_the_candidate() -> None:
    sample = _ramp((0, False, 300, 1, 3), (0, True, 1, 900, 0), (1, False, 300, 1, 90), (1, True, 150, 1, 75))
    reading = _read(sample, "error_rate")
    assert reading.candidate_units == 151
    assert reading.carrying[0] == 1
    assert _state(reading, "error_rate", ("< 20%", "< 1%")) == "NODATA"
    assert _read(sample, "task_completed").carrying[0] == 151  # an opinion is one voice a user


def test_few_failing_users_are_compared_within_a_phase_too() -> None:
    # An outage of both arms in the first step, which hardly any candidate user saw; then a fivefold rate.
    sample = _ramp(
        (0, False, 2000, 1, 400), (0, True, 20, 1, 4), (1, False, 5000, 1, 10), (1, True, 1000, 1, 10)
    )
    reading = _read(sample, "error_rate")
    assert reading.baseline == pytest.approx((20 * 0.2 + 1000 * 0.002) / 1020)
    assert reading.comparison is not None
    found = reading.comparison.contrast(1, 0)
    assert found.estimate == pytest.approx(1000 / 1020 * (0.01 - 0.002))
    assert _state(reading, "error_rate", ("<= baseline + 0.1pp", "<= baseline")) == "INCONCLUSIVE"


def test_a_baseline_user_with_a_fifth_of_the_slow_answers_keeps_a_comparison_of_quantiles_open() -> None:
    sample = _ramp((0, True, 300, 4, 100), (0, False, 1, 400, 300), (0, False, 2000, 2, 100))
    reading = _read(sample, "latency_p95")
    assert reading.comparison is not None
    assert reading.comparison.heaviest(0) < 0.2 < reading.comparison.heaviest(1.2)
