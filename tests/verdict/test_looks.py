"""Looks: what a row's p, interval and state say together, at every look of every world; known answers."""

import dataclasses
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.interval import Interval
from pages.reports.report import rendered
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from routing.canary import Step
from tests.effort import examples
from tests.verdict.simulated_looks import row
from verdict.decision.document import MetricLine, PlanLine, Report, from_json, to_json
from verdict.decision.plan_course import often_missed
from verdict.decision.verdict import build
from verdict.rows.looks import Look, RowPlan, SeenRow, chance, smallest_risk, standing
from verdict.rows.margins import QuantileEnds, contrast, z_to_ship
from verdict.rows.shares import ExactShare
from verdict.sample.csv_log import ExchangeTable
from verdict.sample.observations import observe
from verdict.sample.sample import MeasureTotals, Ratings, Sample, TextColumn
from verdict.statistics.boundaries import EstimateSpread, Shape
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import DAY_S, VerdictPlan, log_end
from verdict.terms.rubric import parse_bound

START = 1_793_000_000 // 86400 * DAY_S + 5 * 3600.0
"""Five in the morning of some day, UTC."""

FORTNIGHT = VerdictPlan(days=14, first_day=7)


ROWS = (
    row("error_rate", "< 6%", "< 1%"),
    row("cost_per_request", "<= 1.1x baseline", "<= 0.8x baseline"),
    row("latency_p95", "<= 1.2x baseline", "<= 1.05x baseline"),
    row("csat", "> 4.05", "> 4.3", risk=0.2),
    row("task_completed", ">= baseline - 4pp", ">= baseline + 3pp"),
)


def _sample(seed: int, *, users: int, days: float, share: float, worse: float) -> Sample:
    """Users with 1 to 5 exchanges at random hours; the candidate is `worse` by so much in everything."""
    rng = np.random.default_rng(seed)
    candidate = rng.random(users) < share
    whose = np.repeat(np.arange(users), rng.integers(1, 6, size=users))
    at = START + rng.random(len(whose)) * days * DAY_S
    order = np.argsort(at)
    whose, at = whose[order], at[order]
    arm, habit = candidate[whose], rng.normal(size=users)[whose]
    size = len(whose)
    rated = np.flatnonzero(rng.random(size) < 0.6)
    stars = np.clip(np.round(4.3 - worse * arm + 0.7 * rng.normal(size=size)), 1, 5)
    done = (rng.random(size) < 0.9 - 0.1 * worse * arm).astype(np.float64)
    return ExchangeTable(
        units=tuple(f"u{user}" for user in range(users)),
        unit=whose,
        candidate=arm,
        phase=np.zeros(size, dtype=np.int64),
        at=at,
        counts=np.ones(size, dtype=np.bool_),
        failed=rng.random(size) < 0.04 + 0.03 * worse * arm,
        latency_s=np.exp(0.2 * habit + 0.4 * rng.normal(size=size) + 0.2 * worse * arm),
        ttft_s=np.full(size, np.nan),
        cost_usd=0.05 * np.exp(0.3 * habit + 0.5 * rng.normal(size=size) + 0.3 * worse * arm),
        tokens=np.full(size, np.nan),
        category=TextColumn(names=("",), code=np.zeros(size, dtype=np.int64)),
        feedback={
            "csat": Ratings(row=rated, value=stars[rated], at=at[rated]),
            "task_completed": Ratings(row=rated, value=done[rated], at=at[rated]),
        },
        shares={0: share},
    ).sample()


def _canary(days: int = 4, minimum: float = 2.0, risk: float = 0.05, **more: object) -> JudgedCanary:
    terms = JudgedCanary(
        name="c", criteria=ROWS, minimum_days=minimum, planned_days=days, risk=risk, shares={0: 0.4}
    )
    return dataclasses.replace(terms, **more)  # type: ignore[arg-type]


