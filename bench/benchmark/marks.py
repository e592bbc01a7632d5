"""What a model's answers to examples were worth, kept without their texts; and a model compared with itself.

A mark counts only for what is asked and scored as it was then: its key covers the example, how the model's
requests differ, and who scores.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import msgspec

from bench.answers.results import ExampleResult
from bench.benchmark.comparison import Comparison, DatasetResult, Similarity, compared, measured
from bench.dataset.example import Example, fingerprint
from bench.dataset.file import Dataset
from bench.models.asker import Answer, Failure
from bench.models.pair import ModelPair, NamedModel, named, terms_of
from bench.settings import BenchSettings, DatasetSource
from records.store.benchmarks import Mark

Datasets = Sequence[tuple[DatasetSource, Dataset]]
_OF_ANSWER = ("failure", "status", "latency_s", "cost_usd", "input_tokens", "output_tokens")
"""What a mark has of the answer itself, under the same names."""


class AnswerMark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A result (`ExampleResult`) without texts. `named` is the class that the answer names."""

    right: bool
    score: float | None = None
    failure: Failure | None = None
    status: int | None = None
    latency_s: float | None = None
    cost_usd: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    named: str | None = None


def mark_key(settings: BenchSettings, model: NamedModel, source: DatasetSource, example: Example) -> str:
    """What a mark is kept by."""
    parts = [example.hash, *model.differs]
    if example.task == "judge":
        parts.append(source.judge)
    if example.task == "similar" and (by := settings.embeddings) is not None:
        parts.append(f"{by.provider}/{by.model}")
    return fingerprint(parts)


def mark_of(result: ExampleResult) -> Mark:
    """The mark as JSON types."""
    mark = AnswerMark(
        right=result.right,
        score=result.score,
        named=result.named if result.answered else None,
        **{name: getattr(result.answer, name) for name in _OF_ANSWER},
    )
    found: Mark = msgspec.to_builtins(mark)
    return found


def result_of(example: Example, mark: Mark) -> ExampleResult:
    """The result with this mark. Of the answer's text it has no more than the class that it named."""
    found = msgspec.convert(mark, AnswerMark)
    kept = {name: getattr(found, name) for name in _OF_ANSWER}
    answer = Answer(text=None if found.failure else found.named or "", **kept)
    return ExampleResult(example=example, answer=answer, score=found.score, right=found.right)


def marks_of(settings: BenchSettings, pair: ModelPair, found: Comparison) -> dict[str, dict[str, Mark]]:
    """By model, the marks of a benchmark's answers that came and have a score."""
    marks: dict[str, dict[str, Mark]] = {}
    for dataset in (each for layer in found.layers for each in layer.datasets):
        for model, results in zip(
            (pair.baseline, pair.candidate), zip(*dataset.pairs, strict=True), strict=True
        ):
            for result in results:
                if model is not None and result is not None and result.answered and result.score is not None:
                    key = mark_key(settings, model, dataset.source, result.example)
                    marks.setdefault(model.name, {})[key] = mark_of(result)
    return marks


Marks = Mapping[str, Mark]


def compared_with_itself(
    settings: BenchSettings, model: NamedModel, datasets: Datasets, before: Marks, now: Marks
) -> Comparison:
    """The model's marks of now against those of before, over the examples that have both. Raises NoAnswers
    where it answered none of a dataset."""
    terms = terms_of(settings, ModelPair(baseline=model, candidate=model))
    found: list[DatasetResult] = []
    for source, dataset in datasets:
        keys = [(each, mark_key(settings, model, source, each)) for each in dataset.scored]
        both = [(each, key) for each, key in keys if key in before and key in now]
        if both:
            kept = [each for each, _ in both]
            whole = len(keys) if len(kept) < len(keys) else None
            part = replace(dataset, examples=tuple(kept), whole=whole)
            results = [[result_of(each, side[key]) for each, key in both] for side in (before, now)]
            by = named(settings, source.judge) if source.judge and _has(kept, "judge") else None
            found.append(replace(measured(source, part, results, terms=terms), marked_by=by))
    examples = [each for result in found for each in result.dataset.examples]
    embeddings = settings.embeddings
    similar = "words" if embeddings is None else f"{embeddings.provider}/{embeddings.model}"
    return compared(found, Similarity(by=similar) if _has(examples, "similar") else None, terms=terms)


def _has(examples: Iterable[Example], task: str) -> bool:
    return any(each.task == task for each in examples)
