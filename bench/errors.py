"""The errors of benchmarks.

BenchError
├── BadDataset      a dataset has bad lines (`problems`)
├── NoBatch         a provider takes no batch, or refused this one (`status`, `passing`)
├── LineGone        a line was changed or removed since it was read (`bench.dataset.file`)
├── BadImport       another tool's file cannot be imported (`bench.dataset.imports.imported`)
├── Unpriced        a model has no known price
├── NoKey           a provider has no key
├── NoAnswers       a model answered no example, or the judge marked none
└── AmbiguousModel  a model's name is ambiguous (`bench.models.pair`)
"""

from collections.abc import Sequence
from dataclasses import dataclass


class BenchError(Exception):
    """Why something cannot be benchmarked; the message says what to do."""


@dataclass(frozen=True, slots=True)
class DatasetProblem:
    """An error in one line, counted from 1."""

    line: int
    message: str


class BadDataset(BenchError):
    """The bad lines of a dataset. The message names the `file`, if known."""

    def __init__(self, problems: Sequence[DatasetProblem], file: str = "") -> None:
        place = f"{file}:" if file else "line "
        super().__init__("\n".join(f"{place}{problem.line}: {problem.message}" for problem in problems))
        self.problems = tuple(problems)


class NoBatch(BenchError):
    """A provider takes no batch, or refused a request about one with this HTTP status (None: no answer came).
    `passing`: the same request may succeed later."""

    def __init__(self, message: str, *, status: int | None = None, passing: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.passing = passing


class Unpriced(BenchError):
    """A model has no known price; the message says where to give it one."""


class NoKey(BenchError):
    """A provider has no key; the message says where to set it."""


class NoAnswers(BenchError):
    """A model answered no example, or the judge marked no answer; the message gives the first failure."""
