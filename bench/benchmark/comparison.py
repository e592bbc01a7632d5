"""Compares both models by layer, dataset, category and tag; and its wrong answers as rows of a spreadsheet.

`reasons` gives those of the verdict.
"""

import csv
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Literal

from bench.answers.results import ExampleResult, unmarked
from bench.benchmark.figures import (
    ClassFigures,
    ComparedFigures,
    ResultPair,
    WeightedTotals,
    figures,
    per_class,
    totals,
)
from bench.benchmark.reasons import (
    BenchCaveat,
    BenchReason,
    Verdict,
    below_floor,
    caveats,
    of_critical,
    of_dataset,
    of_rows,
    verdict,
)
from bench.benchmark.rubric import USUAL, RubricRowResult, RunConditions, WeighedPairs, decided
from bench.dataset.file import Dataset
from bench.errors import NoAnswers
from bench.models.pair import NamedModel
from bench.models.wires import NO_EXTRAS
from bench.settings import NO_TERMS, BenchRubric, DatasetSource, Layer
from common.text import cell
from records.store.benchmarks import FailureRow

LAYERS: tuple[Layer, ...] = ("synthetic", "real")

TAG = "confidence"
"""The tag by which the app says how sure it was: `high` or `low`."""

Level = Literal["high", "low"]
_LEVELS: Mapping[str, Level] = {"high": "high", "low": "low"}

