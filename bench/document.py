"""A benchmark as JSON, and its failures as rows for a spreadsheet."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bench.comparison import Comparison, DatasetPart, DatasetResult
from bench.figures import Figures, Side
from bench.findings import verdict
from bench.runner import Result
from bench.statistics import ShareInterval

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
    "baseline_answer",
    "baseline_failure",
    "baseline_score",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """Of which models, when (RFC 3339), by whom, how they were reached (`direct` or `proxy`), and how long
    each stage took."""

    baseline: str
    candidate: str | None
    at: str
    owner: str
    via: str
    stages: Mapping[str, float]


def to_document(found: Comparison, about: Circumstances) -> dict[str, Any]:
    """JSON types only; what is not known is null."""
    return {
        **asdict(about),
        "stages": {name: round(seconds, 3) for name, seconds in about.stages.items()},
        "verdict": found.verdict,
        "reasons": list(found.reasons),
        "quantiles": "inverted_cdf",
        "gap": _gap(found),
        "layers": [
            {
                "layer": each.layer,
                **_figures(each.figures),
                "verdict": None if found.verdict is None else verdict(each.findings),
                "blocks": any(one.blocks for one in each.datasets),
                "datasets": [_dataset(one) for one in each.datasets],
            }
            for each in found.layers
        ],
    }


def failures(found: Comparison) -> Iterator[dict[str, object]]:
    """A row by `COLUMNS` for every example that the candidate (alone: the current model) got wrong, those
    first that the current model got right."""
    rows = [
        _row(layer.layer, one, theirs, ours)
        for layer in found.layers
        for one in layer.datasets
        for theirs, ours in one.pairs
        if not (theirs if ours is None else ours).right
    ]
    return iter(sorted(rows, key=lambda row: row["new"] != "yes"))


def _gap(found: Comparison) -> dict[str, float | None] | None:
    """Real-world completion less synthetic, of each model; None where only one layer was measured."""
    if len(found.layers) < 2:
        return None
    synthetic, real = (each.figures for each in found.layers)
    return {
        "baseline": _less(real.baseline, synthetic.baseline),
        "candidate": _less(real.candidate, synthetic.candidate),
    }


def _less(one: Side | None, other: Side | None) -> float | None:
    if one is None or other is None or one.completion is None or other.completion is None:
        return None
    return one.completion.estimate - other.completion.estimate


def _dataset(one: DatasetResult) -> dict[str, Any]:
    return {
        "dataset": one.source.name,
        "sha256": one.dataset.sha256,
        "ambiguous": len(one.dataset.examples) - len(one.dataset.scored),
        "floor": one.source.floor,
        **_figures(one.figures),
        "blocks": one.blocks,
        "categories": [{"category": each.name, **_part(each)} for each in one.categories],
        "tags": [{"tag": each.name, **_part(each)} for each in one.tags],
        "classes": {
            side: [asdict(each) for each in lines]
            for side, lines in zip(("baseline", "candidate"), one.classes, strict=False)
        },
    }


def _part(part: DatasetPart) -> dict[str, Any]:
    found = _figures(part.figures)
    del found["latency_ratio"], found["cost_ratio"]  # of whole datasets only
    return {
        "critical": part.critical,
        **found,
        "flagged": part.flagged,
        "blocks": part.blocks,
    }


def _figures(found: Figures) -> dict[str, Any]:
    return {
        "examples": found.examples,
        "unjudged": found.unjudged,
        "baseline": _side(found.baseline),
        "candidate": None if found.candidate is None else _side(found.candidate),
        "difference": _interval(found.difference),
        "mcnemar_p": found.mcnemar_p,
        "latency_ratio": _interval(found.latency_ratio),
        "cost_ratio": _interval(found.cost_ratio),
        "new_failures": list(found.new_failures),
        "mended": list(found.mended),
    }


def _side(side: Side) -> dict[str, Any]:
    found = side.completion
    return {
        **asdict(side),
        "completion": None if found is None else found.estimate,
        "interval": None if found is None else [found.low, found.high],
    }


def _interval(found: ShareInterval | None) -> dict[str, float] | None:
    return None if found is None else asdict(found)


def _row(layer: str, one: DatasetResult, theirs: Result, ours: Result | None) -> dict[str, object]:
    example = theirs.example
    return {
        "layer": layer,
        "dataset": one.source.name,
        "category": example.category,
        "id": example.id,
        "new": "yes" if ours is not None and theirs.right else "no",
        "task": example.task,
        "asked": example.messages[-1].content,
        "expected": example.expected if isinstance(example.expected, str) else json.dumps(example.expected),
        **({} if ours is None else _answer("candidate", ours)),
        **_answer("baseline", theirs),
    }


def _answer(whose: str, result: Result) -> dict[str, object]:
    return {
        f"{whose}_answer": result.answer.text,
        f"{whose}_failure": result.answer.failure,
        f"{whose}_score": None if result.score is None else round(result.score, 4),
    }
