"""People's labels with a judge's predictions: known answers by hand and by another implementation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verdict.statistics.predicted import coarsened, rectified, slope
from verdict.statistics.types import Floats

_WORD = np.array([1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0,
                  1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0], dtype=np.float64)  # fmt: skip
_LABELS = {0: 1.0, 6: 0.0, 7: 0.5, 8: 0.0, 13: 0.0, 14: 0.0, 17: 1.0, 18: 1.0,
           20: 0.5, 21: 1.0, 24: 1.0, 26: 1.0, 29: 0.0, 34: 0.0, 35: 1.0, 38: 0.5}  # fmt: skip


def _labelled(labels: dict[int, float], of: int) -> Floats:
    found = np.full(of, np.nan)
    found[list(labels)] = list(labels.values())
    return found


def test_the_mean_is_that_of_another_implementation() -> None:
    """`ppi_mean_pointestimate` and `ppi_mean_ci` of ppi-python 0.2.3 at λ = .225, which is .375 here: it
    predicts the unlabelled values alone, 24 of 40."""
    labels, one = _labelled(_LABELS, 40), np.zeros(40, dtype=np.int64)
    assert slope(_WORD, labels, one) == pytest.approx(0.375)
    found = rectified(_WORD, labels, np.ones(40), one, one)
    assert found.mean() == pytest.approx(0.465625)
    se = math.sqrt(float(np.sum((found - found.mean()) ** 2))) / 40
    theirs = (0.67829402 - 0.465625) / 1.959964
    # Theirs divides by n and takes no degree of freedom for λ; both see the same spread of 16 and 40 values.
    assert se == pytest.approx(theirs * math.sqrt(16 / 14), rel=0.03)


def test_a_judge_who_knows_nothing_changes_nothing() -> None:
    word = np.array([1.0, 1.0, 1.0, 1.0, 1.0])
    labels = np.array([1.0, 0.0, np.nan, 0.5, np.nan])
    one = np.zeros(5, dtype=np.int64)
    assert slope(word, labels, one) == 0
    assert rectified(word, labels, np.ones(5), one, one).mean() == pytest.approx(0.5)


def test_a_label_speaks_for_its_category_in_a_joined_group() -> None:
    """Of one group, the category with three quarters of the weight has one label (1), the other three (0)."""
    word, drawn = np.full(8, 0.5), np.array([0, 0, 1, 1, 1, 1, 0, 0])
    labels = np.array([1.0, np.nan, 0, 0, 0, np.nan, np.nan, np.nan])
    weight = np.where(drawn == 0, 1.5, 0.5)
    value = rectified(word, labels, weight, drawn, np.zeros(8, dtype=np.int64))
    assert float(weight @ value) / weight.sum() == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("least", "sizes"), [(3, [20, 12, 8, 3, 5]), (10, [20, 12, 16]), (30, [48]), (100, [48])]
)
def test_the_groups_with_the_fewest_labels_are_one(least: int, sizes: list[int]) -> None:
    group = np.repeat(np.arange(5), [20, 12, 8, 3, 5])
    found = coarsened(group, np.bincount(group), least)
    assert np.bincount(found).tolist() == sizes


def _misses(prefers: float, right: float, labels: int, worlds: int) -> tuple[float, float]:
    """How often the 5 % bound of 400 pairs' mean, so many of them labelled, is above or below the truth: with
    a judge that is `right` so often."""
    rng, one, missed = np.random.default_rng(3), np.zeros(400, dtype=np.int64), np.zeros(2)
    for _ in range(worlds):
        truth = (rng.random(400) < prefers).astype(np.float64)
        word = np.where(rng.random(400) < right, truth, 1 - truth)
        known = np.where(np.arange(400) < labels, truth, np.nan)
        found = rectified(word, known, np.ones(400), one, one, unit=np.arange(400), scale=1.0)
        reach = 1.645 * math.sqrt(float(np.sum((found - found.mean()) ** 2))) / 400
        missed += [found.mean() - reach > prefers, found.mean() + reach < prefers]
    above, below = (missed / worlds).tolist()
    return above, below


@pytest.mark.parametrize("right", [0.5, 0.9, 0.97])
@pytest.mark.parametrize("prefers", [0.03, 0.1, 0.5, 0.9, 0.97])
def test_few_labels_that_differ_keep_the_level_of_a_bound(prefers: float, right: float) -> None:
    """Without the phantom labels up to 20 % of the worlds are beyond the bound. Room: 3 standard errors."""
    found = _misses(prefers, right, 54, worlds=400)
    print(prefers, right, found)
    assert max(found) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 400)


@given(st.data())
def test_no_prediction_moves_the_mean_of_complete_labels(data: st.DataObject) -> None:
    size = data.draw(st.integers(4, 30))
    values = st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=size, max_size=size)
    word, labels = (np.array(data.draw(values)) for _ in range(2))
    group = np.arange(size) % 2
    found = rectified(word, labels, np.ones(size), group, group)
    for each in (0, 1):
        assert found[group == each].mean() == pytest.approx(labels[group == each].mean())
