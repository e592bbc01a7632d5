"""What two models' results come to: figures, categories, the verdict with its reasons."""

import json
from dataclasses import replace
from typing import Any

import pytest

from bench.answers.results import ExampleResult
from bench.benchmark.comparison import COLUMNS, Comparison, DatasetResult, compared, failures, measured
from bench.benchmark.figures import figures, side
from bench.dataset.sample import part_of
from bench.errors import NoAnswers
from bench.models.asker import Answer
from bench.settings import DatasetSource, Layer
from pages.reports.bench import Circumstances, to_document
from tests.bench.examples import dataset_of, reasons

FIGURES = {"examples", "correct", "completion", "interval", "p50_s", "p95_s", "p99_s", "cost_usd"}
ABOUT = Circumstances(
    baseline="o/old",
    candidate="o/new",
    at="2026-11-25T12:00:00Z",
    owner="ann",
    via="direct",
    stages={"d": 1.5},
)


def results(lines: list[dict[str, Any]], right: list[bool], **answer: Any) -> list[ExampleResult]:
    """One model's results: a right answer where it says so, a wrong one where not."""
    fields = {"text": "x", "latency_s": 1.0, "cost_usd": 0.01, **answer}
    return [
        ExampleResult(example=example, answer=Answer(**fields), score=float(ok), right=ok)
        for example, ok in zip(dataset_of(*lines).examples, right, strict=True)
    ]


def of(
    old: list[bool],
    new: list[bool],
    *,
    floor: float | None = None,
    layer: Layer = "synthetic",
    critical: int = 0,
    name: str = "d",
    **fields: Any,
) -> DatasetResult:
    """A dataset on which these are right; the first `critical` examples are of the critical category."""
    lines = [
        {
            "task": "exact",
            "expected": "x",
            "category": "fraud" if number < critical else "other",
            "critical": number < critical,
            **fields,
        }
        for number in range(len(old))
    ]
    source = DatasetSource(name=name, file="d.jsonl", layer=layer, floor=floor)
    return measured(source, dataset_of(*lines), [results(lines, old), results(lines, new)])


def told(*datasets: DatasetResult) -> Comparison:
    return compared(datasets)


def mix(right: int, n: int) -> list[bool]:
    return [True] * right + [False] * (n - right)


def test_a_model_that_is_as_good_on_enough_examples_ships() -> None:
    found = told(of(mix(95, 100), mix(95, 100)))
    assert (found.verdict, reasons(found)) == ("ship", ())


def test_a_model_that_is_worse_pair_by_pair_does_not() -> None:
    found = told(of(mix(95, 100), mix(85, 100)))
    assert found.verdict == "dont_ship"
    assert reasons(found) == ("d: −10.0 points against the current model (p = 0.002), 10 new failures",)


def test_a_model_that_may_be_five_points_worse_is_open() -> None:
    found = told(of(mix(95, 100), mix(92, 100)))
    assert found.verdict == "extend"
    assert "not ruled out" in reasons(found)[0]


def test_equally_wrong_is_not_equally_good() -> None:
    found = compared([of([False] * 200, [False] * 200)])
    assert found.verdict == "extend"
    assert reasons(found) == ("d: neither model got an example right: check the expected answers",)


def test_few_examples_never_ship_and_never_hide_a_loss() -> None:
    assert told(of(mix(49, 49), mix(49, 49))).verdict == "extend"
    assert told(of(mix(40, 49), mix(20, 49))).verdict == "dont_ship"


@pytest.mark.parametrize(
    ("right", "verdict"),
    [(98, "ship"), (90, "extend"), (80, "extend"), (70, "dont_ship")],
)
def test_with_a_floor_the_whole_interval_must_stand_above_it(right: int, verdict: str) -> None:
    assert told(of(mix(right, 100), mix(right, 100), floor=0.85)).verdict == verdict


def test_a_critical_category_blocks_though_all_together_are_well() -> None:
    old = [True] * 400
    new = [True] * 30 + [False] * 10 + [True] * 360
    found = of(old, new, floor=0.9, critical=40)
    fraud, other = found.categories
    assert (fraud.name, fraud.critical, fraud.blocks, other.blocks) == ("fraud", True, True, False)
    assert fraud.figures.candidate is not None
    assert fraud.figures.candidate.correct == 30
    assert told(found).verdict == "dont_ship"
    assert any(each.startswith("d, critical category fraud: ") for each in reasons(told(found)))


def test_a_critical_category_below_its_floor_by_chance_is_flagged_and_open() -> None:
    same = mix(33, 40) + [True] * 360
    found = of(same, same, floor=0.85, critical=40)
    assert (found.categories[0].flagged, found.categories[0].blocks) == (True, False)
    assert told(found).verdict == "extend"


def test_another_category_is_only_shown() -> None:
    new = [True] * 380 + [False] * 20
    lines = [{"task": "exact", "expected": "x", "category": "a" if n < 380 else "b"} for n in range(400)]
    source = DatasetSource(name="d", file="d.jsonl", layer="synthetic", floor=0.8)
    found = measured(source, dataset_of(*lines), [results(lines, new), results(lines, new)])
    assert [(each.flagged, each.blocks) for each in found.categories] == [(False, False), (True, False)]
    assert told(found).verdict == "ship"


