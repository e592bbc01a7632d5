"""Both models by layer, dataset, category and tag, with the verdict. Its reasons: `findings`."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.dataset import Dataset
from bench.errors import NoAnswers
from bench.figures import Figures, Pair, figures
from bench.findings import BenchFinding, Verdict, below_floor, of_critical, of_dataset, verdict
from bench.runner import Result
from bench.scorers.named import label
from bench.scorers.per_class import ClassAnswer, ClassLine, per_class
from bench.source import DatasetSource, Layer

LAYERS: tuple[Layer, ...] = ("synthetic", "real")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetPart:
    """One category, or one tag (`region: eu`), of a dataset. `flagged`: below the floor, or worse; only a
    critical category has findings, and `blocks` where one of them fails."""

    name: str
    critical: bool
    figures: Figures
    flagged: bool
    findings: tuple[BenchFinding, ...]

    @property
    def blocks(self) -> bool:
        return any(each.severity == "fails" for each in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetResult:
    """One dataset, and both models on it. `classes` are the current model's and then the candidate's, where
    examples are to be classified. `findings` hold those of the categories, too."""

    source: DatasetSource
    dataset: Dataset
    figures: Figures
    categories: tuple[DatasetPart, ...]
    tags: tuple[DatasetPart, ...]
    classes: tuple[tuple[ClassLine, ...], ...]
    findings: tuple[BenchFinding, ...]
    pairs: tuple[Pair, ...]

    @property
    def blocks(self) -> bool:
        return any(each.severity == "fails" for each in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLine:
    """All datasets of one layer together."""

    layer: Layer
    figures: Figures
    datasets: tuple[DatasetResult, ...]

    @property
    def findings(self) -> tuple[BenchFinding, ...]:
        return tuple(one for each in self.datasets for one in each.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All of it. No verdict where only the current model was measured."""

    layers: tuple[LayerLine, ...]
    verdict: Verdict | None
    reasons: tuple[str, ...]


def measured(source: DatasetSource, dataset: Dataset, results: Sequence[Sequence[Result]]) -> DatasetResult:
    """One dataset's comparison; `results` of the current model, and of the candidate if there is one.

    Raises NoAnswers for a model that answered nothing: then something else is wrong.
    """
    for each in results:
        _must_answer(each)
    pairs: list[Pair] = [(each[0], each[1] if len(each) > 1 else None) for each in zip(*results, strict=True)]
    whole = figures(pairs)
    categories = _parts(source, dataset.critical, pairs, _category)
    return DatasetResult(
        source=source,
        dataset=dataset,
        figures=whole,
        categories=categories,
        tags=_parts(source, frozenset(), pairs, _tags),
        classes=tuple(found for each in results if (found := _classes(each))),
        findings=(
            *of_dataset(source, whole, proposed=dataset.proposed),
            *(one for part in categories for one in part.findings),
        ),
        pairs=tuple(pairs),
    )


def compared(datasets: Sequence[DatasetResult]) -> Comparison:
    """The layers, and the verdict over all."""
    layers = tuple(
        LayerLine(
            layer=layer,
            figures=figures([pair for one in inside for pair in one.pairs]),
            datasets=tuple(inside),
        )
        for layer in LAYERS
        if (inside := [each for each in datasets if each.source.layer == layer])
    )
    findings = [one for each in layers for one in each.findings]
    alone = all(each.figures.candidate is None for each in datasets)
    return Comparison(
        layers=layers,
        verdict=None if alone else verdict(findings),
        reasons=tuple(each.says for each in sorted(findings, key=lambda each: each.severity)),
    )


def _parts(
    source: DatasetSource,
    critical: frozenset[str],
    pairs: Sequence[Pair],
    names: Callable[[Result], Iterable[str]],
) -> tuple[DatasetPart, ...]:
    groups: dict[str, list[Pair]] = {}
    for pair in pairs:
        for name in names(pair[0]):
            groups.setdefault(name, []).append(pair)
    return tuple(_part(source, name, name in critical, groups[name]) for name in sorted(groups))


def _part(source: DatasetSource, name: str, critical: bool, pairs: Sequence[Pair]) -> DatasetPart:
    found = figures(pairs, ratios=False)
    return DatasetPart(
        name=name,
        critical=critical,
        figures=found,
        flagged=found.worse or (found.candidate is not None and below_floor(source, found.candidate)),
        findings=tuple(of_critical(source, name, found)) if critical else (),
    )


def _category(result: Result) -> Iterable[str]:
    return (result.example.category,)


def _tags(result: Result) -> Iterable[str]:
    return (f"{name}: {value}" for name, value in result.example.tags.items())


def _classes(results: Sequence[Result]) -> tuple[ClassLine, ...]:
    named = [
        ClassAnswer(
            expected=each.example.expected,
            named=label(each.answer.text or "", each.example.classes),
            cluster=each.example.cluster,
        )
        for each in results
        if each.example.task == "classify"
    ]
    return tuple(per_class(named))


def _must_answer(results: Sequence[Result]) -> None:
    if results and all(each.answer.failure is not None for each in results):
        first = results[0].answer
        said = f", which says: {first.said}" if first.said else ""
        raise NoAnswers(f"it answered nothing; the first failure is {first.failure}{said}")
