"""What the units did before the canary takes noise away, and never moves the answer by itself."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from records.facts.metric import BUILT_IN
from tests.verdict.reference import adjusted
from verdict.rows.reading import read
from verdict.sample.csv_log import from_csv
from verdict.sample.observations import observe
from verdict.sample.sample import BadSample
from verdict.statistics.ratio import UnitSums, arms
from verdict.statistics.types import Floats


def _sums(totals: list[float], counts: list[float], candidate: list[bool]) -> UnitSums:
    return UnitSums(
        unit=np.arange(len(totals)),
        phase=np.zeros(len(totals), dtype=np.int64),
        candidate=np.array(candidate),
        total=np.array(totals),
        count=np.array(counts),
    )


SUMS = _sums([3, 1, 4, 0, 2, 5, 2, 2, 6], [4, 2, 5, 1, 4, 6, 4, 3, 7], [True] * 5 + [False] * 4)
BEFORE = np.array([[0.8], [0.4], [0.7], [0.2], [0.5], [0.9], [0.5], [0.6], [0.8]])


def test_the_known_answer_comes_out_as_arms() -> None:
    found = adjusted(SUMS, BEFORE)
    assert found.candidate.value == pytest.approx(0.685480, abs=1e-6)
    assert found.baseline.value == pytest.approx(0.674400, abs=1e-6)
    assert found.se(1) == pytest.approx(0.056055, abs=1e-6)


def test_an_absolute_bound_pays_for_the_mean_that_is_estimated_too() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(4000, 1))
    side = rng.random(4000) < 0.5
    sums = _sums(list(2 * x[:, 0] + rng.normal(size=4000)), [1.0] * 4000, side.tolist())
    own = 1.0 / side.sum() + 4.0 / 4000  # the residual's variance, and θ²s²/K of all units
    assert adjusted(sums, x).se(0) == pytest.approx(math.sqrt(own), rel=0.03)
    assert adjusted(sums, x).se(1) < 0.5 * arms(sums).se(1)


def test_a_unit_without_a_value_before_counts_as_an_average_one() -> None:
    holes = BEFORE.copy()
    holes[2] = np.nan
    filled = np.where(np.isnan(holes), np.nanmean(holes), holes)
    assert adjusted(SUMS, holes).se(1) == adjusted(SUMS, filled).se(1)


def _log(path: Path, before: Floats, now: Floats, *, phases: int = 1) -> Path:
    rows = [
        f"u{n},{('baseline', 'candidate')[n % 2]},2026-11-02T00:00:{n % 60:02}Z,{value:.4f},{known:.4f},"
        f"{n % 4 // 2 if phases > 1 else 0}"
        for n, (known, value) in enumerate(zip(before, now, strict=True))
    ]
    path.write_text("\n".join(["unit,arm,at,metric_revenue,pre_revenue,phase", *rows]))
    return path


@pytest.mark.parametrize("phases", [1, 2])
def test_a_log_with_values_before_has_narrower_intervals(tmp_path: Path, phases: int) -> None:
    rng = np.random.default_rng(7)
    before = rng.normal(50, 10, size=600)
    sample = from_csv(_log(tmp_path / "log.csv", before, before + rng.normal(size=600), phases=phases))
    seen = observe(sample, "revenue", BUILT_IN, now=2e9)

    def width(known: Floats | None) -> float:
        found = read(sample, replace(seen, before=known), planned=500).comparison
        assert found is not None
        interval = found.contrast(1, 0)
        return interval.high - interval.low

    assert width(seen.before) < 0.3 * width(None)


def test_a_value_before_that_is_no_number_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("unit,arm,at,pre_csat\na,baseline,1,much\n")
    with pytest.raises(BadSample, match=r"column 'pre_csat': 'much' is not a number"):
        from_csv(path)


def _revenue(tmp_path: Path, *, users: int) -> Floats:
    """The amounts as they are judged; a candidate's user spends a million."""
    spent = np.arange(users, dtype=np.float64) % 100 + 1.0
    spent[1] = 1_000_000.0
    sample = from_csv(_log(tmp_path / "log.csv", spent, spent))
    return observe(sample, "revenue", BUILT_IN, now=2e9).total


def test_one_great_purchase_counts_as_the_baselines_greatest(tmp_path: Path) -> None:
    assert _revenue(tmp_path, users=2400).max() == 99.0


def test_few_purchases_are_not_cut(tmp_path: Path) -> None:
    assert _revenue(tmp_path, users=400).max() == 1_000_000.0
