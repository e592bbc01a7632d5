"""A benchmark's wrong answers as rows, and those rows as CSV for a spreadsheet."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO

from bench.answers.results import Result
from bench.benchmark.comparison import Comparison, DatasetResult
from common.text import cell
from records.store.benchmarks import FailureRow

COLUMNS: tuple[str, ...] = (
    "layer",
    "dataset",
    "category",
    "id",
    "new",
    "task",
    "asked",
    "expected",
    "candidate_answer",
    "candidate_failure",
    "candidate_score",
    "candidate_reason",
    "baseline_answer",
    "baseline_failure",
    "baseline_score",
    "baseline_reason",
    "judged",
    "judge_reason",
)
"""`candidate_reason` and `baseline_reason` are those of the judge who marked the answer: why it gave its
mark, or why not. `judged` is the result of the judge who compared both answers (`candidate`, `baseline`,
`tie`, `no_mark`), `judge_reason` why, with the letters' models."""

JudgedAnswers = Mapping[str, tuple[str, str]]
"""A judge's result and its reason, by the example's hash."""

LETTERS = "A: current model, B: candidate"
"""Whose answers the letters of a comparison's reason are: it is that of the first order."""


def failures(found: Comparison, judged: Mapping[str, JudgedAnswers] = {}) -> list[FailureRow]:
    """A row by `COLUMNS` for every example that the candidate got wrong (without a candidate: the current
    model), the new failures first. `judged`: what a judge said of both answers, by dataset."""
    rows = [
        {
            **_row(layer.layer, dataset, baseline, candidate),
            **_judged(judged.get(dataset.source.name, {}), baseline),
        }
        for layer in found.layers
        for dataset in layer.datasets
        for baseline, candidate in dataset.pairs
        if not (baseline if candidate is None else candidate).right
    ]
    return sorted(rows, key=lambda row: row["new"] != "yes")


def to_csv(rows: Sequence[FailureRow]) -> str:
    """The rows under a header of `COLUMNS`."""
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: cell(value) if isinstance(value, str) else value for name, value in row.items()}
        for row in rows
    )
    return text.getvalue()


def _row(layer: str, dataset: DatasetResult, baseline: Result, candidate: Result | None) -> FailureRow:
    example = baseline.example
    return {
        "layer": layer,
        "dataset": dataset.source.name,
        "category": example.category,
        "id": example.id,
        "new": "yes" if candidate is not None and baseline.right else "no",
        "task": example.task,
        "asked": example.messages[-1].content,
        "expected": example.expected if isinstance(example.expected, str) else json.dumps(example.expected),
        **({} if candidate is None else _answer("candidate", candidate)),
        **_answer("baseline", baseline),
    }


def _judged(words: JudgedAnswers, baseline: Result) -> FailureRow:
    judged, why = words.get(baseline.example.hash, (None, None))
    if why and judged != "no_mark":
        why = f"{why} ({LETTERS})"
    return {"judged": judged, "judge_reason": why}


def _answer(side: str, result: Result) -> FailureRow:
    return {
        f"{side}_answer": result.answer.text,
        f"{side}_failure": result.answer.failure,
        f"{side}_score": None if result.score is None else round(result.score, 4),
        f"{side}_reason": result.reason or result.no_mark,
    }
