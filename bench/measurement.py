"""One metric of a rubric as a benchmark has it for both models. `measures` makes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.answers.results import AT_ONCE, Result
from bench.statistics import ShareInterval

Both = Sequence[tuple[Result, Result]]
"""The current model's and the candidate's results on the same examples."""

Unit = Literal["share", "seconds", "dollars", "tokens", "answers an hour"]
Contrast = Callable[[float], ShareInterval | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConditions:
    """What the values of a run depend on: the number of concurrent questions, and the factor by which its
    answers cost less than list prices, as those of a batch do."""

    at_once: int = AT_ONCE
    price_factor: float = 1.0


USUAL = RunConditions()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One metric over the same examples: the candidate's value and the current model's, None if unknown.

    `contrast(factor)` is the candidate minus `factor` times the current model; `ratio` is candidate over
    current model, None for shares. `lacks` and `baseline_lacks` say what a model needs before a row may pass;
    absolute bounds do not need the current model. `at_once` is the concurrency on which the value depends;
    `note` explains the value. `only_relative` says why only a relative bound can be judged.
    """

    unit: Unit
    candidate: ShareInterval | None
    baseline: ShareInterval | None
    contrast: Contrast
    ratio: ShareInterval | None = None
    lacks: str = ""
    baseline_lacks: str = ""
    at_once: int | None = None
    note: str = ""
    only_relative: str = ""


def nothing(unit: Unit, lacks: str) -> Measurement:
    """A metric without a value, and why."""
    return Measurement(
        unit=unit,
        candidate=None,
        baseline=None,
        contrast=lambda factor: None,
        lacks=lacks,
        baseline_lacks=lacks,
    )


def cluster(result: Result) -> str:
    """The example's cluster."""
    return result.example.cluster


def clusters(pairs: Both) -> list[str]:
    """The clusters of these examples."""
    return [cluster(a) for a, _ in pairs]
