"""A row that a judge assists: users' ratings put its marks right, and the looks decide by both."""

import math
from dataclasses import replace

import numpy as np
import pytest

from judge.judgements import MarkedRating
from pages.reports.report import rendered
from pages.words import judge as words
from pages.words.reasons import sentences
from records.facts.metric import BUILT_IN
from tests.verdict.assisted_simulated import CSAT, DAYS, DONE, Marks, Raters, shipped, world
from tests.verdict.judged import answer, sample_of, session
from verdict.decision.verdict import build
from verdict.rows.comparison import arm_sums
from verdict.rows.reasons import SilenceDecides
from verdict.sample.judged import assisted
from verdict.sample.observations import observe
from verdict.sample.sample import LABELS, Sample
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

NOW = 100 * DAY_S


def _mean(sample: Sample, *, candidate: bool, metric: str = "csat") -> float:
    seen = assisted(sample, BUILT_IN[metric], now=NOW)
    mine, known = seen.candidate == candidate, seen.totals[metric]
    return float(known.total[mine].sum() / known.count[mine].sum())


def test_each_arm_is_the_mean_of_its_marks_put_right_by_what_raters_say_beyond_them() -> None:
    """λ = Σ(f − f̄)(y − ȳ)/Σ(f − f̄)² of the raters, and θ = λ·mean of all marks + mean(y − λ·f) of those.

    `ppi_mean_pointestimate` and `ppi_mean_ci` of ppi-python 0.2.3 say the same at λ = .2665 and .27, of the
    unrated alone; their errors take no degree of freedom for λ.
    """
    rng = np.random.default_rng(5)
    marks = rng.integers(1, 6, size=800).astype(float)
    found = [
        answer(n, marks[n], arm=("baseline", "candidate")[n % 2], unit=f"u{n}", category="x")
        for n in range(800)
    ]
    rated = [n for n in range(800) if rng.random() < 0.4]
    said = {n: float(np.clip(round(0.5 * marks[n] + 2 + rng.normal()), 1, 5)) for n in rated}
    ratings = tuple(MarkedRating(exchange_id=f"e{n}", metric="csat", value=said[n], at=5.0) for n in rated)
    others = (MarkedRating(exchange_id="e1", metric="thumbs_up", value=0.0, at=5.0),)
    sample = sample_of(found, {"x": 2})
    sample = replace(sample, judged=replace(sample.judged, ratings=(*ratings, *others)))
    for arm in (0, 1):
        ours = [n for n in rated if n % 2 == arm]
        f, y = marks[ours], np.array([said[n] for n in ours])
        part = (f - f.mean()) @ (y - y.mean()) / ((f - f.mean()) @ (f - f.mean()))
        expected = part * marks[arm::2].mean() + (y - part * f).mean()
        assert _mean(sample, candidate=arm == 1) == pytest.approx(expected, abs=1e-5)
    seen = assisted(sample, BUILT_IN["csat"], now=NOW)
    both = arm_sums(seen, observe(seen, "csat", BUILT_IN, now=NOW)).arms(by_category=False)
    assert (both.baseline.value, both.candidate.value) == pytest.approx((3.549880, 3.405804), abs=1e-5)
    assert (both.baseline.se, both.candidate.se) == pytest.approx((0.079142, 0.078845), rel=0.01)
    assert both.se(1) == pytest.approx(math.hypot(0.079142, 0.078845), rel=0.01)
    assert seen.totals[LABELS].count.sum() == len(rated)


def test_of_a_session_it_counts_whether_the_task_was_done() -> None:
    """Of 200 sessions of each arm the judge takes every second for done, and of those that users told of, as
    many as it says: 50 % stay 50 %, whichever told."""
    found = [
        session(n, 3, arm=("baseline", "candidate")[n % 2], unit=f"u{n}", done=n % 4 < 2) for n in range(400)
    ]
    told = tuple(
        MarkedRating(exchange_id=f"e{n}", metric="task_completed", value=float(n % 4 < 2), at=5.0)
        for n in range(400)
        if n % 4 < 2 or n % 12 < 4  # who is content tells three times as often
    )
    sample = sample_of(found)
    sample = replace(sample, judged=replace(sample.judged, ratings=told))
    assert np.mean([each.value for each in told]) > 0.7
    for candidate in (True, False):
        assert _mean(sample, candidate=candidate, metric="task_completed") == pytest.approx(0.5, abs=0.01)


