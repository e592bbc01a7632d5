"""Totals by the traffic's weights, against values computed by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.benchmark.comparison import Comparison, compared, measured
from bench.benchmark.run import read
from bench.dataset.file import Dataset, document, parse, weights_file
from bench.errors import BenchError
from bench.settings import BenchRubric, DatasetSource, RubricRow
from pages.reports.bench import Circumstances, to_document
from pages.reports.bench_text import by_traffic
from pages.words.bench import row as row_said
from records.facts.metric import parse_bound
from tests.bench.examples import reasons
from tests.bench.test_comparison import results

ABOUT = Circumstances(
    baseline="o/old", candidate="o/new", at="2026-11-25T12:00:00Z", owner="ann", via="direct", stages={}
)
SOURCE = DatasetSource(name="d", file="d.jsonl", layer="real")
REFUND, ORDER = 50, 50


def file_of(folder: Path, weights: object) -> Path:
    """A dataset of 50 refunds, then 50 orders, with these weights beside it."""
    lines = [
        {
            "id": str(place),
            "task": "exact",
            "input": f"Question {place}?",
            "expected": "x",
            "category": "refund" if place < REFUND else "order",
        }
        for place in range(REFUND + ORDER)
    ]
    file = folder / "d.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    if weights is not None:
        file.with_name("d.jsonl.weights.json").write_text(json.dumps(weights))
    return file


def dataset(folder: Path, categories: dict[str, float] | None) -> Dataset:
    weights = None if categories is None else {"at": "2026-11-20T09:00:00Z", "categories": categories}
    file_of(folder, weights)
    return read(SOURCE, folder)


def rights(refunds: int, orders: int) -> list[bool]:
    """These many right of each category."""
    return [place < refunds for place in range(REFUND)] + [place < orders for place in range(ORDER)]


def comparison(found: Dataset, old: list[bool], new: list[bool], **fields: Any) -> Comparison:
    lines: list[dict[str, Any]] = [
        {"task": "exact", "expected": "x", "category": each.category} for each in found.examples
    ]
    given = measured(SOURCE, found, [results(lines, old), results(lines, new)], **fields)
    return compared([given], **fields)


def weighted(found: Comparison) -> dict[str, Any]:
    told: dict[str, Any] = to_document(found, ABOUT)["layers"][0]["datasets"][0]["weighted"]
    return told


def test_each_category_counts_by_its_traffic(tmp_path: Path) -> None:
    """.04 · 40/50 + .96 · 48/50 = .9536. With Wilson's ends of 40/50 (.6696 to .8876) and of 48/50 (.8654 to
    .9890): .9536 − √((.04·.1304)² + (.96·.0946)²) = .8626, + √((.04·.0876)² + (.96·.0290)²) = .9817."""
    found = comparison(dataset(tmp_path, {"refund": 0.04, "order": 0.96}), rights(40, 48), rights(40, 48))
    told = weighted(found)
    assert (told["at"], told["covered"]) == ("2026-11-20T09:00:00Z", 1.0)
    assert told["candidate"]["estimate"] == pytest.approx(0.9536)
    assert told["candidate"]["low"] == pytest.approx(0.8626, abs=1e-4)
    assert told["candidate"]["high"] == pytest.approx(0.9817, abs=1e-4)
    # The plain total stands beside it.
    assert to_document(found, ABOUT)["layers"][0]["candidate"]["completion"] == 0.88


def test_the_difference_adds_the_variances_of_the_categories(tmp_path: Path) -> None:
    """Ten refunds and no order are lost: −.2 · .04 = −.008. A category's interval by hand: (−10 ± …)/52."""
    told = weighted(
        comparison(dataset(tmp_path, {"refund": 0.04, "order": 0.96}), rights(50, 50), rights(40, 50))
    )
    refund = (-10 / 52, 1.959964 * ((12 / 52 - (10 / 52) ** 2) / 52) ** 0.5)
    order = (0.0, 1.959964 * (2 / 52 / 52) ** 0.5)
    below = ((0.04 * (-0.2 - (refund[0] - refund[1]))) ** 2 + (0.96 * order[1]) ** 2) ** 0.5
    assert told["difference"]["estimate"] == pytest.approx(-0.008)
    assert told["difference"]["low"] == pytest.approx(-0.008 - below)


def test_a_loss_in_a_rare_category_alone_is_small_by_traffic_and_a_common_one_is_not(tmp_path: Path) -> None:
    rare = dataset(tmp_path, {"refund": 0.04, "order": 0.96})
    assert reasons(comparison(rare, rights(50, 50), rights(40, 50))) == (
        "d: −0.8 points weighted by traffic against the current model; −5.9 is not ruled out (limit −5.0)",
    )
    common = dataset(tmp_path, {"refund": 0.96, "order": 0.04})
    found = comparison(common, rights(50, 50), rights(40, 50))
    assert found.verdict == "dont_ship"
    assert "points (−" in reasons(found)[0]
    assert "weighted by traffic against the current model" in reasons(found)[0]


def test_a_row_on_completion_is_judged_by_traffic(tmp_path: Path) -> None:
    """Half of the refunds are wrong: 75 % of the examples, 98 % of the traffic."""
    row = RubricRow(metric="task_completed", acceptable=parse_bound(">= 90%"), ideal=parse_bound(">= 99.9%"))
    terms = BenchRubric(rows=(row,))
    found = comparison(
        dataset(tmp_path, {"refund": 0.04, "order": 0.96}), rights(25, 50), rights(25, 50), terms=terms
    )
    assert found.rubric[0].state == "PASS"
    assert "task_completed 98.0 %" in row_said(found.rubric[0])
    assert "weighted by traffic" in row_said(found.rubric[0])


def test_categories_without_examples_are_told_as_not_covered(tmp_path: Path) -> None:
    found = comparison(
        dataset(tmp_path, {"refund": 0.1, "order": 0.3, "other": 0.6}), rights(50, 50), rights(50, 50)
    )
    assert weighted(found)["covered"] == pytest.approx(0.4)
    (line,) = by_traffic(to_document(found, ABOUT))
    assert line.startswith("d weighted by the traffic of 2026-11-20, 40 % of it: current 100.0 % (")


def test_weights_of_other_categories_or_none_leave_the_plain_total(tmp_path: Path) -> None:
    for categories in ({"elsewhere": 1.0}, None):
        found = comparison(dataset(tmp_path, categories), rights(50, 50), rights(50, 50))
        assert weighted(found) is None
        (tmp_path / "d.jsonl.weights.json").unlink(missing_ok=True)


@pytest.mark.parametrize("weights", [{"categories": {}}, {"at": "x", "categories": {"a": 4}}, []])
def test_weights_that_cannot_be_read_are_refused_by_name(tmp_path: Path, weights: object) -> None:
    file_of(tmp_path, weights)
    with pytest.raises(BenchError, match=r"d\.jsonl\.weights\.json"):
        read(SOURCE, tmp_path)


def test_what_sampling_writes_is_read(tmp_path: Path) -> None:
    file = file_of(tmp_path, None)
    weights_file(file).write_bytes(document({"order": 0.96, "refund": 0.04}, at=1_795_000_000.0))
    found = read(SOURCE, tmp_path).weights
    assert found is not None
    assert (found.at, found.categories) == ("2026-11-18T11:06:40Z", {"order": 0.96, "refund": 0.04})


def test_a_dataset_that_was_parsed_from_text_has_no_weights() -> None:
    assert parse('{"id": "1", "task": "exact", "input": "?", "expected": "x"}').weights is None
