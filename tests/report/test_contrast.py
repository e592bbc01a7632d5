"""What a look measures of a row: heavy units, spreads that are lent, and what they leave of an adjustment."""

from dataclasses import replace

import numpy as np
import pytest

from records.metric import BUILT_IN
from report.contrast import contrast
from report.metrics import observe
from report.rubric import parse_bound
from report.sample import Sample
from report.statistics.influence import spreads
from tests.report.simulated import DAY_S, World, paying, usual, visits

BOUND = parse_bound("<= 1.2x baseline")


def _se(sample: Sample) -> float:
    seen = contrast(sample, observe(sample, "cost_per_request", BUILT_IN, now=14 * DAY_S))
    assert seen is not None
    return seen.margin(BOUND).se


def test_heavy_users_who_are_absent_from_the_candidate_count_in_its_spread() -> None:
    rng = np.random.default_rng(4)
    of = visits(rng, usual(rng, 4000), share=0.1, days=14)
    cost = paying(rng, of, (0.08, 0.08))
    dear = np.flatnonzero(~of.candidate)[:10]
    with_dear = cost.copy()
    with_dear[dear] *= 400
    plain, lent = (_se(World(visits=of, totals={"cost": each}).until(14)) for each in (cost, with_dear))
    assert lent > 10 * plain


def test_what_is_known_of_users_narrows_a_relative_bound() -> None:
    """At a small share: the part of the error that both arms share must not be taken for one arm's spread."""
    rng = np.random.default_rng(3)
    before = visits(rng, usual(rng, 6000, 8.0), share=0.1, days=14)
    habit = np.exp(0.5 * rng.normal(size=6000))
    earlier = habit * np.exp(0.3 * rng.normal(size=6000))
    cost = before.count.astype(np.float64) * habit * np.exp(0.3 * rng.normal(size=6000))
    sample = World(visits=before, totals={"cost": cost}).until(14)
    known = replace(sample, before={"cost_per_request": earlier[:, None]})
    assert _se(known) < 0.8 * _se(sample)


def test_a_heavy_unit_is_counted_twice_and_no_other() -> None:
    even = np.tile([1.0, -1.0], 50)
    plain, same = spreads(even)
    assert (plain, plain.se, plain.skewness) == (same, 10.0, 0.0)
    _, twice = spreads(np.append(even, -5.0))
    assert twice.off == -5.0
    assert twice.se == pytest.approx((100 + 25 + 25) ** 0.5)
    assert twice.skewness == pytest.approx(-250 / 150**1.5)
    assert spreads(np.append(even, -3.0))[1].off == 0.0
    assert spreads(np.zeros(3))[1].se == 0.0