def test_what_is_too_young_to_be_rated_does_not_count_where_ratings_mature() -> None:
    found = [
        replace(answer(n, 4, arm=("baseline", "candidate")[n % 2], unit=f"u{n}"), at=n * 3600.0)
        for n in range(100)
    ]
    sample = sample_of(found)
    late = MarkedRating(exchange_id="e0", metric="csat", value=1.0, at=3 * DAY_S)
    sample = replace(sample, judged=replace(sample.judged, ratings=(late,)))
    slow = replace(BUILT_IN["csat"], matures_after_s=2 * DAY_S)
    seen, at_once = (assisted(sample, metric, now=4 * DAY_S) for metric in (slow, BUILT_IN["csat"]))
    assert (len(seen.unit), seen.totals[LABELS].count.sum()) == (49, 0)
    assert at_once.totals[LABELS].count.sum() == 1


def test_the_report_waits_for_ratings_and_then_says_both_estimates() -> None:
    rng = np.random.default_rng(4)
    few = world(rng, 0.0, Marks(follow=0.7), Raters(share=0.02))
    canary = JudgedCanary(name="c", criteria=[CSAT], minimum_days=7, planned_days=DAYS)
    report = build(few, canary, now=(DAYS + 1) * DAY_S)
    assert report.verdict == "extend"
    assert "waits for ratings of what the judge marked: " in sentences(report)[0]
    assert report.judge is not None and report.judge.assisted == ()
    page = rendered(report, "text", width=200)
    assert "Ratings missing" in page and "label" not in page.replace("people label pairs", "")

    many = world(rng, 0.0, Marks(follow=0.7), Raters(share=0.5))
    report = build(many, canary, now=(DAYS + 1) * DAY_S)
    assert report.metrics[0].state in ("PASS", "IDEAL"), sentences(report)
    assert report.judge is not None
    (found,) = report.judge.assisted
    assert (found.metric, found.marked, found.decides) == ("csat", 3000, True)
    said = words.assisted(found)
    assert said.startswith(
        "By what the judge says of 3,000 answers, put right by users’ ratings of some of them"
    )
    assert said.endswith("The row rests on this.")
    shown = build(many, replace(canary, criteria=[replace(CSAT, assisted=False)]), now=(DAYS + 1) * DAY_S)
    assert shown.judge is not None and not shown.judge.assisted[0].decides


def test_who_is_silent_is_seen_among_all_users_not_among_those_whose_answers_are_marked() -> None:
    rng = np.random.default_rng(7)
    silent = world(rng, 0.0, Marks(follow=0.7), Raters(share=0.6, unhappy=0.5), marked=0.3)
    canary = JudgedCanary(name="c", criteria=[CSAT], minimum_days=7, planned_days=DAYS)
    report = build(silent, canary, now=(DAYS + 1) * DAY_S)
    assert report.metrics[0].state == "INCONCLUSIVE"
    assert isinstance(report.reasons[0], SilenceDecides)
    alike = replace(silent, feedback={})
    assert build(alike, canary, now=(DAYS + 1) * DAY_S).metrics[0].state in ("PASS", "IDEAL")


GOOD, WEAK, BLIND = Marks(follow=0.7), Marks(follow=0.3), Marks(follow=0.0)
KIND, UNKIND = Marks(follow=0.7, kinder=0.8), Marks(follow=0.7, kinder=-0.8)


@pytest.mark.slow
@pytest.mark.timeout(20_000)
@pytest.mark.parametrize("row", [CSAT, DONE], ids=lambda row: row.metric)
@pytest.mark.parametrize("marks", [GOOD, KIND, UNKIND, WEAK, BLIND])
@pytest.mark.parametrize("worse", [1.0, 0.0], ids=["bound", "equal"])
def test_a_judge_saves_ratings_and_lets_nothing_more_pass(worse: float, marks: Marks, row: Criterion) -> None:
    """`worse` is the part of the way from the baseline to the bound."""
    runs, least, most = (500, 0, 35) if worse else (500, 150, 500)
    rng = np.random.default_rng([*repr((worse, marks, row.metric)).encode()])
    made = (world(rng, worse * (1 - row.acceptable.factor), marks, Raters(), row) for _ in range(runs))
    ships = sum(shipped(each, row) for each in made)
    print(f"{row.metric}, {worse:.0%} of the way to its bound, {marks}: {ships} of {runs} ship")
    assert least <= ships <= most


@pytest.mark.slow
@pytest.mark.timeout(20_000)
@pytest.mark.parametrize("row", [CSAT, DONE], ids=lambda row: row.metric)
@pytest.mark.parametrize("marks", [GOOD, BLIND])
def test_a_judge_lessens_the_harm_of_unhappy_users_who_are_silent(marks: Marks, row: Criterion) -> None:
    runs, raters = 500, Raters(unhappy=0.5)
    rng = np.random.default_rng([*repr((marks, raters, row.metric)).encode()])
    made = (world(rng, 1 - row.acceptable.factor, marks, raters, row) for _ in range(runs))
    ships = sum(shipped(each, row) for each in made)
    print(f"{row.metric} at its bound, {marks}, {raters}: {ships} of {runs} ship")
    assert ships <= (150 if marks is GOOD else 250)
