"""What a judge's word is worth in simulation: how often its intervals hold, and how many pairs show a loss.

The full runs are `slow`; their figures are in docs/judge.md. They simulate a judge that is right 80 % of the
time and takes the first answer 60 % of the time.
"""

import math
from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from common.interval import Interval
from tests.verdict.judged_simulated import (
    EVEN,
    TRAFFIC,
    latent,
    plain,
    shown,
    shown_daily,
    world,
)


def _holds(interval: Interval, true: float) -> bool:
    return interval.low <= true <= interval.high


def test_the_preference_is_the_judges_over_the_traffic() -> None:
    """Pairs are even over categories, in which the candidate differs; without weights it would be .46."""
    found = plain(world(np.random.default_rng(1), 20_000, 0.5))
    assert shown(0.5) == pytest.approx(0.5)
    assert shown(0.4) == pytest.approx(0.44)
    assert _holds(found, 0.5)
    assert found.high - found.low < 0.02


def test_the_plain_interval_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = [_holds(plain(world(rng, 350, 0.4)), shown(0.4)) for _ in range(100)]
    assert sum(held) >= 88


def test_pairs_say_more_than_single_answers_of_hard_requests() -> None:
    assert 0.5 < _answers_for_pairs(hard=1.0) < _answers_for_pairs(hard=2.0)


def _answers_for_pairs(hard: float) -> float:
    """How many single answers, half of each arm, show a loss as surely as one pair does."""
    wins, marks = latent(np.random.default_rng(5), 0.4, hard)
    pairs = (wins.std() / (0.5 - wins.mean())) ** 2
    gap = marks[0].mean() - marks[1].mean()
    return float(2 * (marks[0].var() + marks[1].var()) / gap**2 / pairs)


@pytest.mark.slow
@pytest.mark.parametrize("count", [150, 350, 1400])
def test_the_plain_interval_at_one_look(count: int) -> None:
    rng, runs = np.random.default_rng([6, count]), 1000
    held = sum(_holds(plain(world(rng, count, 0.5)), 0.5) for _ in range(runs))
    print(f"plain 95 % interval, {count} pairs: holds in {held / runs:.1%}")
    assert 0.93 <= held / runs <= 0.97


@pytest.mark.slow
def test_the_shown_interval_over_fourteen_days() -> None:
    rng, runs = np.random.default_rng(7), 400
    daily = [list(shown_daily(world(rng, 350, 0.5))) for _ in range(runs)]
    held = sum(all(_holds(each, 0.5) for each in days) for days in daily)
    worse = sum(any(each.high < 0.5 for each in days) for days in daily)
    print(
        f"shown interval, 350 pairs: holds on all 14 days in {held / runs:.1%}, says worse {worse / runs:.1%}"
    )
    assert held / runs >= 0.95
    assert worse / runs <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(
    ("better", "traffic", "single"),
    [(1 / 3, EVEN, 125), (1 / 3, TRAFFIC, 200), (0.4, EVEN, 400), (0.4, TRAFFIC, 620)],
)
def test_how_many_pairs_show_a_loss(better: float, traffic: Mapping[str, int], single: int) -> None:
    rng, runs = np.random.default_rng([9, single]), 300
    found = sum(plain(world(rng, single, better, traffic)).high < 0.5 for _ in range(runs))
    print(
        f"shown preference {shown(better):.2f}, {'even' if traffic is EVEN else 'uneven'} traffic: "
        f"{single} pairs show it at one look in {found / runs:.0%}"
    )
    assert found / runs >= 0.8 - 3 * math.sqrt(0.16 / runs)


def _requests_rated(better: float, *, hard: float, share: float, rated: float = 1 / 8) -> float:
    """The requests of both arms at which ratings show the same loss with 80 % power, at one look at 95 %,
    if a rating is nothing but the quality of `latent`."""
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    shift = math.sqrt(2) * stats.norm.ppf(better)
    return float((z / shift) ** 2 * (1 + hard**2) / (share * (1 - share)) / rated)


def test_what_ratings_need_for_the_same_loss() -> None:
    """245 ratings of equal arms show a shift of .358 standard deviations: 4·(1.96 + .84)²/.358²."""
    assert _requests_rated(0.4, hard=0.0, share=0.5, rated=1.0) == pytest.approx(244.6, abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize(("hard", "share"), [(0.0, 0.5), (1.0, 0.5), (0.0, 0.1), (1.0, 0.1)])
def test_the_requests_that_ratings_need(hard: float, share: float) -> None:
    needed = _requests_rated(0.4, hard=hard, share=share)
    print(f"share {share:.0%}, requests that differ by {hard:g}: {needed:,.0f} requests, one in eight rated")


@pytest.mark.slow
@pytest.mark.parametrize("hard", [1.0, 2.0])
def test_the_gain_of_pairs(hard: float) -> None:
    print(
        f"requests that differ by {hard:g}: one pair says as much as {_answers_for_pairs(hard):.1f} answers"
    )
