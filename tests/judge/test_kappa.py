"""Cohen's kappa against statsmodels', and where its variance would claim too much."""

import random
from itertools import product

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from common.interval import Z
from judge.figures import kappa

VOTES = ("candidate", "baseline", "tie")


def _votes(seed: int, of: int, alike: float) -> list[tuple[str, str]]:
    chance = random.Random(seed)
    weights = [chance.random() + 0.05 for _ in VOTES]
    votes = []
    for _ in range(of):
        first, other = chance.choices(VOTES, weights, k=2)
        votes.append((first, first if chance.random() < alike else other))
    return votes


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("of", "alike"), [(30, 0.2), (60, 0.6), (400, 0.8)])
def test_it_is_that_of_statsmodels(seed: int, of: int, alike: float) -> None:
    votes = _votes(seed, of, alike)
    table = np.zeros((3, 3))
    for a, b in votes:
        table[VOTES.index(a), VOTES.index(b)] += 1
    known = cohens_kappa(table)
    reach = Z * known.std_kappa
    expected = max(-1, known.kappa - reach), known.kappa, min(1, known.kappa + reach)
    found = kappa(votes)
    assert found is not None
    assert (found.low, found.estimate, found.high) == pytest.approx(expected)


def test_two_who_agree_by_chance_alone_have_a_kappa_of_zero() -> None:
    found = kappa(list(product(VOTES, VOTES)) * 10)
    assert found is not None
    assert (found.low < -0.05, found.estimate, found.high > 0.05) == (True, 0.0, True)


def test_nothing_is_said_without_votes_or_with_one_label_only() -> None:
    assert kappa([]) is None
    assert kappa([("tie", "tie")] * 40) is None


def test_a_labeller_who_always_says_the_same_has_no_kappa_without_width() -> None:
    votes = [("tie", "tie")] * 53 + [("baseline", "tie")]
    assert kappa(votes) is None
    assert kappa([(second, first) for first, second in votes]) is None


def test_agreeing_on_all_of_few_is_not_certainty() -> None:
    few, many = (
        kappa([("tie", "tie"), ("baseline", "baseline")] * 5),
        kappa([("tie", "tie"), ("baseline", "baseline")] * 500),
    )
    assert few is not None and many is not None
    assert few.estimate == few.high == many.estimate == many.high == 1.0
    assert few.low < 0.5 < 0.98 < many.low


def test_agreeing_on_none_is_not_certainty_either() -> None:
    found = kappa([("tie", "baseline"), ("baseline", "tie")] * 5)
    assert found is not None
    assert (found.low, found.estimate, found.high > -0.5) == (-1.0, -1.0, True)
