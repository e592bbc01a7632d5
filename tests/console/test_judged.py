"""What a judge said, on the pages of a canary, of its report, of its pairs and of a past canary."""

from dataclasses import replace
from typing import Any

import pytest

from console.access.session import Person
from console.judged import figures_in, view
from console.rendering import Templates
from judge.figures import JudgeFigures
from judge.judgements import JudgeCall, JudgedExchange
from judge.runs.job import JudgeDay
from pages.status.standing import past_view
from pages.words import archive as trend_words
from pages.words import plan, verdict
from pages.words.figures import bound_words, title
from pages.words.gains import known_of_answers
from pages.words.reasons import sentences
from records.store.releases import PastCanary
from tests.verdict.archived import an_evaluation
from tests.verdict.judgement_figures import FEW, FULL, MARKS, NO_LABELS
from verdict.archive.trends import trends
from verdict.decision.document import to_json

LINK = '<a href="/canaries/support/label">/canaries/support/label</a>'
HOSTILE = "<script>alert(1)</script>"
DAY = JudgeDay(judged=83, wanted=200, kind="pair", spent_usd=1.2)
PAUSED = {
    "provider": "anthropic",
    "model": "claude-opus-5",
    "state": "paused",
    "reason": "budget",
    "because": "no room for another call in $5.00",
    "until": 1_800_000_000.0,
    "daily_budget_usd": 5.0,
}


def _pair(first: str, second: str, result: Any, reason: str = "It names the rule.") -> JudgedExchange:
    calls = tuple(
        JudgeCall(turn=turn, state="answered", said=said, reason=reason, reserved_usd=0.1, cost_usd=0.1)
        for turn, said in ((1, first), (2, second))
    )
    return JudgedExchange(
        exchange_id="e1",
        canary="trial",
        run=1,
        kind="pair",
        unit="u",
        category="refund",
        at=1.0,
        asked_at=2.0,
        judge="anthropic/claude-opus-5",
        words_sha256="0" * 64,
        result=result,
        calls=calls,
    )


@pytest.mark.parametrize(
    ("judged", "says"),
    [
        (_pair("B", "A", "candidate"), "the candidate’s answer is better"),
        (_pair("A", "B", "baseline"), "the baseline’s answer is better"),
        (_pair("SAME", "SAME", "tie"), "neither answer is better"),
        (_pair("A", "A", "tie"), "neither: it took the same place in both orders"),
        (_pair("A", "", "no_mark"), "no readable judgement"),
        (replace(_pair("", "", ""), calls=()), "being judged"),
        (
            replace(_pair("4", "", "mark"), kind="answer", arm="candidate", mark=4.0),
            "4 of 5 for the candidate’s answer",
        ),
    ],
)
def test_what_a_judge_says_of_a_pair_is_told_by_arm(judged: JudgedExchange, says: str) -> None:
    assert view(judged).says == says


def test_each_order_says_whose_answer_its_letters_are() -> None:
    reasons = view(_pair("A", "B", "baseline")).reasons
    assert [letters for _, letters in reasons] == ["A: baseline, B: candidate", "A: candidate, B: baseline"]


def test_an_expired_reason_is_left_out() -> None:
    assert view(_pair("A", "B", "baseline", reason="")).reasons == ()


def _page(template: str, **values: Any) -> str:
    return " ".join(
        Templates()
        .text(template, {"form_token": "", "person": Person(role="operator"), "now": 0.0, **values})
        .split()
    )


def _of_canary(judge: JudgeFigures | None, day: JudgeDay | None, status: Any = None) -> str:
    return _page("judge.html", canary={"name": "support"}, judge=judge, day=day, status=status)


def test_the_canary_s_page_has_the_preference_the_day_and_its_cost() -> None:
    page = _of_canary(FULL, DAY, {**PAUSED, "state": "judging", "reason": ""})
    assert "preferred the candidate’s in 54 % (49 % to 59 %)" in page
    assert "People agree with the judge on 81 %" in page
    assert "83 of 200 pairs</dd>" in page
    assert "$1.20 of $5.00" in page
    assert 'href="/canaries/support/label"' in page
    assert "paused" not in page


