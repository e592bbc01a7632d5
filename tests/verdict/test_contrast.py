"""What a look measures of a row: heavy units, spreads that are lent, and what they leave of an adjustment."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from tests.verdict.simulated import DAY_S, World, paying, rating, usual, visits
from tests.verdict.simulated_looks import row
from verdict.decision.document import Report
from verdict.decision.verdict import build
from verdict.rows.margins import Margin, contrast
from verdict.sample.observations import observe
from verdict.sample.sample import Ratings, Sample, TextColumn
from verdict.statistics.boundaries import spreads
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import parse_bound

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


def _with_one_user(part: float, stars: float, *, mean: float, candidate: bool = True) -> Sample:
    """Ten days of 300 candidate users at a mean of 4.25 in the baseline; one user gives `part` of an arm's
    ratings, all the same."""
    rng = np.random.default_rng(3)
    of = visits(rng, usual(rng, 3000), share=0.1, days=10)
    said = rating(rng, of, (4.25, mean))
    number = round(part / (1 - part) * np.sum(of.candidate[said.row] == candidate))
    busy = np.flatnonzero((of.candidate == candidate) & (of.day >= 1))[:1]
    rows = np.concatenate([said.row, np.repeat(busy, number)])
    value = np.concatenate([said.value, np.full(number, stars)])
    order = np.argsort(rows, kind="stable")
    at = (of.day[rows[order]] + 0.5) * DAY_S
    return World(visits=of, said={"csat": Ratings(row=rows[order], value=value[order], at=at)}).until(10)


def _judged(sample: Sample, planned_days: int, acceptable: str = "> 4.1") -> Report:
    canary = JudgedCanary(
        name="c",
        criteria=[row("csat", acceptable, "> 4.9")],
        minimum_days=min(planned_days, 1),
        planned_days=planned_days,
    )
    return build(sample, canary, now=10 * DAY_S)


@pytest.mark.parametrize("planned_days", [0, 7])
@pytest.mark.parametrize("acceptable", ["> 4.1", ">= baseline - 0.2"])
@pytest.mark.parametrize(
    ("stars", "mean", "would", "without", "alone"),
    [(1.0, 4.6, "miss", "pass", ("PASS", "IDEAL")), (5.0, 3.5, "keep", "miss it", ("FAIL",))],
)
def test_one_user_with_most_of_the_ratings_neither_fails_nor_passes_a_row_and_is_named(
    planned_days: int,
    acceptable: str,
    stars: float,
    mean: float,
    would: str,
    without: str,
    alone: tuple[str, ...],
) -> None:
    found = _judged(_with_one_user(0.95, stars, mean=mean), planned_days, acceptable)
    (line,) = found.metrics
    assert (found.verdict, line.state) == ("extend", "INCONCLUSIVE")
    assert re.fullmatch(
        f"Satisfaction would {would} “{acceptable}”.* only because of one user of the candidate, who has "
        rf"9\d % of the candidate's values: without this user it would {without}. One user decides no row, "
        "so it stays open.",
        sentences(found)[0],
    )
    assert _judged(_with_one_user(0.0, stars, mean=mean), planned_days, acceptable).metrics[0].state in alone


@pytest.mark.parametrize(("stars", "mean"), [(1.0, 4.25), (5.0, 3.8)])
@pytest.mark.parametrize("part", [0.15, 0.2, 0.25, 0.4, 0.9])
def test_no_share_of_the_ratings_makes_one_user_decide(part: float, stars: float, mean: float) -> None:
    state = _judged(_with_one_user(part, stars, mean=mean), 7).metrics[0].state
    assert state not in (("FAIL",) if stars == 1.0 else ("PASS", "IDEAL"))


def test_a_candidate_that_is_bad_without_its_busiest_user_too_still_fails() -> None:
    for planned_days in (0, 7):
        assert _judged(_with_one_user(0.67, 1.0, mean=3.0), planned_days).metrics[0].state == "FAIL"


def test_a_busy_user_of_the_baseline_decides_no_relative_row() -> None:
    for stars, mean in ((1.0, 3.5), (5.0, 4.6)):
        sample = _with_one_user(0.95, stars, mean=mean, candidate=False)
        found = _judged(sample, 7, ">= baseline - 0.2")
        assert found.metrics[0].state == "INCONCLUSIVE"
        assert "only because of one user of the baseline" in sentences(found)[0]


def test_one_user_makes_no_category_worse() -> None:
    sample = _with_one_user(0.8, 1.0, mean=4.25)
    sample = replace(sample, category=TextColumn.of(["refund"] * len(sample.unit)))
    canary = JudgedCanary(
        name="c",
        criteria=[row("csat", ">= baseline - 0.2", "> baseline")],
        minimum_days=0,
        planned_days=0,
        critical_categories=frozenset({"refund"}),
    )
    (part,) = build(sample, canary, now=10 * DAY_S).categories
    assert (part.state, part.blocks) == ("NO_DIFFERENCE", False)


def _margin(sample: Sample, metric: str, bound: str) -> Margin:
    seen = contrast(sample, observe(sample, metric, BUILT_IN, now=14 * DAY_S))
    assert seen is not None
    return seen.margin(parse_bound(bound))


def test_a_mean_s_ends_lie_as_many_standard_errors_away_as_the_boundary_says() -> None:
    rng = np.random.default_rng(5)
    of = visits(rng, usual(rng, 6000), share=0.5, days=14)
    said = rating(rng, of, (4.2, 4.2))
    margin = _margin(World(visits=of, said={"csat": said}).until(14), "csat", "> 4.1")
    mine = of.candidate[said.row]
    unit, value = of.user[said.row][mine], said.value[mine]
    se = float(np.linalg.norm(np.bincount(unit, weights=value - value.mean()))) / len(value)
    assert margin.low(1.96) == pytest.approx(value.mean() - 4.1 - 1.96 * se, abs=0.1 * se)
    assert margin.high(1.96) == pytest.approx(value.mean() - 4.1 + 1.96 * se, abs=0.1 * se)


@pytest.mark.parametrize(("slower", "kept"), [("baseline", True), ("candidate", False)])
def test_a_percentile_keeps_its_bound_where_the_candidate_is_the_quicker(slower: str, kept: bool) -> None:
    rng = np.random.default_rng(6)
    of = visits(rng, usual(rng, 3000), share=0.5, days=14)
    slow = of.candidate[of.whose] == (slower == "candidate")
    sample = World(visits=of, duration=rng.integers(20, 40, len(slow)) + 20 * slow).until(14)
    margin = _margin(sample, "latency_p95", "<= baseline")
    assert (margin.low(1.96) > 0, margin.high(1.96) < 0) == (kept, not kept)