def _agrees(line: MetricLine, plan: PlanLine) -> None:
    """The row says one thing, whichever of its figures is read."""
    look = line.look
    assert look is not None
    if line.state == "NODATA":
        assert (look.low, look.high, look.p, look.boundary, look.chance) == (None,) * 5
        return
    passed = line.state in ("PASS", "IDEAL")
    assert passed == (look.low is not None and look.low >= 0)
    assert (line.state == "FAIL") == (look.high is not None and look.high < 0)
    if look.low is not None and look.high is not None:
        assert look.low <= look.high
    if look.p is None:
        assert (line.state, look.boundary, look.chance) == ("INCONCLUSIVE", None, None)
        return
    assert 0 < look.p <= 1
    assert (look.p <= look.risk) == passed
    assert (look.chance == 1) == passed
    if passed:
        assert plan.looks[-1] >= plan.first_look
        assert line.days_needed == 0
    elif line.days_needed is not None and line.state != "FAIL":
        assert line.days_needed >= 1


def _follows(report: Report) -> None:
    """The verdict is the one that the rows' states make."""
    states = [line.state for line in report.metrics]
    if report.srm.blocked or "FAIL" in states:
        assert report.verdict == "dont_ship"
    elif {"INCONCLUSIVE", "NODATA"} & set(states):
        assert report.verdict == "extend"
    else:
        assert report.verdict in ("ship", "ship_now", "ship_with_caveats")
        assert report.plan is not None
        assert (report.window.whole_days or 0) >= report.plan.first_look


@settings(max_examples=examples(25), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    users=st.integers(60, 700),
    days=st.floats(1.0, 9.5),
    share=st.sampled_from([0.2, 0.5]),
    worse=st.sampled_from([-1.0, 0.0, 0.5, 1.5]),
    planned=st.sampled_from([2, 4]),
    risk=st.sampled_from([0.025, 0.05, 0.5]),
)
def test_p_interval_state_and_verdict_agree(
    *, seed: int, users: int, days: float, share: float, worse: float, planned: int, risk: float
) -> None:
    sample = _sample(seed, users=users, days=days, share=share, worse=worse)
    now = log_end(float(sample.last_at.max()))
    report = build(sample, _canary(planned, risk=risk, shares={0: share}), now=now)
    assert report.plan is not None
    for line in report.metrics:
        _agrees(line, report.plan)
    _follows(report)
    again = from_json(json.loads(json.dumps(to_json(report, sentences))))
    assert to_json(again, sentences) == to_json(report, sentences)
    assert again.plan == report.plan
    assert [line.look for line in again.metrics] == [line.look for line in report.metrics]


def test_p_is_one_while_the_estimate_misses_and_chance_is_one_once_passed() -> None:
    good = build(_sample(3, users=700, days=6, share=0.5, worse=-1.0), _canary(), now=START + 6 * DAY_S)
    bad = build(_sample(3, users=700, days=6, share=0.5, worse=1.5), _canary(), now=START + 6 * DAY_S)
    assert {line.state for line in good.metrics} <= {"PASS", "IDEAL"}
    assert {line.look.chance for line in good.metrics if line.look} == {1.0}
    assert "FAIL" in {line.state for line in bad.metrics}
    missed = [line.look for line in bad.metrics if line.look and line.look.high is not None]
    assert {look.p for look in missed if look.high is not None and look.high < 0} == {1.0}


def _seen(z: float, information: float, *, day: int = 7, se: float = 1.0) -> Look:
    """A look that saw a z, without skewness, among very many units."""
    margin = Interval(estimate=z * se, low=-math.inf, high=math.inf)
    seen = SeenRow(
        information=information, se=se, skewness=0.0, busy=1e9, boundary=2.0, refusal=None, to_ship=z,
        acceptable=margin, ideal=margin,
    )  # fmt: skip
    return Look(metric="error_rate", day=day, at=day * DAY_S, units=500, seen=seen)


def _plan_row(plan: VerdictPlan = FORTNIGHT) -> RowPlan:
    return RowPlan(criterion=ROWS[0], plan=plan, rows=1)


def test_the_p_of_six_looks() -> None:
    looks = [
        _seen(z, float(day), day=day)
        for day, z in zip(range(7, 13), (1.2, 1.5, 1.9, 2.1, 2.3, 2.2), strict=True)
    ]
    assert smallest_risk(_plan_row(), looks) == pytest.approx(0.038405, abs=1e-6)
    assert smallest_risk(_plan_row(), looks[:1]) == 1.0
    assert smallest_risk(_plan_row(), []) == 1.0


