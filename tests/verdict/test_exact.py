"""The exact test of few units, against Fisher's test and against every possible choice."""

import subprocess
import sys
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from verdict.statistics.sequence import MOST, GroupCounts, Stratum, fisher, groups
from verdict.statistics.sequence import exact_p_value as p_value
from verdict.statistics.types import Bools, Floats


def _first(units: int, *, of: int) -> Bools:
    return np.arange(of) < units


def _every_choice(badness: Floats, candidate: Bools) -> float:
    score = groups(badness)
    seen = int(score[candidate].sum())
    sums = [
        int(score[list(chosen)].sum()) for chosen in combinations(range(len(score)), int(candidate.sum()))
    ]
    return float(np.mean(np.array(sums) >= seen))


@pytest.mark.parametrize("drawn,of", [(3, 9), (30, 300), (60, 90), (99, 1000)])
@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_with_a_yes_or_no_per_unit_it_is_fishers_test(drawn: int, of: int, rate: float) -> None:
    bad, candidate = np.random.default_rng(of).random(of) < rate, _first(drawn, of=of)
    table = [[int(np.sum(bad & arm)), int(np.sum(~bad & arm))] for arm in (candidate, ~candidate)]
    fisher: Any = stats.fisher_exact(table, alternative="greater")
    assert p_value([Stratum(badness=bad.astype(np.float64), candidate=candidate)]) == pytest.approx(
        fisher.pvalue
    )


def test_52_percent_against_6_of_80() -> None:
    bad = np.repeat([1.0, 0.0, 1.0, 0.0], [42, 38, 5, 75])
    found = p_value([Stratum(badness=bad, candidate=_first(80, of=160))])
    assert found == pytest.approx(3.0397e-11, rel=1e-4)


@pytest.mark.parametrize("drawn", [4, 7])
def test_it_counts_every_choice_of_the_candidates_units(drawn: int) -> None:
    badness, candidate = np.random.default_rng(3).normal(size=11).round(1), _first(drawn, of=11)
    found = p_value([Stratum(badness=badness, candidate=candidate)])
    assert found == pytest.approx(_every_choice(badness, candidate))


def test_strata_are_convolved() -> None:
    one = Stratum(badness=np.array([1.0, 0, 0, 0]), candidate=_first(1, of=4))
    assert p_value([one]) == pytest.approx(1 / 4)
    assert p_value([one, one]) == pytest.approx(1 / 16)


def test_without_both_arms_or_with_many_units_there_is_no_test() -> None:
    units = 2 * MOST + 2
    one_arm = Stratum(badness=np.zeros(3), candidate=np.ones(3, dtype=np.bool_))
    many = Stratum(badness=np.zeros(units), candidate=_first(MOST + 1, of=units))
    assert p_value([]) is None
    assert p_value([one_arm]) is None
    assert p_value([many]) is None


@pytest.mark.parametrize(
    ("events", "of", "others", "of_others"),
    [(3, 20, 1, 400), (0, 5, 0, 7), (5, 5, 0, 7), (2, 100, 40, 2000), (10, 30, 20, 60), (1, 1, 0, 1)],
)
def test_fishers_test_is_the_librarys(events: int, of: int, others: int, of_others: int) -> None:
    table = [[events, of - events], [others, of_others - others]]
    table_ = GroupCounts(events=events, of=of, others=others, of_others=of_others)
    assert fisher([table_]) == pytest.approx(stats.fisher_exact(table)[1], rel=1e-9)


def test_fishers_test_within_several_tables_counts_every_sum_of_events() -> None:
    tables = [
        GroupCounts(events=3, of=20, others=1, of_others=40),
        GroupCounts(events=2, of=10, others=0, of_others=60),
    ]
    chances: dict[int, float] = {}
    firsts = [
        stats.hypergeom(table.of + table.of_others, table.events + table.others, table.of) for table in tables
    ]
    for one, other in product(range(5), range(3)):
        chances[one + other] = chances.get(one + other, 0.0) + firsts[0].pmf(one) * firsts[1].pmf(other)
    expected = sum(each for each in chances.values() if each <= chances[5] * (1 + 1e-9))
    assert fisher(tables) == pytest.approx(expected)


def test_a_report_needs_nothing_of_the_large_library_of_distributions() -> None:
    code = "import sys; from verdict.archive import archivist, releases; print('scipy.stats' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
