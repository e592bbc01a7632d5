"""Rows that only a benchmark measures: shown in the report, and no part of its verdict and score."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pages.words import gains
from records.facts.metric import BUILT_IN
from verdict.decision.document import Report
from verdict.decision.offline import offline_rows
from verdict.decision.verdict import build
from verdict.sample.csv_log import from_csv
from verdict.terms.judged_canary import JudgedCanary
from verdict.terms.rubric import Criterion, parse_bound

CAUGHT = Criterion(
    metric="recall:harm",
    acceptable=parse_bound(">= 98%"),
    ideal=parse_bound(">= 99%"),
    weight=80,
    question="Caught?",
)
DOCUMENT: dict[str, Any] = {
    "at": "2026-11-25T12:00:00Z",
    "rubric": [
        {
            "metric": "recall:harm",
            "acceptable": ">= 98%",
            "state": "INCONCLUSIVE",
            "says": 'recall:harm 98.0 % (93.0 to 99.4) is not clearly within ">= 98%"',
        }
    ],
}


def _offline(report: Report) -> str:
    return next(layer.says for layer in gains.layers(report) if layer.kind == "offline")


def test_such_a_row_changes_neither_verdict_nor_score(
    write_log: Callable[..., Path], world: type[Any], canary: JudgedCanary, now: float
) -> None:
    sample = from_csv(write_log(world()), BUILT_IN, now=now)
    without, beside = (build(sample, each, now=now) for each in (canary, replace(canary, offline=(CAUGHT,))))
    assert (beside.verdict, beside.score, beside.metrics) == (without.verdict, without.score, without.metrics)
    assert not any(layer.kind == "offline" for layer in gains.layers(without))
    assert _offline(beside) == '– recall:harm ">= 98%": no benchmark has judged it'
    judged = replace(beside, details=replace(beside.details, offline=offline_rows([CAUGHT], DOCUMENT)))
    assert _offline(judged) == f"? {DOCUMENT['rubric'][0]['says']}"


def test_a_row_with_another_bound_than_the_benchmarks_is_not_judged() -> None:
    (found,) = offline_rows([replace(CAUGHT, acceptable=parse_bound(">= 90%"))], DOCUMENT)
    assert (found.state, found.says, found.at) == ("NODATA", "", "")
    (found,) = offline_rows([CAUGHT], {"at": "2026-11-01T12:00:00Z"})  # from before there were rows
    assert found.state == "NODATA"