def test_the_chance_of_a_later_look() -> None:
    assert chance(1.0, 0.5, 1.8011) == pytest.approx(0.349420, abs=1e-6)
    assert (chance(1.9, 1.0, 1.8011), chance(1.7, 1.0, 1.8011)) == (1.0, 0.0)
    found = standing(_plan_row(), [_seen(1.0, 7.0)], (1.0, 1.0))
    bound = _plan_row().bounds("ship", [(day, float(day)) for day in FORTNIGHT.looks("ship")])[14]
    assert found.chance == pytest.approx(chance(1.0, 0.5, bound), rel=1e-9)
    assert found.end == 14
    assert found.detectable == pytest.approx((bound + 0.841621) * math.sqrt(0.5), abs=1e-5)


def test_the_chance_is_told_of_the_planned_days_until_their_look_is_made() -> None:
    before = standing(_plan_row(), [_seen(1.0, 13.0, day=13)], (1.0, 1.0))
    after = standing(_plan_row(), [_seen(1.0, 14.0, day=14)], (1.0, 1.0))
    assert (before.end, after.end) == (14, 28)


def test_a_ramp_that_rises_is_forecast_by_its_share_days() -> None:
    steps = (Step(share=0.01, for_s=7 * DAY_S), Step(share=0.1))
    rising = dataclasses.replace(FORTNIGHT, schedule=steps)
    assert [round(rising.exposure(day), 6) for day in (3, 7, 14)] == [0.03, 0.07, 0.77]
    even, ramp = (standing(_plan_row(p), [_seen(1.0, 7.0)], (1.0, 1.0)) for p in (FORTNIGHT, rising))
    assert even.chance is not None
    assert ramp.chance is not None
    assert ramp.chance > even.chance


def test_what_stood_at_the_last_look_stays() -> None:
    """Nothing is decided after it, neither for nor against."""
    passing = dataclasses.replace(_seen(3.0, 28.0, day=28))
    assert passing.seen is not None
    kept = dataclasses.replace(passing.seen.acceptable, low=0.5)
    look = dataclasses.replace(passing, seen=dataclasses.replace(passing.seen, acceptable=kept, ideal=kept))
    assert standing(_plan_row(), [look], (-1.0, -1.0)).acceptable.low == 0.5
    earlier = dataclasses.replace(look, day=21)
    assert standing(_plan_row(), [earlier], (-1.0, -1.0)).acceptable.low == -1.0
    still_open = _seen(0.5, 28.0, day=28)
    assert standing(_plan_row(), [still_open], (9.0, 9.0)).acceptable.low == -math.inf
    assert standing(_plan_row(), [still_open], (9.0, 9.0)).chance == 0.0


@pytest.mark.parametrize(("risk", "missed"), [(0.05, 0.0), (0.1, 0.31), (0.2, 0.74), (0.5, 1.53)])
def test_the_miss_that_still_ships_one_time_in_twenty(risk: float, missed: float) -> None:
    assert often_missed(FORTNIGHT, risk) == pytest.approx(missed, abs=0.006)


def _counted(failures: Sequence[int], *, units: int, each: int) -> Sample:
    """So many candidate units with as many exchanges each, the first of them with these failures."""
    failed = np.zeros(units)
    failed[: len(failures)] = failures
    rows = np.arange(units)
    at = np.full(units, START)
    return Sample(
        units=range(units),  # type: ignore[arg-type]
        unit=rows,
        candidate=np.ones(units, dtype=np.bool_),
        phase=np.zeros(units, dtype=np.int64),
        first_at=at,
        last_at=at,
        candidate_at=at,
        category=TextColumn(names=("",), code=rows * 0),
        totals={"errors": MeasureTotals(count=np.full(units, float(each)), total=failed)},
    )


