"""What can go wrong in the bench room, as one small tree.

BenchError
├── BadDataset    a dataset with lines that cannot be taken   (`problems`)
├── NoJudge       an example that only a judge can score, and there is none
└── NoAnswers     a model that answered nothing at all: there is nothing to judge
"""

from collections.abc import Sequence
from dataclasses import dataclass


class BenchError(Exception):
    """Anything that went wrong with a benchmark."""


@dataclass(frozen=True, slots=True)
class DatasetProblem:
    """What is wrong with one line, counted from 1."""

    line: int
    message: str


class BadDataset(BenchError):
    """Every line of a dataset that cannot be taken; the message names the `file`, where it is known."""

    def __init__(self, problems: Sequence[DatasetProblem], file: str = "") -> None:
        place = f"{file}:" if file else "line "
        super().__init__("\n".join(f"{place}{each.line}: {each.message}" for each in problems))
        self.problems = tuple(problems)


class NoJudge(BenchError):
    """An example needs a judge; the message says which."""


class NoAnswers(BenchError):
    """A model that gave no answer to any example; the message says what it met."""
