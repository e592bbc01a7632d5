"""Examples for the tests, as a dataset's lines give them."""

import json
from typing import Any

from bench.benchmark.comparison import Comparison
from bench.dataset.example import Example
from bench.dataset.file import Dataset, parse
from pages.words.bench import reason


def dataset_of(*lines: dict[str, Any]) -> Dataset:
    """A dataset of these lines; ids and inputs are given where they have none."""
    given = [{"id": str(number), "input": f"Question {number}?", **line} for number, line in enumerate(lines)]
    return parse("\n".join(json.dumps(each) for each in given))


def example_of(**fields: Any) -> Example:
    """One example."""
    return dataset_of(fields).examples[0]


def reasons(found: Comparison) -> tuple[str, ...]:
    """The reasons of a verdict in words."""
    return tuple(map(reason, found.reasons))