def test_a_paused_judge_says_why_and_until_when() -> None:
    page = _of_canary(FULL, DAY, {**PAUSED, "because": HOSTILE})
    assert 'The judge is paused (budget)</b> until <time datetime="2027-01-15T08:00:00Z">' in page
    assert HOSTILE not in page


def test_before_the_first_judgement_the_page_says_what_it_takes() -> None:
    page = _of_canary(None, replace(DAY, judged=0, spent_usd=0.0))
    assert "No answer has been judged yet" in page
    assert "0 of 200 pairs" in page


@pytest.mark.parametrize(
    ("judge", "says"),
    [(replace(FEW, agreement=NO_LABELS), f"Label 30 pairs at {LINK}."), (FEW, f"Label more at {LINK}.")],
)
def test_where_to_label_is_a_link_on_the_pages_of_a_canary(judge: JudgeFigures, says: str) -> None:
    assert says in _of_canary(judge, DAY)
    assert says in _report(judge)


def test_more_than_the_day_s_number_says_that_those_by_hand_are_counted() -> None:
    assert "202 of 200 pairs (by hand too)</dd>" in _of_canary(FULL, replace(DAY, judged=202))


def test_where_sessions_are_marked_nobody_is_asked_to_label_pairs() -> None:
    assert "Label pairs" in _of_canary(FULL, DAY)
    assert "Label pairs" not in _of_canary(None, replace(DAY, kind="session"))


def test_single_answers_are_counted_as_such() -> None:
    page = _of_canary(MARKS, replace(DAY, kind="answer"))
    assert "83 of 200 answers" in page
    assert "marked by the judge from 1 to 5" in page


def test_without_a_judge_there_is_nothing() -> None:
    assert _of_canary(None, None) == ""


def test_the_figures_are_read_from_a_report_s_document() -> None:
    report = an_evaluation().report
    assert figures_in(to_json(replace(report, judge=FULL), sentences)) == FULL
    assert figures_in(to_json(report, sentences)) is None
    assert figures_in(None) is None


def test_a_past_canary_s_page_has_what_is_stored_of_its_judge() -> None:
    past = past_view(
        PastCanary(
            name="gone",
            run=1,
            was="running",
            share=0.1,
            ending="ended",
            by=None,
            left_at=1.0,
            release=None,
            rolled_back=(),
        )
    )
    stored = replace(FULL, lost=tuple(replace(each, reason="") for each in FULL.lost))
    page = _page("past.html", past=past, audit=[], charts=None, captured_at=None, judge=stored)
    assert "preferred the candidate’s in 54 %" in page
    assert FULL.lost[0].exchange_id in page
    assert "judge: “" not in page
    assert 'href="/canaries/gone/label"' not in _page(
        "past.html", past=past, audit=[], charts=None, captured_at=None, judge=FEW
    )
    assert "Which answer" not in _page(
        "past.html", past=past, audit=[], charts=None, captured_at=None, judge=None
    )


def _report(judge: JudgeFigures) -> str:
    return _page(
        "verdict.html",
        canary={"name": "support"},
        whole=replace(an_evaluation().report, judge=judge),
        reasons=(),
        prose=verdict,
        plan_lines=plan,
        known_of_answers=known_of_answers,
        title=title,
        bound_words=bound_words,
    )


def test_the_report_s_page_has_the_whole_of_it() -> None:
    page = _report(FULL)
    assert page.count('class="preference"') == 3
    assert "What this is worth" in page
    assert "judge: “A is complete.” (A: current model, B: candidate)" in page


@pytest.mark.parametrize(("judge", "column"), [(FULL, True), (None, False)])
def test_the_archive_has_a_column_once_a_judge_said_something(
    judge: JudgeFigures | None, column: bool
) -> None:
    one = an_evaluation()
    found = trends([replace(one, report=replace(one.report, judge=judge))])
    page = _page("archive.html", found=found, trend_words=trend_words, names=set())
    assert ("Preferred by a judge" in page) is column
    assert ("54 %<span" in page) is column
