"""The rubric's rows on a benchmark: hand-computed intervals, what each state does, and what never passes."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from bench.answers.results import ExampleResult
from bench.benchmark.comparison import Comparison, DatasetResult, compared, measured
from bench.benchmark.rubric import RunConditions
from bench.models.asker import Answer
from bench.settings import NO_TERMS, BenchRubric, DatasetSource, Layer, RubricRow
from pages.reports.bench import Circumstances, to_document
from pages.reports.bench_text import rendered
from pages.words.bench import caveat
from records.facts.metric import parse_bound
from tests.bench.examples import dataset_of, reasons

ABOUT = Circumstances(
    baseline="o/old", candidate="o/new", at="2026-11-25T12:00:00Z", owner="ann", via="direct", stages={}
)


def row(metric: str, acceptable: str, ideal: str) -> RubricRow:
    return RubricRow(metric=metric, acceptable=parse_bound(acceptable), ideal=parse_bound(ideal))


def given(
    n: int,
    *,
    old: Sequence[dict[str, Any]] = ({},),
    new: Sequence[dict[str, Any]] = ({},),
    layer: Layer = "real",
    expected: Sequence[str] = ("fine",),
    name: str = "d",
    category: str = "",
    terms: BenchRubric = NO_TERMS,
) -> DatasetResult:
    """A dataset of `n` examples to classify. Each list of answers and of classes repeats."""
    lines = [
        {
            "task": "classify",
            "choices": ["harm", "fine"],
            "expected": expected[place % len(expected)],
            "category": category,
        }
        for place in range(n)
    ]
    dataset = dataset_of(*lines)
    results = [
        [_result(example, answers[place % len(answers)]) for place, example in enumerate(dataset.examples)]
        for answers in (old, new)
    ]
    source = DatasetSource(name=name, file="d.jsonl", layer=layer)
    return measured(source, dataset, results, terms=terms)


def _result(example: Any, answer: dict[str, Any]) -> ExampleResult:
    given = {"text": example.expected, "latency_s": 1.0, "cost_usd": 0.01, **answer}
    took_s = given.pop("took_s", given["latency_s"])
    right = given["text"] == example.expected
    return ExampleResult(
        example=example, answer=Answer(**given), score=float(right), right=right, took_s=took_s
    )


def judged(rows: Sequence[RubricRow], *datasets: DatasetResult, **fields: Any) -> Comparison:
    return compared(datasets, terms=BenchRubric(rows=tuple(rows)), **fields)


def only(found: Comparison) -> dict[str, Any]:
    (one,) = json.loads(json.dumps(to_document(found, ABOUT), allow_nan=False))["rubric"]
    return dict(one)


def wrong(count: int, of: int) -> list[dict[str, Any]]:
    """Answers that say `fine` for the first `count` of `of` examples, else what is right."""
    return [{"text": "fine"}] * count + [{}] * (of - count)


def test_98_of_100_caught_may_be_93_so_it_does_not_pass_98_percent() -> None:
    found = judged(
        [row("recall:harm", ">= 98%", ">= 99%")],
        given(100, expected=["harm"], old=wrong(2, 100), new=wrong(2, 100)),
    )
    assert found.verdict == "extend"
    told = only(found)
    assert (told["state"], told["candidate"], told["layer"]) == ("INCONCLUSIVE", 0.98, "real")
    assert told["interval"] == pytest.approx([0.9300, 0.9945], abs=1e-4)
    assert (
        told["says"]
        == 'recall:harm 98.0 % (93.0 to 99.4) is not clearly within ">= 98%"'
        == reasons(found)[-1][8:]
    )


@pytest.mark.parametrize(
    ("missed", "state", "verdict"),
    [(0, "PASS", "ship"), (4, "INCONCLUSIVE", "extend"), (20, "FAIL", "dont_ship")],
)
def test_the_whole_interval_decides(missed: int, state: str, verdict: str) -> None:
    answers = wrong(missed, 200)
    found = judged(
        [row("recall:harm", ">= 98%", ">= 99.9%")], given(200, expected=["harm"], old=answers, new=answers)
    )
    assert (only(found)["state"], found.verdict) == (state, verdict)


def test_precision_and_false_positives_of_a_class_by_hand() -> None:
    """Of 100 harmful examples 90 are caught, and 5 of 100 fine ones are flagged: 90/95 and 5/100."""
    new = [{"text": "fine"}, {"text": "harm"}] * 5 + [{"text": "fine"}, {}] * 5 + [{}, {}] * 90
    rows = [row("precision:harm", ">= 80%", ">= 99%"), row("false_positive_rate:harm", "<= 15%", "<= 1%")]
    found = judged(rows, given(200, expected=["harm", "fine"], new=new))
    precision, positives = to_document(found, ABOUT)["rubric"]
    assert precision["candidate"] == pytest.approx(90 / 95)
    assert positives["candidate"] == pytest.approx(0.05)
    assert positives["interval"] == pytest.approx([0.0215, 0.1118], abs=1e-4)
    assert (precision["state"], positives["state"]) == ("PASS", "PASS")
    assert precision["against"]["kind"] == "difference"


def test_a_class_without_an_example_is_not_a_pass() -> None:
    found = judged([row("recall:spam", ">= 98%", ">= 99%")], given(100))
    assert (found.verdict, only(found)["state"]) == ("extend", "NODATA")
    assert 'recall:spam ">= 98%" cannot be judged: no example has the class spam' in reasons(found)[0]


def test_ten_times_the_cost_and_twice_the_latency_do_not_ship() -> None:
    rows = [
        row("cost_per_request", "<= 1.2x baseline", "<= 1x baseline"),
        row("latency_p95", "<= 1.2x baseline", "<= 1x baseline"),
    ]
    found = judged(rows, given(100, new=[{"cost_usd": 0.1, "latency_s": 6.7}]))
    assert found.verdict == "dont_ship"
    cost, latency = to_document(found, ABOUT)["rubric"]
    assert cost["against"] == pytest.approx({"kind": "ratio", "low": 10, "estimate": 10, "high": 10})
    assert (cost["state"], latency["state"]) == ("FAIL", "FAIL")
    assert latency["says"] == (
        "latency_p95 6.7 s (6.7 to 6.7), 6.7 times (6.7 to 6.7) the current model's 1 s, misses "
        '"<= 1.2x baseline"'
    )


def test_without_a_rubric_they_stand_beside_the_verdict() -> None:
    found = compared([given(100, new=[{"cost_usd": 0.1, "latency_s": 6.7}])])
    assert found.verdict == "ship"
    document = {**to_document(found, ABOUT), "issues": None, "canary": None, "family": None, "forecast": None}
    first, cost, latency = rendered(document).splitlines()[:3]
    assert "no worse answers on these examples, but" in first
    assert cost.strip() == "• but: costs 10 times (10 to 10) as much as the current model"
    assert latency.strip() == "• but: takes 6.7 times (6.7 to 6.7) as long as the current model at p95"


def test_a_ratio_that_may_be_below_a_half_more_is_not_named() -> None:
    assert compared([given(100, new=[{"cost_usd": 0.014}])]).caveats == ()


def test_a_cost_without_a_price_never_passes_and_says_whose() -> None:
    absolute = [row("cost_per_request", "< 0.12", "< 0.06")]
    found = judged(absolute, given(100, new=[{"cost_usd": None}]))
    assert found.verdict == "extend"
    assert only(found)["says"].endswith("cannot be judged: the candidate has no known price")
    assert judged(absolute, given(100, old=[{"cost_usd": None}])).verdict == "ship"
    relative = [row("cost_per_request", "<= 1.2x baseline", "<= 1x baseline")]
    found = judged(relative, given(100, old=[{"cost_usd": None}]))
    assert found.verdict == "extend"
    assert only(found)["says"].endswith("the current model has no known price")


def test_a_cost_of_which_some_answers_are_unknown_does_not_pass() -> None:
    new = [{"cost_usd": None}] * 2 + [{}] * 98
    found = judged([row("cost_per_request", "< 0.12", "< 0.06")], given(100, new=new))
    assert (found.verdict, only(found)["state"]) == ("extend", "INCONCLUSIVE")
    assert only(found)["says"].endswith("2 of 100 answers of the candidate have no known cost")


def test_a_total_cost_is_judged_against_the_current_model_only() -> None:
    found = judged([row("cost_total", "< 5", "< 1")], given(100))
    assert (found.verdict, only(found)["state"], only(found)["decides"]) == ("ship", "NODATA", False)
    relative = [row("cost_total", "<= 1.2x baseline", "<= 1x baseline")]
    assert judged(relative, given(100, new=[{"cost_usd": 0.1}])).verdict == "dont_ship"
    assert judged([row("cost_total", "< 5", "< 1")], given(100, new=[{"cost_usd": None}])).verdict == "extend"


def test_a_percentile_needs_examples_beyond_it() -> None:
    """The largest of n answers is above the p99 with 97.5 % confidence from n = 368 on: .99^368 = .0248."""
    rows = [row("latency_p99", "< 2s", "< 1.1s")]
    found = judged(rows, given(367))
    assert (found.verdict, only(found)["state"]) == ("extend", "INCONCLUSIVE")
    assert only(found)["says"].endswith("p99 needs 368 independent timed answers, and has 367")
    assert judged(rows, given(368)).verdict == "ship"
    assert only(judged(rows, given(368)))["state"] == "IDEAL"


def test_a_saved_answers_latency_never_counts() -> None:
    rows = [row("latency_p50", "< 2s", "< 1.5s")]
    found = judged(rows, given(100, new=[{"latency_s": None, "took_s": None}]))
    assert (found.verdict, only(found)["state"]) == ("extend", "NODATA")
    assert "p50 needs 6 independent timed answers, and has 0" in only(found)["says"]


def test_throughput_is_told_with_the_concurrency_it_depends_on() -> None:
    """An answer takes .4 s of the run: 9,000 an hour with four at once; 10,000 would take five."""
    rows = [row("throughput", ">= 10000", ">= 20000")]
    found = judged(rows, given(100, new=[{"took_s": 0.4}]), conditions=RunConditions(at_once=4))
    assert (found.verdict, only(found)["candidate"]) == ("dont_ship", pytest.approx(9000))
    assert only(found)["says"] == (
        'throughput 9,000 an hour (9,000 to 9,000) with --at-once 4 misses ">= 10000"; '
        "at this latency it would take --at-once 5"
    )
    assert (
        judged(rows, given(100, new=[{"took_s": 0.3}]), conditions=RunConditions(at_once=4)).verdict == "ship"
    )


def test_tokens_and_an_offset_in_seconds() -> None:
    used = {"input_tokens": 100, "output_tokens": 20}
    rows = [row("tokens", "<= 150", "<= 100"), row("latency_p95", "<= baseline + 0.5s", "<= baseline")]
    found = judged(rows, given(100, old=[used], new=[{**used, "latency_s": 1.2}]))
    tokens, latency = to_document(found, ABOUT)["rubric"]
    assert (tokens["candidate"], tokens["state"], latency["state"]) == (120, "PASS", "PASS")
    assert judged(rows[:1], given(100)).verdict == "extend"


def test_completion_is_judged_in_points_or_as_a_factor() -> None:
    old, new = wrong(5, 100), wrong(25, 100)
    datasets = given(100, expected=["harm"], old=old, new=new)
    for acceptable, ideal in ((">= baseline - 5pp", ">= baseline"), (">= 0.9x baseline", ">= 1x baseline")):
        found = judged([row("task_completed", acceptable, ideal)], datasets)
        assert only(found)["state"] == "FAIL"
        assert only(found)["against"]["estimate"] == pytest.approx(-0.2)
    same = given(100, expected=["harm"], old=old, new=old)
    assert (
        only(judged([row("task_completed", ">= 0.9x baseline", ">= 1x baseline")], same))["state"] == "PASS"
    )


def test_rows_are_judged_on_the_examples_from_users_where_they_can_be() -> None:
    synthetic = given(100, expected=["harm", "fine"], layer="synthetic", name="s")
    real = given(100, new=[{"text": "harm"}] * 40 + [{}] * 60, old=[{"text": "harm"}] * 40 + [{}] * 60)
    rows = [row("task_completed", ">= 85%", ">= 90%"), row("recall:harm", ">= 90%", ">= 99%")]
    completed, recall = to_document(judged(rows, synthetic, real), ABOUT)["rubric"]
    assert (completed["layer"], completed["state"]) == ("real", "FAIL")
    assert (recall["layer"], recall["state"]) == ("synthetic", "PASS")


def test_the_margin_is_the_rubrics_where_it_names_one() -> None:
    """Two of 200 pairs differ each way; with a pair added each way: ±1.96·√(6/202)/√202 = ±2.4 points."""
    old, new = wrong(2, 200), [{}] * 2 + wrong(2, 198)
    terms = BenchRubric(rows=(row("task_completed", ">= baseline - 2pp", ">= baseline"),))
    within = given(200, expected=["harm"], old=old, new=new)
    assert compared([within]).verdict == "ship"
    found = compared([given(200, expected=["harm"], old=old, new=new, terms=terms)], terms=terms)
    assert found.verdict == "extend"
    assert reasons(found)[0] == (
        "d: +0.0 points against the current model; −2.4 is not ruled out (limit −2.0)"
    )


def test_a_critical_category_of_the_config_is_critical() -> None:
    terms = BenchRubric(critical=frozenset({"refund", "fraud"}))
    found = compared([given(39, category="refund", terms=terms)], terms=terms)
    assert any("critical category refund: 39 examples: below 40" in each for each in reasons(found))
    assert tuple(map(caveat, found.caveats)) == ("no example is of the critical category fraud",)


def test_the_costs_of_a_batch_are_judged_at_list_price() -> None:
    """Half of $0.012 was paid: users would pay $0.012, which misses $0.010."""
    found = judged(
        [row("cost_per_request", "< 0.01", "< 0.005")],
        given(100, new=[{"cost_usd": 0.006}]),
        conditions=RunConditions(price_factor=0.5),
    )
    assert (only(found)["state"], only(found)["candidate"]) == ("FAIL", pytest.approx(0.012))
