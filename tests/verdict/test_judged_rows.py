"""Rows of the rubric on what people prefer: open until enough labels count, then judged as any other."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from canary.config import parse
from judge.judgements import JudgedExchange
from pages.reports.report import rendered
from pages.status.standing import standing
from pages.status.verdict_so_far import verdict_so_far
from pages.words.gains import layers
from pages.words.plan import chance_cell, next_steps, row_outlook
from pages.words.reasons import sentences
from pages.words.verdict import evidence, mark, meaning
from records.facts.metric import parse_bound
from records.store.captures import Label, Right
from tests.console.test_standing import canary as running
from tests.verdict.judged import answer, drawn, label, pair, sample_of
from tests.verdict.planned import as_told
from verdict.archive.evaluations import Evaluation, to_document
from verdict.decision.document import Report, from_json, to_json, without_reasons
from verdict.decision.verdict import build
from verdict.sample.judged import judged_sample
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.plan import DAY_S
from verdict.terms.rubric import Criterion

ROW = Criterion(
    metric="judged_preference",
    acceptable=parse_bound(">= 45%"),
    ideal=parse_bound(">= 60%"),
    weight=1,
    question="?",
)
MARKS = replace(
    ROW, metric="judged_mark", acceptable=parse_bound(">= baseline - 0.5"), ideal=parse_bound(">= baseline")
)
ERRORS = replace(ROW, metric="error_rate", acceptable=parse_bound("< 5%"), ideal=parse_bound("< 1%"))
PLANS = [0, 3]
WON, LOST = (1.0, 1.0, 1.0, 0.5), (0.0, 0.0, 0.0, 0.5)
NEAR = (1.0, 0.0) * 9 + (0.0,)


def _pairs(results: Sequence[float], count: int = 400) -> list[JudgedExchange]:
    """Pairs of as many users, over the first four days."""
    return [
        pair(number, results[number % len(results)], unit=f"u{number}", category="refund", at=number * 800.0)
        for number in range(count)
    ]


def _labels(pairs: Sequence[JudgedExchange], count: int, wrong: int = 0) -> list[Label]:
    """People's labels of pairs drawn at random, as the judge's but for every `wrong`-th. They were given
    before the judge was asked."""
    right = {"candidate": "candidate", "baseline": "baseline", "tie": "both"}
    turned = {"candidate": "baseline", "baseline": "candidate", "tie": "baseline"}
    return [
        replace(
            label(0, (turned if wrong and number % wrong == 0 else right)[each.result], at=0.0),  # type: ignore[arg-type]
            exchange_id=each.exchange_id,
        )
        for number, each in enumerate(drawn(pairs, count))
    ]


def _report(
    pairs: Sequence[JudgedExchange], labels: Sequence[Label], planned: int = 0, row: Criterion = ROW
) -> Report:
    sample = sample_of(pairs, {"refund": 1000}, labels)
    canary = JudgedCanary(
        name="c", criteria=[row], minimum_days=1, planned_days=planned, shares={0: 0.5},
        critical_categories=frozenset({"refund"}),
    )  # fmt: skip
    hours = np.arange(0, 4 * 24) * 3600.0
    return build(replace(sample, candidate_at=hours), canary, now=4.5 * DAY_S)


@pytest.mark.parametrize("planned", PLANS)
@pytest.mark.parametrize(("results", "state"), [(WON, "IDEAL"), (NEAR, "INCONCLUSIVE"), (LOST, "FAIL")])
def test_with_labels_that_agree_a_row_is_judged(planned: int, results: Sequence[float], state: str) -> None:
    pairs = _pairs(results)
    report = _report(pairs, _labels(pairs, 80), planned)
    (row,) = report.metrics
    assert row.state == state
    assert report.details.unlabelled == ()
    assert (row.look is None) == (planned == 0)
    if row.look is not None and state == "IDEAL":
        assert row.look.p is not None
        assert row.look.p <= row.look.risk
    assert report.categories == ()
    assert not any("critical" in reason.lower() for reason in sentences(report))


@pytest.mark.parametrize("planned", PLANS)
@pytest.mark.parametrize("results", [WON, LOST])
def test_without_them_it_is_open_and_says_why(planned: int, results: Sequence[float]) -> None:
    labels, wrong = 12, 0
    said = "waits for labels: 12 of 50 of randomly drawn pairs. Traffic alone will not do: label"
    chip, why = "Labels missing", "labels are missing"
    step = "labels of randomly drawn pairs (12 of 50 so far); traffic"
    pairs = _pairs(results)
    report = _report(pairs, _labels(pairs, labels, wrong), planned)
    (row,) = report.metrics
    assert (report.verdict, row.state) == ("extend", "INCONCLUSIVE")
    assert said in sentences(report)[0]
    assert report.details.unlabelled == ("judged_preference",)
    assert (row.mde, row.units_needed, row.days_needed) == (None, None, None)
    assert (report.score.low, report.score.estimate, report.score.high) == (0.0, None, 100.0)
    if planned:
        assert row.look is not None
        look = row.look
        assert (look.low, look.high, look.p, look.boundary, look.chance) == (None, None, None, None, None)
        assert "no look passes it before" in row_outlook(row, report)
    assert chance_cell(row, report) == chip.lower()
    assert mark(row, report)[1] == chip
    assert evidence(row, report).startswith("400 users with a judged pair; people’s")
    assert why in evidence(row, report)
    assert any(step in each for each in next_steps(report))
    assert report.judge is not None
    assert report.judge.judged_preference is not None


@pytest.mark.parametrize("planned", PLANS)
def test_a_judge_who_never_prefers_the_candidate_is_told_first_and_is_never_green(planned: int) -> None:
    report = _report(_pairs((0.0,), 200), [], planned)
    assert report.verdict == "extend"
    assert sentences(report)[0].startswith(
        "The judge prefers the current model's answer in 200 of 200 pairs: the candidate's share of 0 % (0 % "
        "to 3 %) is entirely below “>= 45%”. People’s preference waits for labels: 0 of 50"
    )
    assert meaning(report).startswith("The judge prefers the current model’s answers.")
    assert "No criterion has failed" not in rendered(report, "markdown")
    assert mark(report.metrics[0], report)[0] == "✗"
    assert next(layer for layer in layers(report) if layer.kind == "judge").tone == "FAIL"
    shown = verdict_so_far(to_json(without_reasons(report), sentences))
    assert shown.tone == "warn"
    assert standing(running(), shown.tone).tone == "warn"


@pytest.mark.parametrize("planned", PLANS)
@pytest.mark.parametrize("results", [(0.0,), (0.0, 1.0, 0.5), (1.0,)])
@pytest.mark.parametrize(("right", "value"), [("baseline", 0.0), ("candidate", 1.0), ("both", 0.5)])
def test_54_labels_that_are_all_alike_have_an_interval_with_a_width(
    planned: int, results: Sequence[float], right: Right, value: float
) -> None:
    """Clopper and Pearson give 0 of 54 up to 6.6 %, at one look; this one may be read at any time."""
    pairs = _pairs(results, 200)
    labels = [replace(each, right=right) for each in _labels(pairs, 54)]
    report = _report(pairs, labels, planned)
    (row,) = report.metrics
    low, high = row.candidate_interval
    assert (row.candidate, low is not None, high is not None) == (pytest.approx(value, abs=0.01), True, True)
    assert 0.0 <= min(low or 0.0, row.candidate or 0.0) <= max(high or 0.0, row.candidate or 0.0) <= 1.0
    assert (high or 0.0) - (low or 0.0) >= 0.066
    assert report.judge is not None
    people = report.judge.people_prefer
    assert people is not None
    assert (people.low, people.high) == (low, high)
    if row.look is not None:
        assert row.look.low is not None
        assert row.look.high is not None
        assert row.look.high - row.look.low >= 0.066


@pytest.mark.parametrize("results", [(0.0, 1.0), (0.0, 1.0, 0.5), (1.0,)])
def test_a_judge_whose_interval_has_the_bound_is_no_sign_against_the_candidate(
    results: Sequence[float],
) -> None:
    report = _report(_pairs(results, 200), [])
    assert (report.verdict, report.details.judged_worse) == ("extend", ())
    assert sentences(report)[0].startswith("People’s preference waits for labels")
    assert mark(report.metrics[0], report)[0] == "?"


@pytest.mark.parametrize("planned", PLANS)
def test_people_decide_whatever_the_judge_prefers(planned: int) -> None:
    """The judge takes the candidate always; people take the baseline in two of three labelled pairs."""
    pairs = _pairs((1.0,))
    labels = _labels(pairs, 240)
    people = [replace(each, right="candidate" if n % 3 == 0 else "baseline") for n, each in enumerate(labels)]
    report = _report(pairs, people, planned)
    (row,) = report.metrics
    assert row.candidate == pytest.approx(1 / 3)
    assert (row.state, report.verdict) == ("FAIL", "dont_ship")
    assert report.judge is not None and report.judge.judged_preference is not None
    assert report.judge.judged_preference.estimate == 1.0
    assert report.judge.people_prefer is not None
    assert report.judge.people_prefer.estimate == pytest.approx(1 / 3)


def test_labels_out_of_turn_wait_and_disagreements_count_for_nothing() -> None:
    pairs = _pairs(NEAR)
    labels = _labels(pairs, 80)
    for left in (labels[:60] + labels[61:], [replace(labels[60], chosen="disagreement"), *labels[:60]]):
        judge = _report(pairs, left).judge
        assert judge is not None
        assert judge.drawn == 60
    unclear = _report(pairs, [*labels[:60], replace(labels[60], right="unclear"), *labels[61:]]).judge
    assert unclear is not None
    assert unclear.drawn == 79


def test_a_category_that_nobody_labelled_is_taken_to_be_like_the_others() -> None:
    pairs = _pairs(NEAR)
    labels = _labels(pairs, 80)
    new = [
        replace(pair(900 + n, 1.0, unit=f"new{n}"), category="refund or not", asked_at=-1.0) for n in range(9)
    ]
    sample = sample_of([*pairs, *new], {"refund": 900, "refund or not": 100}, labels)
    seen = judged_sample(sample, "judged_preference")
    assert (seen.labels, len(seen.unit)) == (80, 409)


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (1, "The config asks for 1 day of traffic (`minimum_days`); a real decision needs at least 2"),
        (2, "The config asks for 2 days of traffic (`minimum_days`); weekdays differ."),
    ],
)
def test_by_people_alone_two_days_are_a_real_decision(days: int, said: str) -> None:
    pairs = _pairs(WON)
    sample = replace(
        sample_of(pairs, {"refund": 1000}, _labels(pairs, 80)), candidate_at=np.arange(0, 4 * 24) * 3600.0
    )
    canary = JudgedCanary(name="c", criteria=[ROW], minimum_days=days, shares={0: 0.5})
    assert any(each.startswith(said) for each in sentences(build(sample, canary, now=4.5 * DAY_S)))


def test_the_labels_still_needed_are_told() -> None:
    pairs = _pairs((1.0, 0.0))
    report = _report(pairs, _labels(pairs, 60, 3), 0)
    assert report.judge is not None and report.judge.labels_to_go is not None
    text = rendered(report, "text")
    assert f"About {report.judge.labels_to_go} more labels would decide it." in " ".join(text.split())


@pytest.mark.parametrize("planned", PLANS)
def test_too_few_pairs_are_no_data(planned: int) -> None:
    pairs = _pairs(WON, 60)
    report = _report(pairs, _labels(pairs, 40), planned)
    (row,) = report.metrics
    assert (report.verdict, row.state) == ("extend", "NODATA")
    assert sentences(report)[:2] == (
        "People’s preference has too few users: 60 users have a judged pair, and 100 are required.",
        "People’s preference waits for labels: 40 of 50 of randomly drawn pairs. Label pairs on the page.",
    )
    assert evidence(row, report) == (
        "60 users with a judged pair, of 100 required; people’s labels are missing"
    )
    (step,) = [each for each in next_steps(report) if each.startswith("People’s")]
    assert step == (
        "People’s preference: users with a judged pair (60 of 100 so far), and people’s labels of randomly "
        "drawn pairs (40 of 50 so far)."
    )


@pytest.mark.parametrize("form", ["html", "markdown", "text"])
@pytest.mark.parametrize("planned", PLANS)
@pytest.mark.parametrize(("count", "labels"), [(60, 0), (60, 55), (400, 60)])
def test_a_row_on_pairs_is_never_told_in_candidate_users_or_shares(
    planned: int, count: int, labels: int, form: str
) -> None:
    pairs = _pairs(NEAR, count)
    text = " ".join(rendered(_report(pairs, _labels(pairs, labels), planned), form).split())
    told = text.replace("No interval is given before 100 candidate users have a value.", "")
    assert "candidate user" not in told
    assert "larger share" not in told


@pytest.mark.parametrize("form", ["html", "markdown", "text"])
def test_the_labels_asked_for_are_those_that_the_row_needs(form: str) -> None:
    with_row, without = (
        " ".join(rendered(_report(_pairs(WON), [], row=row), form).split()) for row in (ROW, ERRORS)
    )
    assert "Label 50 pairs at" in with_row
    assert "Label 30 pairs" not in with_row
    assert "Label 30 pairs at" in without


@pytest.mark.parametrize("planned", PLANS)
def test_marks_are_shown_and_decide_nothing(planned: int) -> None:
    answers = [
        answer(number, 5.0 - number % 3, arm=("baseline", "candidate")[number % 2], unit=f"u{number}",
               category="refund")
        for number in range(600)
    ]  # fmt: skip
    report = _report(answers, [], planned, MARKS)
    (row,) = report.metrics
    assert row.state == "INCONCLUSIVE"
    assert "Mark by the judge is shown but decides nothing" in sentences(report)[0]
    assert "use `mirror` and `judge: {pairs: …}`, with a row on judged_preference." in sentences(report)[0]
    assert chance_cell(row, report) == "decides nothing"
    assert mark(row, report)[1] == "Decides nothing"
    assert evidence(row, report) == "300 candidate users with a value; marks decide nothing"
    assert not planned or row_outlook(row, report).endswith("marks decide nothing.")
    assert report.judge is not None
    assert report.judge.marks is not None
    assert report.judge.marks.difference is not None


@pytest.mark.parametrize("form", ["html", "markdown", "text"])
@pytest.mark.parametrize("planned", PLANS)
@pytest.mark.parametrize("count", [60, 600])
def test_of_a_row_on_marks_no_labels_and_no_users_are_asked_for(planned: int, count: int, form: str) -> None:
    arms: tuple[Literal["baseline", "candidate"], ...] = ("baseline", "candidate")
    answers = [
        answer(number, 5.0 - number % 3, arm=arms[number % 2], unit=f"u{number}", category="refund")
        for number in range(count)
    ]
    report = _report(answers, [], planned, MARKS)
    (step,) = [each for each in next_steps(report) if each.startswith("Mark")]
    assert step == (
        "Mark by the judge: use `mirror` and `judge: {pairs: …}`, with a row on judged_preference."
    )
    text = " ".join(rendered(report, form).split())
    for untrue in ("Label ", "abels missing", "labels are missing", "labels that bear", "has too few users"):
        assert untrue not in text
    assert "people label pairs of answers, not single ones" in text


def test_the_judges_figures_are_in_the_document_and_come_back() -> None:
    pairs = _pairs(LOST)
    report = _report(pairs, _labels(pairs, 50))
    document = to_json(report, sentences)
    judge = document["judge"]
    assert set(judge["judged_preference"]) == {"low", "estimate", "high"}
    assert judge["categories"][0]["value"] == "refund"
    assert judge["agreement"]["labels"] == 50
    assert judge["lost"][0]["reason"] == "turn 1"
    assert from_json(document) == as_told(report)


def test_reports_without_a_judge_have_no_such_key() -> None:
    report = _report([], [])
    document = to_json(report, sentences)
    assert report.judge is None
    assert "judge" not in document
    assert from_json(document) == as_told(report)


def test_what_is_stored_longer_than_the_texts_has_no_reasons() -> None:
    report = _report(_pairs(LOST), [])
    assert report.judge is not None
    judge = without_reasons(report).judge
    assert judge is not None
    assert [each.reason for each in judge.lost] == [""] * 5
    assert [each.exchange_id for each in judge.lost] == [each.exchange_id for each in report.judge.lost]
    stored = to_document(
        Evaluation(
            canary="c", run=1, at=0.0, event="ended", who="jane", reason="r", baseline=None, candidate=None,
            report=report,
        ),
        sentences,
    )  # fmt: skip
    assert {each["reason"] for each in stored["report"]["judge"]["lost"]} == {""}


MARKED = """\
providers: {openai: {api: openai, base_url: "http://127.0.0.1:1/v1"}}
judge: {provider: openai, model: o3, daily_budget: 5.00}
canaries:
  - name: c
    match: {models: [gpt-4o]}
    baseline: {provider: openai, model: gpt-4o}
    candidate: {provider: openai, model: gpt-5}
    share: 50%
    capture: {rate: 10%}
    judge: {answers: 200}
    rubric:
      - {metric: judged_mark, acceptable: ">= baseline - 0.5", ideal: ">= baseline", weight: 1, question: "?"}
"""


def test_a_row_on_marks_is_warned_of_before_the_start() -> None:
    said = [each for each in parse(MARKED, "canary.yaml", {}).warnings if "judged" in each]
    assert len(said) == 1
    assert "is never decided, so no verdict says ship while the rubric has this row" in said[0]