@pytest.mark.parametrize(
    ("failures", "units", "each", "trials"),
    [((), 300, 3, 300.0), ((1,) * 5, 400, 3, 685.7143), ((8, 8, 1, 1, 1), 500, 8, 553.8462)],
)
def test_few_events_count_by_their_effective_number(
    failures: Sequence[int], units: int, each: int, trials: float
) -> None:
    sample = _counted(failures, units=units, each=each)
    found = contrast(sample, observe(sample, "error_rate", BUILT_IN, now=START))
    assert found is not None
    bound = parse_bound("< 5%")
    assert found.information(bound) == pytest.approx(trials, abs=5e-5)
    share = sum(failures) / (units * each)
    own = ExactShare(share=share, trials=found.information(bound))
    assert found.margin(bound).low(1.8011) == pytest.approx(0.05 - own.ends(1.8011).high, rel=1e-12)


def test_the_exact_end_of_five_single_failures() -> None:
    share = ExactShare(share=5 / 1200, trials=1200 / 1.75)
    assert share.share * share.trials == pytest.approx(2.8571, abs=5e-5)
    assert share.ends(1.8011).high == pytest.approx(0.011676, abs=1e-6)
    assert ExactShare(share=0.0, trials=300).ends(1.8011).low == 0.0


def test_the_reach_of_a_percentile_is_never_shorter_than_students() -> None:
    q = Shape(skewness=0.0, units=300).reach(1.8011)
    down, up = Shape(skewness=0.3, units=300).quantile_reach(1.8011)
    assert (down, up) == pytest.approx((q + 0.3 * (q * q - 1) / 6, q))
    assert Shape(skewness=-0.3, units=300).quantile_reach(1.8011) == pytest.approx((q, down))
    ends = QuantileEnds(
        scale=np.arange(1.0, 101.0),
        reached=np.arange(1, 101) / 100,
        level=0.9,
        cases=[EstimateSpread(off=0.0, se=0.019, skewness=0.0)],
        units=1e9,
    ).ends(2.0)
    assert (ends.low, ends.estimate, ends.high) == (87.0, 90.0, 94.0)


def test_a_low_end_keeps_the_bound_up_to_the_boundary_it_tells() -> None:
    sample = _sample(5, users=600, days=3, share=0.5, worse=0.0)
    for asked in ROWS:
        found = contrast(sample, observe(sample, asked.metric, BUILT_IN, now=START + 9 * DAY_S))
        assert found is not None
        margin = found.margin(asked.acceptable)
        z = z_to_ship(margin)
        if abs(z) < 7.9:
            assert margin.low(z - 1e-6) >= 0 > margin.low(z + 1e-4)


def _is_told_everywhere(report: Report) -> None:
    """Every form of the report can be written."""
    for form in ("text", "json", "markdown", "html"):
        assert "c" in rendered(report, form)


def test_before_the_first_look_nothing_is_ruled_out() -> None:
    sample = _sample(7, users=700, days=0.5, share=0.5, worse=1.5)
    report = build(sample, _canary(), now=START + 0.5 * DAY_S)
    assert (report.verdict, report.plan) == (
        "extend",
        PlanLine(planned_days=4, minimum_days=2.0, risk=0.05, first_look=2, looks=(), next_look=1),
    )
    for line in report.metrics:
        assert line.look is not None
        assert (line.look.day, line.look.low, line.look.high, line.look.p) == (None,) * 4
        assert line.state == "INCONCLUSIVE"
    _is_told_everywhere(report)


def test_a_miss_shows_before_the_minimum_days() -> None:
    sample = _sample(7, users=700, days=2.0, share=0.5, worse=2.5)
    report = build(sample, _canary(days=10, minimum=9.0), now=START + 2 * DAY_S)
    assert report.plan is not None
    assert (report.plan.first_look, report.plan.looks, report.verdict) == (9, (1,), "dont_ship")
    missed = next(line.look for line in report.metrics if line.state == "FAIL")
    assert missed is not None
    assert missed.low is None, "no look may ship yet"
    _is_told_everywhere(report)


