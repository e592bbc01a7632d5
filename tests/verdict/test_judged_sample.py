"""A judge's preference and marks, weighted back to the traffic: known answers by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from common.interval import Interval
from judge.figures import JudgedSessions, JudgeFigures
from judge.judgements import JudgedExchange
from records.facts.metric import JUDGED_MARK
from tests.verdict.judged import answer, pair, sample_of, session
from verdict.decision.judged_figures import judge_figures, preference
from verdict.rows.comparison import ArmSums, arm_sums
from verdict.sample.judged import JUDGE_PREFERS, judged_sample
from verdict.sample.observations import measured
from verdict.sample.sample import Sample
from verdict.statistics import sequence
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.measures import Measure

BY_HAND = [
    ("refund", "u1", 1.0), ("refund", "u1", 0.5), ("refund", "u2", 0.0),
    ("other", "u3", 1.0), ("other", "u2", 1.0), ("other", "u4", 0.0), ("other", "u5", 0.5),
]  # fmt: skip
TRAFFIC = {"refund": 30, "other": 70}


def _pairs(rows: Sequence[tuple[str, str, float | None]]) -> list[JudgedExchange]:
    return [
        pair(number, won, unit=unit, category=category, at=float(number))
        for number, (category, unit, won) in enumerate(rows)
    ]


def _figures(sample: Sample) -> JudgeFigures | None:
    return judge_figures(sample, JudgedCanary(name="c", criteria=(), planned_units=500), now=1e9)


def _sums(sample: Sample, metric: str = JUDGE_PREFERS) -> ArmSums:
    seen = judged_sample(sample, metric)
    return arm_sums(seen, measured(seen, Measure(of=metric, strata=True)))


def test_each_category_counts_as_much_as_its_traffic() -> None:
    """p = .3·(1.5/3) + .7·(2.5/4); ψ of u2, who is in both, is √2·.3·(−.5)/3 + √(4/3)·.7·.375/4."""
    found = _sums(sample_of(_pairs(BY_HAND), TRAFFIC))
    arms = found.arms(by_category=False)
    assert arms.candidate.value == pytest.approx(0.5875, abs=1e-6)
    refund, other = math.sqrt(2 / 1), math.sqrt(4 / 3)
    psi = [refund * 0.05, -refund * 0.05 + other * 0.065625]
    psi += [other * 0.065625, -other * 0.109375, -other * 0.021875]
    assert sorted(arms.candidate.influence) == pytest.approx(sorted(psi), abs=1e-6)
    assert arms.se(0) == pytest.approx(0.165398, abs=1e-6)


def test_one_category_has_the_plain_share_and_its_clustered_error() -> None:
    """p = 2/5, ψ = (S − .4·N)/5 of u1 (2 pairs, 1 won), u2 (1, 1), u3 (2, 0), times √(3/2)."""
    rows = [("", "u1", 1.0), ("", "u1", 0.0), ("", "u2", 1.0), ("", "u3", 0.0), ("", "u3", 0.0)]
    arms = _sums(sample_of(_pairs(rows))).arms(by_category=False)
    assert arms.candidate.value == pytest.approx(0.4)
    assert arms.se(0) == pytest.approx(math.sqrt(1.5 * (0.2**2 + 0.6**2 + 0.8**2)) / 5)


def test_a_pair_without_a_unit_is_one_of_its_own() -> None:
    assert _sums(sample_of(_pairs([("", "", 1.0), ("", "", 0.0), ("", "u", 1.0)]))).carrying[0] == 3


def test_a_category_without_pairs_or_without_traffic_is_left_out() -> None:
    pairs = _pairs([*BY_HAND, ("gone", "u9", 0.0)])
    found = _sums(sample_of(pairs, {"refund": 30, "other": 70, "unasked": 900}))
    assert found.arms(by_category=False).candidate.value == pytest.approx(0.5875, abs=1e-6)


def test_without_concurrent_traffic_each_pair_counts_alike() -> None:
    assert _sums(sample_of(_pairs(BY_HAND), {})).arms(by_category=False).candidate.value == 4 / 7


def test_a_pair_without_a_readable_answer_has_no_value() -> None:
    sample = sample_of(_pairs([("", "u1", 1.0), ("", "u2", None), ("", "u3", 0.0)]))
    figures = _figures(sample)
    assert figures is not None
    assert figures.judged_preference is not None
    assert (figures.pairs, figures.no_mark, figures.judged_preference.estimate) == (3, 1, 0.5)


def test_few_units_have_the_mixtures_interval_combined_over_categories() -> None:
    """Refund: 1.5 of 3 (weight .3), of units with 2 pairs and 1; m = 5/3, so that the phantom has 5/3 events
    and deff = (1.5² + m²)/(1.5 + m). Other: 1, 1, 0 and .5 (weight .7)."""
    found = preference(sample_of(_pairs(BY_HAND), TRAFFIC), planned=500)
    trials = 3 / ((1.5**2 + (5 / 3) ** 2) / (1.5 + 5 / 3))
    refund, other = (
        sequence.mixture_interval(0.5 * trials, trials, alpha=0.05),
        sequence.mixture_interval(2.5, 4, alpha=0.05),
    )
    assert found is not None
    assert found.estimate == pytest.approx(0.3 * 0.5 + 0.7 * 0.625, abs=1e-6)
    down = math.hypot(0.3 * (0.5 - refund.low), 0.7 * (0.625 - other.low))
    up = math.hypot(0.3 * (refund.high - 0.5), 0.7 * (other.high - 0.625))
    assert (found.low, found.high) == pytest.approx((found.estimate - down, found.estimate + up), abs=1e-6)


def test_a_category_has_the_mixtures_interval_at_any_size() -> None:
    figures = _figures(sample_of(_pairs(BY_HAND), TRAFFIC))
    assert figures is not None
    other, refund = figures.categories
    assert (other.value, other.pairs, refund.value, refund.pairs) == ("other", 4, "refund", 3)
    exact = sequence.mixture_interval(2.5, 4, alpha=0.05)
    assert other.judged_preference is not None
    ends = (other.judged_preference.low, other.judged_preference.estimate, other.judged_preference.high)
    assert ends == pytest.approx((exact.low, 0.625, exact.high))


def test_few_wins_among_many_pairs_have_no_normal_interval() -> None:
    rows = [("", f"u{number}", 1.0 if number < 3 else 0.5) for number in range(150)]
    found = preference(sample_of(_pairs(rows)), planned=500)
    exact = sequence.mixture_interval(3 + 147 / 2, 150, alpha=0.05)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_a_unit_of_a_rare_category_that_weighs_much_does_not_open_the_gate() -> None:
    """99 % of the traffic is in a category with 12 units: 1/Σ(ω²/K) is about 12."""
    rows = [("rare", f"r{number}", 1.0) for number in range(300)]
    rows += [("usual", f"o{number}", float(number % 2)) for number in range(12)]
    assert _sums(sample_of(_pairs(rows), {"rare": 1, "usual": 99})).carrying[0] == 12


def test_marks_of_both_arms_are_weighted_alike() -> None:
    """Refunds are 3 in 10: the candidate's .3·4 + .7·2 = 2.6, the baseline's .3·(5+3)/2 + .7·3 = 3.3."""
    marks = [
        answer(1, 4, arm="candidate", unit="a", category="refund"),
        answer(2, 2, arm="candidate", unit="b", category="other"),
        answer(3, 5, arm="baseline", unit="c", category="refund"),
        answer(4, 3, arm="baseline", unit="d", category="refund"),
        answer(5, 3, arm="baseline", unit="e", category="other"),
        answer(6, 1, arm="candidate", unit="f", category="only one arm"),
    ]
    both = _sums(sample_of(marks, {**TRAFFIC, "only one arm": 50}), JUDGED_MARK).arms(by_category=False)
    assert (both.candidate.value, both.baseline.value) == pytest.approx((2.6, 3.3), abs=1e-5)


def test_marks_are_shown_by_arm_with_their_difference() -> None:
    rng = np.random.default_rng(3)
    marks = [
        answer(
            number, float(rng.integers(1, 6)), arm=("baseline", "candidate")[number % 2], unit=f"u{number}"
        )
        for number in range(400)
    ]
    figures = _figures(sample_of(marks))
    assert figures is not None
    shown = figures.marks
    assert shown is not None
    assert shown.answers == 400
    assert shown.baseline is not None
    assert shown.candidate is not None
    assert shown.difference is not None
    for arm, ours in ((shown.baseline, marks[::2]), (shown.candidate, marks[1::2])):
        mean = np.mean([each.mark for each in ours if each.mark is not None])
        assert arm.estimate == pytest.approx(mean)
        assert arm.low is not None
        assert arm.high is not None
        assert arm.low < mean < arm.high
    assert shown.difference.estimate == pytest.approx(shown.candidate.estimate - shown.baseline.estimate)
    few = _figures(sample_of(marks[:150]))
    assert few is not None
    assert few.marks is not None
    assert (few.marks.baseline, few.marks.candidate, few.marks.difference) == (None, None, None)
    assert figures.judged_preference is None


def test_sessions_of_few_users_have_the_mean_of_all_and_the_mixtures_interval() -> None:
    """Baseline: u1 has 2 and 4, u2 has 4. Candidate: u3 has 5, u4 has 4, u5 has 1, 3, 3 and 5: from 5,
    the rarer end, f is 0, 1/4 and 2, and m is 3. No more trials than users."""
    marks = [("u1", 2), ("u1", 4), ("u2", 4)]
    ours = [("u3", 5), ("u4", 4), ("u5", 1), ("u5", 3), ("u5", 3), ("u5", 5)]
    found = [session(n, m, arm="baseline", unit=u, done=m > 3) for n, (u, m) in enumerate(marks)]
    found += [session(9 + n, m, arm="candidate", unit=u, done=m > 3) for n, (u, m) in enumerate(ours)]
    figures = _figures(sample_of(found, {"refund": 30}))
    assert figures is not None
    shown = figures.judged_session
    assert shown is not None
    assert (shown.sessions, shown.no_mark, figures.pairs, figures.marks) == (9, 0, 0, None)
    theirs = _marks_interval(10 / 3, 2)
    mine = _marks_interval(3.5, 6 * (0.25 + 2 + 3) / (0.25**2 + 2**2 + 3**2))
    for arm, exact in ((shown.mark.baseline, theirs), (shown.mark.candidate, mine)):
        assert arm is not None
        assert (arm.low, arm.estimate, arm.high) == pytest.approx((exact.low, exact.estimate, exact.high))
    difference = shown.mark.difference
    assert difference is not None
    assert difference.estimate == pytest.approx(3.5 - 10 / 3)
    below = math.hypot(mine.estimate - mine.low, theirs.high - theirs.estimate)
    assert difference.low == pytest.approx(3.5 - 10 / 3 - below)
    assert shown.done.candidate is not None and shown.done.baseline is not None
    assert shown.done.candidate.estimate == pytest.approx(3 / 6)
    assert shown.done.baseline.estimate == pytest.approx(2 / 3)


def _marks_interval(mean: float, trials: float) -> Interval:
    share = sequence.mixture_interval((mean - 1) / 4 * trials, trials, alpha=0.05)
    return share.scaled(4.0).shifted(1.0)


def test_sessions_of_many_users_have_a_narrower_interval_and_one_arm_none_of_a_difference() -> None:
    rng = np.random.default_rng(5)
    arms = ("baseline", "candidate")
    many = [
        session(number, float(rng.integers(1, 6)), arm=arms[number % 2], unit=f"u{number}")
        for number in range(400)
    ]
    shown = _shown_sessions(many)
    mean = np.mean([each.mark for each in many[1::2] if each.mark is not None])
    assert shown.mark.candidate is not None and shown.mark.candidate.low is not None
    assert shown.mark.candidate.estimate == pytest.approx(mean)
    exact = _marks_interval(float(mean), 200)
    assert exact.low < shown.mark.candidate.low < mean
    alone = _shown_sessions([*many[1::2], replace(many[0], result="no_mark", mark=None, done=None)])
    assert (alone.sessions, alone.no_mark) == (200, 1)
    assert (alone.mark.baseline, alone.mark.difference, alone.done.difference) == (None, None, None)


def _shown_sessions(found: Sequence[JudgedExchange]) -> JudgedSessions:
    figures = _figures(sample_of(found))
    assert figures is not None and figures.judged_session is not None
    return figures.judged_session


def test_what_was_asked_later_is_not_known_before() -> None:
    sample = sample_of(_pairs([("", "u1", 1.0), ("", "u2", 0.0)]))  # asked about at 10 and at 11
    assert sample.until(12.0) is sample
    before = sample.until(11.0)
    assert [each.exchange_id for each in before.judged.exchanges] == ["e0"]
    assert sample.until(10.0).judged.exchanges == ()


def test_another_judge_or_other_words_are_another_metric() -> None:
    first, second = _pairs([("", "u1", 1.0), ("", "u2", 0.0)])
    for other in (replace(second, judge="openai/o3"), replace(second, words_sha256="1" * 64)):
        figures = _figures(sample_of([first, other]))
        assert figures is not None
        assert figures.judged_preference is not None
        assert (figures.pairs, figures.judged_preference.estimate) == (1, 0.0)
        assert (f"{figures.provider}/{figures.model}", figures.words_sha256) == (
            other.judge,
            other.words_sha256,
        )
        assert figures.cost_usd == pytest.approx(0.04)


def test_how_often_the_order_the_length_or_the_vendor_won() -> None:
    won = replace(pair(1, 1.0), baseline_length=5, candidate_length=9, candidate="anthropic/claude-haiku-5")
    lost = replace(pair(2, 0.0), baseline_length=5, candidate_length=9, candidate="anthropic/claude-haiku-5")
    tied = replace(pair(3, 0.5), baseline_length=1, candidate_length=2)
    order = replace(tied, calls=tuple(replace(each, said="A") for each in tied.calls))
    same = replace(pair(5, 1.0), baseline_length=7, candidate_length=7)
    figures = _figures(sample_of([won, lost, order, same, pair(6, None)]))
    assert figures is not None
    assert figures.order_decided == pytest.approx(1 / 4)
    assert figures.prefers_longer == pytest.approx(1 / 2)
    assert figures.prefers_own_vendor == pytest.approx(1 / 2)
    neither = _figures(sample_of([same]))
    assert neither is not None
    assert (neither.order_decided, neither.prefers_longer, neither.prefers_own_vendor) == (0.0, None, None)


def test_the_newest_lost_pairs_are_examples() -> None:
    pairs = [pair(number, float(number % 2), category="refund", at=float(number)) for number in range(20)]
    figures = _figures(sample_of(pairs, {"refund": 5}))
    assert figures is not None
    assert [each.exchange_id for each in figures.lost] == ["e18", "e16", "e14", "e12", "e10"]
    assert {(each.category, each.reason) for each in figures.lost} == {("refund", "turn 1")}


def test_without_judgements_there_is_no_judge() -> None:
    assert _figures(sample_of([])) is None


def test_the_judge_is_named_whose_pairs_are_shown_while_a_new_one_fails() -> None:
    old = _pairs([("", "u1", 1.0), ("", "u2", None)])
    failing = replace(
        old[0], exchange_id="new", asked_at=900.0, judge="openai/o3", words_sha256="1", result=""
    )
    figures = _figures(sample_of([*old, failing]))
    assert figures is not None
    assert (figures.provider, figures.words_sha256) == ("anthropic", "0" * 64)
    assert (figures.pairs, figures.no_mark, figures.left_out) == (2, 1, 0)
    alone = _figures(sample_of([failing]))
    assert alone is not None
    assert (alone.provider, alone.model, alone.pairs) == ("openai", "o3", 0)


def test_pairs_of_an_earlier_judge_or_of_other_words_are_counted_as_left_out() -> None:
    old = _pairs([("", f"u{number}", 1.0) for number in range(5)])
    asked_otherwise = [replace(each, words_sha256="1") for each in old[:2]]
    running = replace(old[4], result="")
    newest = replace(old[0], exchange_id="new", asked_at=900.0, judge="openai/o3", result="baseline")
    figures = _figures(sample_of([*asked_otherwise, *old[2:4], running, newest]))
    assert figures is not None
    assert (figures.provider, figures.pairs, figures.left_out) == ("openai", 1, 4)