def test_a_critical_category_of_too_few_says_so() -> None:
    found = told(of([True] * 100, [True] * 100, critical=39))
    assert found.verdict == "extend"
    assert "39 examples: below 40 a loss may go undetected; d.jsonl needs 40 of it" in reasons(found)[0]
    assert told(of([True] * 100, [True] * 100, critical=40)).verdict == "ship"


def test_layers_hold_their_datasets_and_the_worst_of_all_decides() -> None:
    found = told(
        of(mix(95, 100), mix(95, 100)),
        of(mix(95, 100), mix(80, 100), layer="real", name="users"),
        of(mix(50, 60), mix(50, 60), name="e"),
    )
    assert [(each.layer, len(each.datasets)) for each in found.layers] == [("synthetic", 2), ("real", 1)]
    assert found.layers[0].figures.examples == 160
    gap = to_document(found, ABOUT)["gap"]
    assert gap == pytest.approx({"baseline": 0.95 - 145 / 160, "candidate": 0.8 - 145 / 160})
    assert found.verdict == "dont_ship"
    assert reasons(found)[0].startswith("users: ")


def test_tags_are_told_apart_like_categories() -> None:
    found = of(mix(60, 60), mix(60, 60), tags={"kind": "edge"})
    assert [(each.name, each.figures.examples) for each in found.tags] == [("kind: edge", 60)]


def test_new_failures_are_those_that_the_current_model_got_right() -> None:
    lines = [{"task": "exact", "expected": "x"}] * 4
    old, new = results(lines, [True, True, False, False]), results(lines, [True, False, True, False])
    found = figures(list(zip(old, new, strict=True)))
    assert (found.new_failures, found.mended) == (("1",), ("2",))


def test_latency_leaves_out_kept_answers_and_failures_and_cost_what_is_unknown() -> None:
    lines = [{"task": "exact", "expected": "x"}] * 3
    kept = results(lines[:1], [True], latency_s=None)
    failed = results(lines[:1], [False], text=None, failure="provider_5xx", latency_s=9.0, cost_usd=None)
    timed = results(lines[:1], [True], latency_s=2.0)
    found = side([*kept, *failed, *timed])
    assert (found.timed, found.p50_s, found.p95_s) == (1, 2.0, 2.0)
    assert (found.priced, found.cost_usd, found.cost_per_request_usd) == (2, 0.02, 0.01)
    assert found.failures == {"provider_5xx": 1}
    assert side(kept).p95_s is None


def test_what_the_judge_gave_no_mark_is_in_no_figure_and_keeps_the_verdict_open() -> None:
    lines = [{"task": "judge", "expected": "x"} for _ in range(60)]
    old, new = results(lines, [True] * 60), results(lines, [True] * 60)
    new[0] = ExampleResult(example=new[0].example, answer=new[0].answer, score=None, right=False)
    found = measured(DatasetSource(name="d", file="d", layer="real"), dataset_of(*lines), [old, new])
    assert (found.figures.examples, found.figures.unjudged) == (59, 1)
    assert found.figures.new_failures == ()
    assert "1 examples got no mark from the judge" in reasons(told(found))[-1]


REFUSED = {"text": None, "failure": "caller_rejected", "status": 400, "said": "Unsupported: temperature"}


def test_a_candidate_that_refuses_the_datasets_parameters_fails_in_its_providers_words() -> None:
    lines = [{"task": "exact", "expected": "x", "parameters": {"temperature": 0}}] * 60
    source, dataset = DatasetSource(name="d", file="d", layer="real"), dataset_of(*lines)
    some = [*results(lines[:12], [False] * 12, **REFUSED), *results(lines, mix(60, 60))[12:]]
    for new, says, do in (
        (
            results(lines, [False] * 60, **REFUSED),
            "d: refuses every request; 60 times caller_rejected: ",
            "; to ask it otherwise, give its arm a `request:`",
        ),
        (
            some,
            "d: −20.0 points against the current model (p = 0.00049), 12 new failures; "
            "12 times caller_rejected: ",
            "",
        ),
    ):
        found = told(measured(source, dataset, [results(lines, mix(60, 60)), new]))
        assert found.verdict == "dont_ship"
        assert reasons(found) == (f"{says}Unsupported: temperature{do}",)


def test_a_current_model_that_refuses_every_request_is_an_error() -> None:
    lines = [{"task": "exact", "expected": "x", "parameters": {"temperature": 0}}] * 3
    refused, fine = results(lines, [False] * 3, **REFUSED), results(lines, [True] * 3)
    with pytest.raises(NoAnswers, match="caller_rejected: Unsupported: temperature"):
        measured(DatasetSource(name="d", file="d", layer="real"), dataset_of(*lines), [refused, fine])


