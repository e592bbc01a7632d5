"""A dataset: JSONL with one example per line. A file with errors is refused, with all of them listed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import msgspec

from bench.errors import BadDataset, DatasetProblem
from bench.example import TASKS, Example, ExampleLine, example, fingerprint, problems
from bench.labelling import LABEL, PROPOSED, tier
from bench.traffic_weights import TrafficWeights

FEW = 50
"""With fewer examples the interval is wide: a sanity check, not a benchmark."""

FEW_CRITICAL = 40
"""With fewer examples of a critical category, a loss in it may go undetected."""

_decode = msgspec.json.Decoder(ExampleLine).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The examples in the file's order. `sha256` is the version; it changes with the questions and with what
    counts as right. `weights` are the traffic's, if they are known. `whole` is the number of scored examples
    in the file where these are only a part of them."""

    examples: tuple[Example, ...]
    sha256: str
    weights: TrafficWeights | None = None
    whole: int | None = None

    @property
    def scored(self) -> tuple[Example, ...]:
        """The examples with an expected answer."""
        return tuple(example for example in self.examples if example.expected is not None)

    @property
    def proposed(self) -> int:
        """The number of proposed labels that no person has reviewed."""
        return sum(example.tags.get(LABEL) == PROPOSED for example in self.scored)

    @property
    def critical(self) -> frozenset[str]:
        """The categories with an example marked critical."""
        return frozenset(example.category for example in self.examples if example.critical)


def parse(text: str) -> Dataset:
    """Parse a file; blank lines are ignored. Raises BadDataset with every bad line."""
    found: list[tuple[int, ExampleLine]] = []
    wrong: list[DatasetProblem] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        if line.strip():
            try:
                found.append((number, _decode(line)))
            except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as problem:
                wrong.append(DatasetProblem(number, _in_words(problem)))
    wrong += [DatasetProblem(number, text) for number, line in found for text in problems(line)]
    wrong += _repeats(found)
    if not found and not wrong:
        wrong.append(DatasetProblem(1, "the file has no example"))
    if wrong:
        raise BadDataset(sorted(wrong, key=lambda problem: problem.line))
    return _dataset(_with_classes(tuple(example(line) for _, line in found)))


def _with_classes(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    expected = (item.expected for item in examples if item.task == "classify" and not item.choices)
    classes = tuple(sorted({name for name in expected if name is not None}))
    return tuple(
        replace(item, classes=item.choices or classes) if item.task == "classify" else item
        for item in examples
    )


def _dataset(examples: tuple[Example, ...]) -> Dataset:
    lines = [[item.hash, item.category, item.critical, item.cluster] for item in examples]
    return Dataset(examples=examples, sha256=fingerprint(lines))


def _in_words(problem: Exception) -> str:
    text = str(problem)
    if text.endswith("`$.task`"):
        return f"{text}; a task is one of {', '.join(TASKS)}"
    return text if isinstance(problem, msgspec.ValidationError) else f"not a JSON object: {text}"


def _repeats(found: list[tuple[int, ExampleLine]]) -> Iterator[DatasetProblem]:
    """Lines that repeat an earlier one with the same id and question: they would count twice."""
    seen: dict[str, int] = {}
    for number, line in found:
        first = seen.setdefault(example(line).hash, number)
        if first != number:
            yield DatasetProblem(number, f"repeats line {first}")


def warnings(dataset: Dataset) -> Iterator[str]:
    """Weaknesses of a valid dataset, in words."""
    scored = dataset.scored
    if dataset.proposed:
        yield (
            f"{dataset.proposed} labels are unreviewed proposals: they favour the model that made them "
            "(review them with `canary dataset label`)"
        )
    if len(scored) < FEW:
        yield f"{len(scored)} examples are too few for a narrow interval; use at least {FEW}"
    for category, count in sorted(Counter(item.category for item in scored).items()):
        if category in dataset.critical and count < FEW_CRITICAL:
            yield (
                f"the critical category {category or '(none)'} has {count} examples: "
                f"below {FEW_CRITICAL} a loss may go undetected"
            )
    repeated = sum(count > 1 for count in Counter(item.cluster for item in scored).values())
    if repeated:
        yield f"{repeated} ids or documents have several lines: each counts as one piece of evidence"


def described(dataset: Dataset) -> Mapping[str, object]:
    """A summary of the dataset as JSON types."""
    scored = dataset.scored
    return {
        "sha256": dataset.sha256,
        "examples": len(scored),
        "ambiguous": len(dataset.examples) - len(scored),
        "proposed": dataset.proposed,
        "tier": tier(len(scored) - dataset.proposed),
        "tasks": dict(sorted(Counter(item.task for item in scored).items())),
        "categories": dict(sorted(Counter(item.category for item in scored).items())),
        "critical": sorted(dataset.critical),
        "warnings": list(warnings(dataset)),
    }
