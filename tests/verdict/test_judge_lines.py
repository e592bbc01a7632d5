"""The judge's figures in sentences: what is known of the answers, and what the judge's word is worth."""

import re
from dataclasses import replace

import pytest

from common.interval import Range
from judge.figures import JudgedMarks, JudgeFigures
from pages.words import judge
from tests.verdict.judgement_figures import FEW, FULL, MARKS, NO_LABELS, NONE, SESSIONS


def test_the_preference_is_a_sentence_with_its_interval() -> None:
    assert judge.preference(FULL) == (
        "Of 412 pairs of answers to the same request, the judge preferred the candidate’s in 54 % "
        "(49 % to 59 %), counting a tie as half."
    )


@pytest.mark.parametrize(
    ("low", "high", "meaning"),
    [
        (0.49, 0.59, "it is open whose answers the judge prefers"),
        (0.51, 0.59, "prefers the candidate’s answers"),
        (0.3, 0.49, "prefers the current model’s answers"),
    ],
)
def test_an_interval_over_the_half_is_no_preference(low: float, high: float, meaning: str) -> None:
    preferred = Range(low=low, estimate=(low + high) / 2, high=high)
    assert meaning in judge.conclusion(replace(FULL, judged_preference=preferred))


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        (FEW, "The judge has compared 12 pairs of answers: too few to say whose are better."),
        (NONE, judge.NOT_YET),
        (
            MARKS,
            "Of 380 single answers, marked by the judge from 1 to 5, the candidate’s have 4.12 (4.01 to "
            "4.22), the current model’s 4.05 (3.95 to 4.15): a difference of +0.07 (−0.08 to +0.22).",
        ),
        (
            SESSIONS,
            "Of 96 whole sessions, marked by the judge from 1 to 5, the candidate’s have 3.70 (3.10 to "
            "4.10), the current model’s 4.10 (3.60 to 4.40): a difference of −0.40 (−1.10 to +0.20). "
            "The task was done in 75 % (60 % to 86 %) of the candidate’s sessions and in 84 % (70 % to "
            "93 %) of the current model’s.",
        ),
        (
            replace(NONE, pairs=2, no_mark=2),
            "None of 2 pairs has a readable judgement, so nothing is known of them.",
        ),
        (
            replace(MARKS, marks=JudgedMarks(answers=9, baseline=None, candidate=None, difference=None)),
            "Of 9 single answers, marked by the judge from 1 to 5, there are too few for an interval.",
        ),
    ],
)
def test_what_is_not_known_is_said_and_never_reads_as_equal(figures: JudgeFigures, says: str) -> None:
    assert judge.summary(figures) == says
    assert judge.bar(figures.judged_preference) is None


def test_without_labels_it_says_where_to_label() -> None:
    unlabelled = replace(FEW, agreement=NO_LABELS)
    assert (
        "nobody has labelled a pair yet. Label 30 pairs at /canaries/support/label"
        in judge.worth(unlabelled, "support")[0]
    )


@pytest.mark.parametrize("figures", [NONE, replace(NONE, pairs=2, no_mark=2), MARKS, SESSIONS])
def test_without_a_readable_pair_nobody_is_asked_to_label(figures: JudgeFigures) -> None:
    first = judge.worth(figures, "support")[0]
    assert "is not known" in first
    assert "label" not in re.sub("people label pairs of answers, not (single ones|sessions)", "", first)


def test_with_a_row_on_the_judge_more_labels_are_asked_for() -> None:
    with_row = replace(FEW, labels_needed=50)
    assert "9 pairs labelled, of the 50 that it takes" in judge.worth(with_row, "support")[0]
    nobody = replace(with_row, agreement=NO_LABELS)
    assert "Label 50 pairs at" in judge.worth(nobody, "support")[0]


def test_below_thirty_labels_no_rate_is_told() -> None:
    sentence = judge.worth(FEW, "support")[0]
    assert "9 pairs labelled, of the 30 that it takes" in sentence
    assert "%" not in sentence


def test_the_agreement_of_people_stands_beside_that_of_two_people() -> None:
    people, each_other, order, longer, vendor, unread = judge.worth(FULL, "support")
    assert people.startswith("People agree with the judge on 81 % (74 % to 87 %) of 140 labelled pairs")
    assert people.endswith("is 0.62 (0.50 to 0.74).")
    assert each_other.startswith("Two people agree with each other on 85 %")
    assert "in 12 % of the pairs" in order
    assert "the longer one in 63 %" in longer
    assert "the judge’s own vendor in 58 %" in vendor
    assert unread == "3 pairs without a readable judgement are not counted."


def test_what_people_prefer_stands_before_what_the_judge_prefers() -> None:
    preferred = Range(low=0.41, estimate=0.47, high=0.53)
    told = judge.summary(replace(FULL, drawn=120, people_prefer=preferred, labels_to_go=180))
    assert told.startswith(
        "People prefer the candidate’s answer in 47 % (41 % to 53 %) of the pairs, by 120 labels of randomly "
        "drawn pairs and the judge’s word on the others. About 180 more labels would decide it."
    )


def test_what_cannot_be_counted_is_left_out() -> None:
    bare = replace(
        FULL,
        people=NO_LABELS,
        order_decided=None,
        prefers_longer=None,
        prefers_own_vendor=None,
        no_mark=0,
    )
    assert len(judge.worth(bare, "support")) == 1


def test_at_most_five_lost_pairs_are_shown_with_what_the_letters_stand_for() -> None:
    lost = judge.lost(FULL)
    assert len(lost) == 5
    assert lost[1].said == (
        "judge: “B asks for the order number that the customer gave already.” "
        "(A: current model, B: candidate)"
    )
    assert lost[2].said == ""
    assert len({each.short_id for each in lost}) == 5
    assert lost[0].short_id == f"…{lost[0].exchange_id[-8:]}"


def test_the_categories_with_the_most_pairs_come_first() -> None:
    assert [(each.value, each.says) for each in judge.categories(FULL)] == [
        ("billing", "61 % (55 % to 67 %)"),
        ("refund", "33 % (22 % to 45 %)"),
        ("login", "too few"),
    ]


def test_who_judged_with_which_words_at_what_cost() -> None:
    assert judge.identity(FULL) == (
        "The judge is anthropic/claude-opus-5, asked in the words with the hash 9f2c41d0. "
        "Judging this run cost $3.12."
    )


def test_a_small_cost_does_not_read_as_nothing() -> None:
    cost = judge.identity(replace(FULL, cost_usd=0.004))
    assert cost.endswith("Judging this run cost $0.00400.")


def test_a_bar_stays_on_its_line_with_open_ends() -> None:
    bar = judge.bar(Range(low=None, estimate=0.5, high=None))
    assert bar is not None
    assert (bar.low, bar.estimate, bar.high) == (0.0, 50.0, 100.0)
