"""Whether a judge and people, or two people, say the same of a pair."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from statsmodels.stats.inter_rater import cohens_kappa

from common.interval import wilson
from judge.benchmark import Vote
from judge.figures import FEWEST_LABELS, agreement, between_people, with_people
from judge.judgements import RunJudgements
from records.store.captures import Better
from tests.verdict.judged import label, pair

VOTES: tuple[Vote, ...] = get_args(Better)
TABLES = [
    [[20, 3, 2], [4, 15, 1], [3, 2, 10]],
    [[40, 9, 6], [1, 4, 2], [8, 0, 5]],
    [[10, 10, 10], [10, 10, 10], [10, 10, 10]],
    [[2, 20, 1], [20, 2, 3], [1, 1, 0]],
    [[30, 2, 0], [3, 20, 0], [0, 0, 0]],
]


def _votes(table: list[list[int]]) -> list[tuple[Vote, Vote]]:
    return [
        (VOTES[row], VOTES[column])
        for row, counts in enumerate(table)
        for column, count in enumerate(counts)
        for _ in range(count)
    ]


@pytest.mark.parametrize("table", TABLES)
def test_kappa_is_that_of_statsmodels(table: list[list[int]]) -> None:
    found, known = agreement(_votes(table)), cohens_kappa(np.array(table))
    assert found.kappa is not None
    assert found.kappa.estimate == pytest.approx(known.kappa)
    assert (found.kappa.low, found.kappa.high) == pytest.approx((known.kappa_low, known.kappa_upp))


@pytest.mark.parametrize("table", TABLES)
def test_the_share_has_wilsons_interval(table: list[list[int]]) -> None:
    found, equal, total = agreement(_votes(table)), int(np.trace(table)), int(np.sum(table))
    assert found.labels == total
    assert found.share is not None
    assert (found.share.low, found.share.high) == pytest.approx(wilson(equal, total))


def test_too_few_labels_show_nothing() -> None:
    votes: list[tuple[Vote, Vote]] = [("candidate", "tie"), ("tie", "tie"), ("baseline", "baseline")]
    few, enough = agreement((votes * 10)[: FEWEST_LABELS - 1]), agreement(votes * 10)
    assert (few.labels, few.share, few.kappa) == (29, None, None)
    assert enough.labels == 30
    assert enough.share is not None
    assert enough.kappa is not None


@pytest.mark.parametrize(
    "votes", [[("tie", "tie")], [("tie", "tie"), ("tie", "baseline")], [("candidate", "tie"), ("tie", "tie")]]
)
def test_one_vote_for_everything_agrees_with_nobody(votes: list[tuple[Vote, Vote]]) -> None:
    assert agreement(votes * 30).kappa is None


def test_full_agreement_is_not_certain() -> None:
    found = agreement([("candidate", "candidate"), ("baseline", "baseline")] * 20)
    assert found.kappa is not None
    assert (found.kappa.estimate, found.kappa.high) == (1.0, 1.0)
    assert found.kappa.low == pytest.approx(2 * wilson(40, 40)[0] - 1)


def test_a_pairs_first_label_that_says_something_counts() -> None:
    pairs = [pair(number, float(number % 2)) for number in range(30)]
    first = [label(number, "unclear", who="ann") for number in range(30)]
    second = [label(number, "candidate" if number % 2 else "baseline", who="bob") for number in range(30)]
    third = [label(number, "both", who="eve") for number in range(30)]
    found = with_people(RunJudgements(exchanges=pairs, labels=[*first, *second, *third]))
    assert found.share is not None
    assert (found.labels, found.share.estimate) == (30, 1.0)


def test_labels_that_were_asked_for_where_judgements_differ_are_left_out() -> None:
    chosen = [replace(label(number, "both"), chosen="disagreement") for number in range(40)]
    judging = RunJudgements(exchanges=[pair(number, 1.0) for number in range(40)], labels=chosen)
    assert with_people(judging).labels == 0


def test_pairs_without_a_readable_result_and_labels_of_other_runs_are_left_out() -> None:
    judging = RunJudgements(
        exchanges=[pair(1, None), pair(2, 1.0)], labels=[label(1, "both"), label(2, "both"), label(9, "both")]
    )
    assert with_people(judging).labels == 1


def test_the_first_two_people_of_a_pair_are_compared() -> None:
    pairs = [pair(number, 1.0) for number in range(40)]
    ann = [label(number, "candidate" if number % 2 else "neither", who="ann") for number in range(40)]
    bob = [label(number, "candidate" if number % 2 else "baseline", who="bob") for number in range(40)]
    third = [label(number, "both", who="eve") for number in range(20)]
    alone = [label(99, "both", who="ann"), label(99, "both", who="bob")]
    found = between_people(RunJudgements(exchanges=pairs, labels=[*ann, *bob, *third, *alone]))
    assert found.labels == 40
    assert found.share is not None
    assert found.share.estimate == pytest.approx(20 / 40)
