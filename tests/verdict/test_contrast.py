"""What a look measures of a row: heavy units, spreads that are lent, and what they leave of an adjustment."""

import re
from dataclasses import replace

import numpy as np
import pytest

from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from tests.verdict.simulated import DAY_S, World, happening, paying, rating, usual, visits
from tests.verdict.simulated_looks import row
from verdict.decision.document import Report
from verdict.decision.verdict import build
from verdict.rows.margins import Margin, contrast
from verdict.sample.observations import observe
from verdict.sample.sample import SESSIONS, Ratings, Sample, TextColumn
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


def _with_one_user(part: float, happens: bool, *, rate: float, candidate: bool = True) -> Sample:
    """Ten days of 300 candidate users; in 7 % of the baseline's sessions it happens. One user has `part` of
    an arm's sessions, in all of which it happens, or in none."""
    rng = np.random.default_rng(3)
    of = visits(rng, usual(rng, 3000), share=0.1, days=10)
    mine = of.candidate == candidate
    number, busy = round(part / (1 - part) * of.count[mine].sum()), np.flatnonzero(mine & (of.day >= 1))[0]
    count = of.count + number * (np.arange(len(of.count)) == busy)
    said = happening(rng, of, (0.07, rate))
    rows = np.sort(np.concatenate([said.row, np.repeat(busy, number * happens)]))
    at = (of.day[rows] + 0.5) * DAY_S
    events = Ratings(row=rows, value=np.ones(len(rows)), at=at)
    world = World(
        visits=replace(of, count=count),
        totals={SESSIONS: count.astype(np.float64)},
        said={"escalated": events},
    )
    sample = world.until(10)
    return replace(sample, units=[f"u{number}" for number in sample.units])


def _judged(sample: Sample, planned_days: int, acceptable: str = "< 10%") -> Report:
    canary = JudgedCanary(
        name="c",
        criteria=[row("escalated", acceptable, "< 1%")],
        minimum_days=min(planned_days, 1),
        planned_days=planned_days,
    )
    return build(sample, canary, now=10 * DAY_S)


_AGAINST = "<= baseline + 4pp"


@pytest.mark.parametrize("planned_days", [0, 7])
@pytest.mark.parametrize("acceptable", ["< 10%", _AGAINST])
@pytest.mark.parametrize(
    ("happens", "rate", "would", "without", "alone"),
    [(True, 0.04, "miss", "pass", ("PASS", "IDEAL")), (False, 0.25, "keep", "miss it", ("FAIL",))],
)
def test_one_user_with_most_of_the_sessions_neither_fails_nor_passes_a_row_and_is_named(
    planned_days: int,
    acceptable: str,
    happens: bool,
    rate: float,
    would: str,
    without: str,
    alone: tuple[str, ...],
) -> None:
    found = _judged(_with_one_user(0.95, happens, rate=rate), planned_days, acceptable)
    (line,) = found.metrics
    assert (found.verdict, line.state) == ("extend", "INCONCLUSIVE")
    assert re.fullmatch(
        f"Escalated would {would} “{re.escape(acceptable)}”.* only because of one user of the candidate, who "
        rf"has 9\d % of the candidate's values: without this user it would {without}. One user decides no "
        "row, so it stays open.",
        sentences(found)[0],
    )
    assert (
        _judged(_with_one_user(0.0, happens, rate=rate), planned_days, acceptable).metrics[0].state in alone
    )


@pytest.mark.parametrize(("happens", "rate"), [(True, 0.07), (False, 0.16)])
@pytest.mark.parametrize("part", [0.15, 0.2, 0.25, 0.4, 0.9])
def test_no_share_of_the_sessions_makes_one_user_decide(part: float, happens: bool, rate: float) -> None:
    state = _judged(_with_one_user(part, happens, rate=rate), 7).metrics[0].state
    assert state not in (("FAIL",) if happens else ("PASS", "IDEAL"))


def test_a_candidate_that_is_bad_without_its_busiest_user_too_still_fails() -> None:
    for planned_days in (0, 7):
        assert _judged(_with_one_user(0.67, True, rate=0.3), planned_days).metrics[0].state == "FAIL"


def test_a_busy_user_of_the_baseline_decides_no_relative_row() -> None:
    for happens, rate in ((True, 0.25), (False, 0.05)):
        sample = _with_one_user(0.95, happens, rate=rate, candidate=False)
        found = _judged(sample, 7, _AGAINST if happens else "<= 1.5x baseline")
        assert found.metrics[0].state == "INCONCLUSIVE"
        assert "only because of one user of the baseline" in sentences(found)[0]


def test_one_user_makes_no_category_worse() -> None:
    sample = _with_one_user(0.8, True, rate=0.07)
    sample = replace(sample, category=TextColumn.of(["refund"] * len(sample.unit)))
    canary = JudgedCanary(
        name="c",
        criteria=[row("escalated", "<= baseline + 2pp", "< baseline")],
        minimum_days=0,
        planned_days=0,
        critical_categories=frozenset({"refund"}),
    )
    (part,) = build(sample, canary, now=10 * DAY_S).categories
    assert (part.state, part.blocks) == ("NO_DIFFERENCE", False)


def test_a_user_with_most_of_the_ratings_has_one_voice() -> None:
    rng = np.random.default_rng(3)
    of = visits(rng, usual(rng, 3000), share=0.1, days=10)
    said = rating(rng, of, (4.25, 4.6))
    busy = np.flatnonzero(of.candidate[said.row])[0]
    flood = np.sort(np.concatenate([np.arange(len(said.row)), np.full(10_000, busy)]))
    value = np.where(flood == busy, 1.0, said.value[flood])
    row_of, at = said.row[flood], said.at[flood]
    sample = World(visits=of, said={"csat": Ratings(row=row_of, value=value, at=at)}).until(10)
    canary = JudgedCanary(name="c", criteria=[row("csat", "> 4.1", "> 4.9")], minimum_days=0)
    (line,) = build(sample, canary, now=10 * DAY_S).metrics
    assert line.state == "PASS"
    assert line.candidate == pytest.approx(4.6, abs=0.1)


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
    unit, given = of.user[said.row][mine], said.value[mine]
    count = np.bincount(unit)
    value = np.bincount(unit, weights=given)[count > 0] / count[count > 0]
    se = float(np.linalg.norm(value - value.mean())) / len(value)
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