def test_a_model_that_answers_nothing_is_no_bad_model_but_an_error() -> None:
    lines = [{"task": "exact", "expected": "x"}] * 3
    dead = results(lines, [False] * 3, text=None, failure="caller_unauthorized", said="Incorrect API key")
    with pytest.raises(NoAnswers, match="caller_unauthorized: Incorrect API key"):
        measured(
            DatasetSource(name="d", file="d", layer="real"),
            dataset_of(*lines),
            [results(lines, [True] * 3), dead],
        )


def test_the_current_model_alone_has_figures_and_no_verdict() -> None:
    lines = [{"task": "exact", "expected": "x"}] * 60
    source = DatasetSource(name="d", file="d", layer="real", floor=0.9)
    found = told(measured(source, dataset_of(*lines), [results(lines, mix(30, 60))]))
    assert (found.verdict, reasons(found)) == (None, ())
    document = to_document(found, ABOUT)
    assert document["layers"][0]["baseline"]["correct"] == 30
    assert document["layers"][0]["candidate"] is None
    assert len(failures(found)) == 30


def test_the_document_has_the_contracts_figures_at_every_level() -> None:
    found = told(of(mix(95, 100), mix(85, 100), critical=40))
    document = json.loads(json.dumps(to_document(found, ABOUT), allow_nan=False))
    assert document["verdict"] == "dont_ship"
    assert (document["owner"], document["stages"]) == ("ann", {"d": 1.5})
    layer = document["layers"][0]
    dataset = layer["datasets"][0]
    for node in (layer, dataset, dataset["categories"][0]):
        assert {"examples", "mcnemar_p", "new_failures", "blocks"} <= set(node)
        for whose in ("baseline", "candidate"):
            figures_ = {
                "examples",
                "correct",
                "completion",
                "interval",
                "p50_s",
                "p95_s",
                "p99_s",
                "cost_usd",
            }
            assert figures_ <= set(node[whose])
    assert dataset["candidate"]["completion"] == 0.85
    assert dataset["new_failures"] == [str(number) for number in range(85, 95)]
    assert dataset["cost_ratio"]["estimate"] == 1


def test_a_row_for_each_wrong_answer_the_new_ones_first() -> None:
    rows = failures(told(of(mix(2, 4), [True, False, True, False])))
    assert [(row["id"], row["new"]) for row in rows] == [("1", "yes"), ("3", "no")]
    assert set(rows[0]) == set(COLUMNS)


def test_classes_are_told_for_both_models() -> None:
    lines = [{"task": "classify", "expected": "spam" if n % 2 else "ham"} for n in range(60)]
    old, new = results(lines, [True] * 60, text="spam"), results(lines, [True] * 60, text="ham")
    found = measured(DatasetSource(name="d", file="d", layer="real"), dataset_of(*lines), [old, new])
    assert [[line.recall.estimate for line in lines if line.recall] for lines in found.classes] == [
        [0.0, 1.0],
        [1.0, 0.0],
    ]


def test_labels_that_nobody_has_looked_at_never_ship() -> None:
    found = told(of(mix(95, 100), mix(95, 100), tags={"label": "proposed"}))
    assert found.verdict == "extend"
    review = "review them with `canary dataset label d.jsonl`"
    assert reasons(found) == (f"d: 100 labels are unreviewed proposals; {review}",)


def test_a_file_of_few_examples_says_how_many_it_needs_and_how_to_benchmark_without_it() -> None:
    found = told(of([True] * 8, [True] * 8))
    assert (found.verdict, reasons(found)[0]) == (
        "extend",
        "d: 8 examples are a sanity check; a benchmark needs 50: add 42 to d.jsonl, "
        "or take the dataset d out of the config's `datasets` to benchmark without it",
    )
    given = told(of([True] * 8, [True] * 8, name="d.jsonl"))
    assert "leave out `--dataset d.jsonl` to benchmark without it" in reasons(given)[0]


def test_a_part_of_a_file_asks_for_no_more_examples() -> None:
    lines = [{"task": "exact", "expected": "x"} for _ in range(60)]
    source = DatasetSource(name="d", file="d.jsonl", layer="synthetic")
    some = part_of(dataset_of(*lines), 20)
    found = told(measured(source, some, [results(lines[:20], [True] * 20)] * 2))
    assert reasons(found)[0] == "d: 20 of 60 examples are a sanity check; a benchmark asks all"


def test_a_throughput_counts_a_failure_as_time_and_not_as_an_answer() -> None:
    lines = [{"task": "exact", "expected": "x"} for _ in range(4)]
    timed = [replace(each, took_s=0.5) for each in results(lines, [True] * 4)]
    failed = replace(timed[3], answer=Answer(failure="provider_5xx", latency_s=1.0), right=False)
    assert side([*timed[:3], failed]).answers_per_hour == 3600 * 3 / 2
    kept = replace(timed[0], took_s=None)
    assert side([kept, *timed[1:]]).answers_per_hour == 3600 * 3 / 1.5
    assert side([kept]).answers_per_hour is None