_REFUSED = (400, 422)
"""How providers answer to a parameter that a model does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPart:
    """One category, or one tag (`region: eu`), of a dataset. `flagged`: below the floor, or worse. Only a
    critical category has reasons; it `blocks` if one of them fails."""

    name: str
    critical: bool
    figures: ComparedFigures
    flagged: bool
    reasons: tuple[BenchReason, ...]

    @property
    def blocks(self) -> bool:
        return any(each.severity == "fails" for each in self.reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetResult:
    """Both models' results on one dataset. `classes` holds the current model's, then the candidate's lines,
    for classification examples. `reasons` includes those of the categories. `weighted` are the totals by
    the traffic's weights, where they are known. `marked_by` is the judge of the task `judge`, if any."""

    source: DatasetSource
    dataset: Dataset
    figures: ComparedFigures
    categories: tuple[DatasetPart, ...]
    tags: tuple[DatasetPart, ...]
    classes: tuple[tuple[ClassFigures, ...], ...]
    reasons: tuple[BenchReason, ...]
    pairs: tuple[ResultPair, ...]
    confidence: "ConfidenceSplit | None" = None
    weighted: WeightedTotals | None = None
    marked_by: NamedModel | None = None

    @property
    def blocks(self) -> bool:
        return any(each.severity == "fails" for each in self.reasons)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfidenceSplit:
    """A dataset's examples told apart by confidence. `by` says whose: the app's (`tags`), else the current
    model's (`baseline`) or the candidate's, split at its median `threshold`. `parts` are `high` and `low`, as
    far as they have examples; `unknown` examples are in neither."""

    by: tuple[str, ...]
    threshold: float | None
    unknown: int
    parts: tuple[DatasetPart, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerResult:
    """All datasets of one layer together. `rows` are the rubric's rows that were judged on it."""

    layer: Layer
    figures: ComparedFigures
    datasets: tuple[DatasetResult, ...]
    rows: tuple[RubricRowResult, ...] = ()

    @property
    def reasons(self) -> tuple[BenchReason, ...]:
        found = [reason for dataset in self.datasets for reason in dataset.reasons]
        return (*found, *of_rows(self.rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """What scored the examples of the task `similar`: `words`, or an embedding model and what it cost (None:
    unknown)."""

    by: str
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All layers with the verdict, None if only the current model was measured. `similarity` is None without
    examples of the task `similar`. `rubric` has the rows as judged. `caveats` do not decide; they belong
    beside the verdict."""

    layers: tuple[LayerResult, ...]
    verdict: Verdict | None
    reasons: tuple[BenchReason, ...]
    similarity: Similarity | None = None
    rubric: tuple[RubricRowResult, ...] = ()
    caveats: tuple[BenchCaveat, ...] = ()

    @property
    def judge_failures(self) -> list[str]:
        """Why the judge of a dataset gave no mark, once for each time."""
        results = (
            each
            for layer in self.layers
            for dataset in layer.datasets
            for pair in dataset.pairs
            for each in pair
        )
        return [each.no_mark for each in results if each is not None and each.judge_failed]


def measured(
    source: DatasetSource,
    dataset: Dataset,
    results: Sequence[Sequence[ExampleResult]],
    *,
    terms: BenchRubric = NO_TERMS,
) -> DatasetResult:
    """One dataset's comparison, from the `results` of the current model and of the candidate, if any.

    Raises NoAnswers for a model without a single answer or mark, because then the cause is not the model. But
    a candidate that refuses every request with the dataset's parameters is a finding.
    """
    for place, of_model in enumerate(results):
        if place == 0 or not _refuses_parameters(of_model):
            _must_answer(source, "candidate" if place else "current model", of_model)
    pairs: list[ResultPair] = [
        (row[0], row[1] if len(row) > 1 else None) for row in zip(*results, strict=True)
    ]
    whole = figures(pairs)
    categories = _parts(source, dataset.critical | terms.critical, pairs, _category)
    by_traffic = totals(dataset.weights, pairs) if dataset.weights is not None else None
    return DatasetResult(
        source=source,
        dataset=dataset,
        figures=whole,
        categories=categories,
        tags=_parts(source, frozenset(), pairs, _tags),
        classes=tuple(lines for of_model in results if (lines := _classes(of_model))),
        reasons=(
            *of_dataset(source, whole, dataset, terms=terms, weighted=by_traffic),
            *(reason for part in categories for reason in part.reasons),
        ),
        pairs=tuple(pairs),
        confidence=_confidence(source, pairs),
        weighted=by_traffic,
    )


def compared(
    datasets: Sequence[DatasetResult],
    similarity: Similarity | None = None,
    *,
    terms: BenchRubric = NO_TERMS,
    conditions: RunConditions = USUAL,
) -> Comparison:
    """The layers, the rubric's rows, and the verdict over all datasets and rows."""
    alone = all(dataset.figures.candidate is None for dataset in datasets)
    inside: dict[Layer, list[DatasetResult]] = {
        layer: [each for each in datasets if each.source.layer == layer] for layer in LAYERS
    }
    weighed: dict[Layer, list[WeighedPairs]] = {
        layer: [(each.dataset.weights, each.pairs) for each in listed]
        for layer, listed in inside.items()
        if listed
    }
    rows = () if alone else decided(terms.rows, weighed, conditions)
    layers = tuple(
        LayerResult(
            layer=layer,
            figures=figures([pair for dataset in inside[layer] for pair in dataset.pairs]),
            datasets=tuple(inside[layer]),
            rows=tuple(row for row in rows if row.layer == layer),
        )
        for layer in weighed
    )
    reasons = [reason for layer in layers for reason in layer.reasons]
    return Comparison(
        layers=layers,
        verdict=None if alone else verdict(reasons),
        reasons=tuple(sorted(reasons, key=lambda reason: reason.severity)),
        similarity=similarity,
        rubric=rows,
        caveats=tuple(caveats({each.layer: each.figures for each in layers}, _without(terms, datasets))),
    )


def _without(terms: BenchRubric, datasets: Sequence[DatasetResult]) -> list[str]:
    """The critical categories of which no dataset has an example."""
    return sorted(terms.critical - {part.name for dataset in datasets for part in dataset.categories})


def _parts(
    source: DatasetSource,
    critical: frozenset[str],
    pairs: Sequence[ResultPair],
    names: Callable[[ExampleResult], Iterable[str]],
) -> tuple[DatasetPart, ...]:
    groups: dict[str, list[ResultPair]] = {}
    for pair in pairs:
        for name in names(pair[0]):
            groups.setdefault(name, []).append(pair)
    return tuple(_part(source, name, name in critical, groups[name]) for name in sorted(groups))


def _part(source: DatasetSource, name: str, critical: bool, pairs: Sequence[ResultPair]) -> DatasetPart:
    found = figures(pairs, ratios=False)
    return DatasetPart(
        name=name,
        critical=critical,
        figures=found,
        flagged=found.worse or (found.candidate is not None and below_floor(source, found.candidate)),
        reasons=tuple(of_critical(source, name, found)) if critical else (),
    )


def _confidence(source: DatasetSource, pairs: Sequence[ResultPair]) -> ConfidenceSplit | None:
    """None where the dataset does not ask for it and no example has the tag."""
    found, by, threshold = levels(pairs)
    if source.confidence is None and "tags" not in by:
        return None
    inside = {
        level: [pair for each, pair in zip(found, pairs, strict=True) if each == level] for level in _LEVELS
    }
    return ConfidenceSplit(
        by=by,
        threshold=threshold,
        unknown=found.count(None),
        parts=tuple(_part(source, name, False, some) for name, some in inside.items() if some),
    )


def levels(pairs: Sequence[ResultPair]) -> tuple[list[Level | None], tuple[str, ...], float | None]:
    """Each example's level, None if unknown; whose confidence it is, and where that was split.

    The level is the app's word in its tag, else by the current model's confidence, or by the candidate's
    where the current model has none at all. Measured confidence is split at its median. The probabilities of
    different models are not on one scale, and training a model to chat costs it calibration (GPT-4 Technical
    Report, figure 8), so no fixed number means the same for two of them. What equals the median is high.
    """
    tagged: list[Level | None] = [_tagged(pair) for pair in pairs]
    whose, measured = _measured(pairs)
    rest = [value for tag, value in zip(tagged, measured, strict=True) if tag is None and value is not None]
    threshold = statistics.median(rest) if rest else None
    found: list[Level | None]
    found = [tag or _level(value, threshold) for tag, value in zip(tagged, measured, strict=True)]
    return found, (*(["tags"] if any(tagged) else []), *([whose] if rest else [])), threshold


def _tagged(pair: ResultPair) -> Level | None:
    said = pair[0].example.tags.get(TAG)
    return _LEVELS.get(said) if said is not None else None


def _measured(pairs: Sequence[ResultPair]) -> tuple[str, list[float | None]]:
    current = [baseline.answer.confidence for baseline, _ in pairs]
    if any(value is not None for value in current):
        return "baseline", current
    return "candidate", [None if new is None else new.answer.confidence for _, new in pairs]


def _level(value: float | None, threshold: float | None) -> Level | None:
    if value is None or threshold is None:
        return None
    return "high" if value >= threshold else "low"


def _category(result: ExampleResult) -> Iterable[str]:
    return (result.example.category,)


def _tags(result: ExampleResult) -> Iterable[str]:
    return (f"{name}: {value}" for name, value in result.example.tags.items())


def _classes(results: Sequence[ExampleResult]) -> tuple[ClassFigures, ...]:
    return tuple(per_class([each for each in results if each.example.task == "classify"]))


def _refuses_parameters(results: Sequence[ExampleResult]) -> bool:
    refused = all(each.answer.status in _REFUSED for each in results)
    return refused and any(each.example.extras != NO_EXTRAS for each in results)


def _must_answer(source: DatasetSource, which: str, results: Sequence[ExampleResult]) -> None:
    if all(result.answer.failure is not None for result in results):
        first = results[0].answer
        said = f": {first.said}" if first.said else ""
        raise NoAnswers(f"the {which} answered no example; the first failure is {first.failure}{said}")
    judged = [each for each in results if each.example.task == "judge" and each.answer.failure is None]
    if judged and all(each.score is None for each in judged):
        raise NoAnswers(unmarked(source.judge or "", judged))


# A benchmark's wrong answers as rows, and those rows as CSV for a spreadsheet.


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
    "candidate_request_id",
    "baseline_answer",
    "baseline_failure",
    "baseline_score",
    "baseline_reason",
    "baseline_request_id",
    "judged",
    "judge_reason",
)
"""`candidate_reason` and `baseline_reason` are those of the judge who marked the answer: why it gave its
mark, or why not. `candidate_request_id` and `baseline_request_id` are the providers'. `judged` is the result
of the judge who compared both answers (`candidate`, `baseline`, `tie`, `no_mark`), `judge_reason` why, with
the letters' models."""

JudgedAnswers = Mapping[str, tuple[str, str]]
"""A judge's result and its reason, by the example's hash."""

LETTERS = "A: current model, B: candidate"
"""Whose answers the letters of a comparison's reason are: it is that of the first order."""


def failures(found: Comparison, judged: Mapping[str, JudgedAnswers] = {}) -> list[FailureRow]:
    """A row by `COLUMNS` for every example that the candidate got wrong (without a candidate: the current
    model), the new failures first. `judged`: what a judge said of both answers, by dataset."""
    rows = [
        {
            **failure(dataset.source, baseline, candidate),
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


def failure(source: DatasetSource, baseline: ExampleResult, candidate: ExampleResult | None) -> FailureRow:
    """A row of `failures`, without what a judge of both answers said."""
    example = baseline.example
    return {
        "layer": source.layer,
        "dataset": source.name,
        "category": example.category,
        "id": example.id,
        "new": "yes" if candidate is not None and baseline.right else "no",
        "task": example.task,
        "asked": example.messages[-1].content,
        "expected": example.expected if isinstance(example.expected, str) else json.dumps(example.expected),
        **({} if candidate is None else _answer("candidate", candidate)),
        **_answer("baseline", baseline),
    }


def _judged(words: JudgedAnswers, baseline: ExampleResult) -> FailureRow:
    judged, why = words.get(baseline.example.hash, (None, None))
    if why and judged != "no_mark":
        why = f"{why} ({LETTERS})"
    return {"judged": judged, "judge_reason": why}


def _answer(side: str, result: ExampleResult) -> FailureRow:
    return {
        f"{side}_answer": result.answer.written,
        f"{side}_failure": result.answer.failure,
        f"{side}_score": None if result.score is None else round(result.score, 4),
        f"{side}_reason": result.reason or result.no_mark,
        f"{side}_request_id": result.answer.request_id or None,
    }
