"""Arms that answer unequally: never a block, but no pass on the answers alone either."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from tests.verdict.simulated import World, rating, usual, visits
from verdict.decision.verdict import build
from verdict.rows.comparison import BracketedComparison
from verdict.rows.reading import read, response, trimmings
from verdict.sample.csv_log import from_csv
from verdict.sample.observations import observe
from verdict.sample.sample import Sample
from verdict.terms.judged_canary import JudgedCanary

Log = Callable[[Any], Path]


def _observed(sample: Sample, now: float) -> Any:
    return observe(sample, "csat", BUILT_IN, now=now)


def test_equal_response_changes_nothing(write_log: Log, world: type[Any], now: float) -> None:
    sample = from_csv(write_log(world(responds=(0.2, 0.2))))
    assert trimmings(sample, _observed(sample, now)) is None


def test_the_rates_are_compared_by_chi_square(write_log: Log, world: type[Any], now: float) -> None:
    sample = from_csv(write_log(world(responds=(0.2, 0.25))))
    found = response(sample, _observed(sample, now))
    table = [[yes, everybody - yes] for everybody, yes in (found.candidate, found.baseline)]
    expected = stats.chi2_contingency(np.array(table), correction=False)
    assert found.p_value == pytest.approx(expected[1])


@pytest.mark.parametrize(("responds", "trimmed_side"), [((0.1, 0.3), True), ((0.3, 0.1), False)])
def test_the_arm_that_answers_more_is_trimmed_by_its_excess(
    write_log: Log, world: type[Any], now: float, responds: tuple[float, float], trimmed_side: bool
) -> None:
    sample = from_csv(write_log(world(responds=responds)))
    observed = _observed(sample, now)
    cut = trimmings(sample, observed)
    assert cut is not None
    without_lowest, without_highest = cut
    side = sample.candidate == trimmed_side

    def units(kept: Any, rows: Any) -> int:
        return len(np.unique(sample.unit[kept.row[rows[kept.row]]]))

    ours, theirs = response(sample, observed).rates
    excess = 1 - min(ours, theirs) / max(ours, theirs)
    for kept in cut:
        assert units(kept, ~side) == units(observed, ~side)
        assert units(kept, side) == pytest.approx(units(observed, side) * (1 - excess), abs=1)
    assert without_highest.total.mean() < observed.total.mean() < without_lowest.total.mean()


def test_the_interval_spans_what_the_missing_answers_may_mean(
    write_log: Log, world: type[Any], now: float
) -> None:
    sample = from_csv(write_log(world(responds=(0.2, 0.4))))
    observed = _observed(sample, now)
    bracketed = read(sample, observed, planned=500)
    assert isinstance(bracketed.comparison, BracketedComparison)
    plain = bracketed.comparison.plain
    wide, narrow = bracketed.comparison.contrast(1, 0), plain.contrast(1, 0)
    assert wide.low < narrow.low < narrow.estimate == wide.estimate < narrow.high < wide.high
    assert abs(bracketed.comparison.z()) <= abs(plain.z())


def test_a_difference_in_response_alone_never_blocks(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    report = build(from_csv(write_log(world(responds=(0.5, 0.9), csat=(4.3, 4.3)))), canary, now=now)
    assert not report.srm.blocked
    assert report.verdict in ("extend", "ship", "ship_with_caveats", "ship_now")
    csat = next(line for line in report.metrics if line.metric == "csat")
    assert csat.state != "FAIL"


def test_unequal_response_is_a_caveat_with_both_rates(
    write_log: Log, world: type[Any], canary: JudgedCanary, now: float
) -> None:
    def said(responds: tuple[float, float]) -> list[str]:
        report = build(from_csv(write_log(world(responds=responds))), canary, now=now)
        return [reason for reason in sentences(report) if "gave a value" in reason]

    done, csat = said((0.2, 0.25))
    for sentence, name in ((done, "Task completed"), (csat, "Satisfaction")):
        assert sentence.startswith(f"{name}: ")
        assert "% of the candidate's users gave a value, " in sentence
        assert "% of the baseline's (p = " in sentence
        assert "In the worst and the best case of the missing values the difference is " in sentence
    assert said((0.2, 0.2)) == []


def test_the_bounds_act_from_one_in_a_hundred_on(write_log: Log, world: type[Any], now: float) -> None:
    sample = from_csv(write_log(world(responds=(0.2, 0.23), users=4000)))
    found = response(sample, _observed(sample, now))
    assert found.p_value is not None
    assert 0.001 < found.p_value < 0.01
    assert found.different
    assert trimmings(sample, _observed(sample, now)) is not None


def _ramped(rng: np.random.Generator, *, fewer: float = 0.0) -> Sample:
    """Two weeks at 1, 5 and 20 %; who comes late has had less time to answer. The candidate's users leave out
    the part `fewer` of the answers that they would give to the baseline."""
    of = visits(rng, usual(rng, 4000, 6.0), steps={0: 0.01, 3: 0.05, 7: 0.2}, returning=10, days=14)
    said = rating(rng, of, (4.0, 4.0), alike=0.4, spread=1 / 9, answers=0.125)
    kept = ~of.candidate[said.row] | (rng.random(len(said.row)) >= fewer)
    given = replace(said, row=said.row[kept], value=said.value[kept], at=said.at[kept])
    return World(visits=of, said={"csat": given}).until(14)


def _told(worlds: int, *, fewer: float) -> list[bool]:
    rng = np.random.default_rng(8)
    samples = [_ramped(rng, fewer=fewer) for _ in range(worlds)]
    return [response(sample, _observed(sample, np.inf)).different for sample in samples]


def test_a_ramp_alone_makes_no_arm_answer_less_and_a_difference_within_its_phases_is_found() -> None:
    assert sum(_told(100, fewer=0.0)) <= 4
    assert sum(_told(20, fewer=0.3)) >= 18


def test_the_excess_is_taken_from_each_phase_of_a_ramp() -> None:
    sample = _ramped(np.random.default_rng(9), fewer=0.5)
    observed = _observed(sample, np.inf)
    ours, theirs = response(sample, observed).rates
    excess, cut = 1 - ours / theirs, trimmings(sample, observed)
    assert cut is not None

    def units(kept: Any, phase: int, *, candidate: bool) -> int:
        rows = (sample.phase[kept.row] == phase) & (sample.candidate[kept.row] == candidate)
        return len(np.unique(sample.unit[kept.row[rows]]))

    for kept in cut:
        for phase in range(3):
            whole = units(observed, phase, candidate=False)
            assert units(kept, phase, candidate=False) == pytest.approx(whole * (1 - excess), abs=1)
            assert units(kept, phase, candidate=True) == units(observed, phase, candidate=True)


def test_the_caveat_of_a_ramp_says_that_the_phases_are_compared(canary: JudgedCanary) -> None:
    sample = _ramped(np.random.default_rng(9), fewer=0.5)
    report = build(replace(sample, shares={}), replace(canary, segments=()), now=1e6)
    (said,) = [reason for reason in sentences(report) if "gave a value" in reason]
    assert "% of the baseline's in the same phases of the ramp (p = " in said
