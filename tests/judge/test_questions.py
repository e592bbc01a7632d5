"""The judge's mark and its reason are read from whatever the judge writes around them."""

import pytest

from bench.answers.scorers import mark_score, reason
from judge.model import better, pair_question, words_sha256
from records.captures.capture import CapturedMessage


@pytest.mark.parametrize(
    ("said", "mark", "why"),
    [
        ("It leaves out the date.\nMARK: 3", 0.5, "It leaves out the date."),
        ("It leaves out the date. MARK: 3", 0.5, "It leaves out the date."),
        ("First I read it.\n\n**It invents a date.**\n\n**MARK: 2**", 0.25, "It invents a date."),
        ("MARK: 5", 1.0, ""),
        ("MARK: 4\nA detail is missing.", 0.75, "A detail is missing."),
        ("MARK: 1 at first sight.\nBut it is right.\nMARK: 5", 1.0, "But it is right."),
        ("I would rather not say.", None, "I would rather not say."),
        ("MARK: 9", None, "MARK: 9"),
        ("", None, ""),
        (f"{'long ' * 100}\nMARK: 1", 0.0, ("long " * 100)[:300]),
    ],
)
def test_the_last_mark_counts_and_the_line_before_it_says_why(
    said: str, mark: float | None, why: str
) -> None:
    assert (mark_score(said), reason(said)) == (mark, why)


@pytest.mark.parametrize(
    ("said", "choice", "why"),
    [
        ("B names the rule.\nBETTER: B", "B", "B names the rule."),
        ("**Both are right.**\n\n**BETTER: same**", "SAME", "Both are right."),
        ("BETTER: A at first.\nNo, it invents a date.\nBETTER: B", "B", "No, it invents a date."),
        ("BETTER: BOTH", None, "BETTER: BOTH"),
        ("A is better", None, "A is better"),
        ("", None, ""),
    ],
)
def test_the_last_choice_counts(said: str, choice: str | None, why: str) -> None:
    assert (better(said), reason(said)) == (choice, why)


def test_a_judge_of_a_pair_sees_both_answers_in_order_and_what_counts() -> None:
    asked = [CapturedMessage("system", "Be kind."), CapturedMessage("user", "May I return it?")]
    [question] = pair_question(asked, "Yes {x}.", "No.", "Correct; no invented policy.")
    order = [question.content.index(each) for each in ("Be kind.", "May I", "Yes {x}.", "No.", "no invented")]
    assert order == sorted(order)


def test_the_hash_tells_other_words_and_other_criteria_apart() -> None:
    hashes = {
        words_sha256("pair", "Correct."),
        words_sha256("pair", "Kind."),
        words_sha256("answer", "Kind."),
    }
    assert len(hashes) == 3
    assert {len(each) for each in hashes} == {64}