@pytest.mark.parametrize(("users", "share"), [(0, 0.5), (3, 0.5), (90, 1.0), (400, 1.0), (400, 0.0)])
def test_few_users_or_one_arm_alone_are_no_evidence(users: int, share: float) -> None:
    sample = _sample(9, users=users, days=6, share=share, worse=-1.0)
    report = build(sample, _canary(shares={0: share}), now=START + 6 * DAY_S)
    assert report.verdict == "extend"
    against = [line for line in report.metrics if "baseline" in line.acceptable]
    assert {line.state for line in against} == {"NODATA"}
    assert report.plan is not None
    for line in report.metrics:
        _agrees(line, report.plan)
    _is_told_everywhere(report)


def test_a_phase_without_a_baseline_leaves_the_others() -> None:
    sample = _sample(11, users=900, days=6, share=0.5, worse=-1.0)
    late = sample.first_at > START + 3 * DAY_S
    alone = dataclasses.replace(
        sample, phase=late.astype(np.int64), candidate=sample.candidate | late, shares={0: 0.5, 1: 1.0}
    )
    report = build(alone, _canary(days=6, minimum=3.0), now=START + 6 * DAY_S)
    plain = build(sample.until(START + 3 * DAY_S), _canary(), now=START + 6 * DAY_S)
    assert report.plan is not None
    for line, other in zip(report.metrics, plain.metrics, strict=True):
        _agrees(line, report.plan)
        assert line.units <= other.units * 1.1
    assert report.verdict != "dont_ship"


@pytest.mark.parametrize(("minimum", "first", "required"), [(0.25, 1, 0.25), (1.5, 2, 1.5), (2.0, 2, 2.0)])
def test_fractional_minimum_days_round_up_to_the_first_look(
    minimum: float, first: int, required: float
) -> None:
    sample = _sample(13, users=900, days=4, share=0.5, worse=-1.0)
    report = build(sample, _canary(minimum=minimum), now=START + 4.5 * DAY_S)
    assert report.plan is not None
    assert (report.plan.first_look, report.plan.minimum_days) == (first, minimum)
    assert report.window.days_required == required
    assert report.plan.looks == (1, 2, 3)
    assert report.verdict == "ship_with_caveats", "the risk of csat is high"


def test_a_plan_that_is_used_up_decides_nothing_more() -> None:
    sample = _sample(17, users=260, days=9, share=0.5, worse=0.4)
    used_up = build(sample, _canary(days=2, minimum=1.0), now=START + 9 * DAY_S)
    assert used_up.plan is not None
    assert (used_up.plan.looks, used_up.plan.next_look) == ((1, 2, 4), None)
    assert used_up.verdict == "extend"
    assert any("used up" in reason for reason in sentences(used_up))
    over = build(sample, _canary(days=8, minimum=1.0, over=True), now=START + 90 * DAY_S)
    assert over.plan is not None
    assert over.plan.next_look is None
    assert not any("used up" in reason for reason in sentences(over))


def test_units_needed_keep_the_sequences_meaning() -> None:
    sample = _sample(19, users=500, days=5, share=0.4, worse=0.0)
    planned, plain = (
        build(sample, _canary(days, minimum=0.0 if not days else 2.0), now=START + 5 * DAY_S)
        for days in (30, 0)
    )
    open_ = [
        (line, other)
        for line, other in zip(planned.metrics, plain.metrics, strict=True)
        if {line.state, other.state} == {"INCONCLUSIVE"}
    ]
    assert open_
    for line, other in open_:
        assert line.units_needed == other.units_needed
        assert line.difference == other.difference
        assert line.candidate_interval == other.candidate_interval


def test_p_is_one_once_the_estimate_misses_what_a_look_had_shown() -> None:
    look = _seen(3.0, 9.0, day=9)
    assert look.seen is not None
    shown = dataclasses.replace(look.seen.acceptable, low=0.5)
    look = dataclasses.replace(look, seen=dataclasses.replace(look.seen, acceptable=shown))
    kept, missed = (standing(_plan_row(), [look], (now, now)) for now in (1.0, -0.1))
    assert kept.p is not None
    assert kept.p < 0.05
    assert (missed.p, missed.acceptable.low) == (1.0, -0.1)
