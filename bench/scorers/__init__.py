"""Scores an answer from 0 to 1: one pure function per task, except `judge`."""

from collections.abc import Callable, Mapping

from bench.example import Example, Task
from bench.scorers.exact import exact
from bench.scorers.extract import extract
from bench.scorers.named import choice, classify
from bench.scorers.pattern import fitting_json, regex
from bench.scorers.rank import rank
from bench.scorers.similar import similar

Scorer = Callable[[Example, str], float]

SCORERS: Mapping[Task, Scorer] = {
    "choice": choice,
    "extract": extract,
    "classify": classify,
    "similar": similar,
    "rank": rank,
    "exact": exact,
    "regex": regex,
    "json": fitting_json,
}
"""The scorers of all tasks except `judge`, which another model scores."""

THRESHOLDS: Mapping[Task, float] = {
    "choice": 1.0,
    "extract": 1.0,
    "classify": 1.0,
    "similar": 0.8,
    "rank": 0.8,
    "exact": 1.0,
    "regex": 1.0,
    "json": 1.0,
    "judge": 0.75,
}
"""The score from which an answer is right, unless its example sets one."""


def is_right(example: Example, score: float, threshold: float | None = None) -> bool:
    """True if a score reaches the example's threshold, else this one or its task's, within rounding."""
    usual = THRESHOLDS[example.task] if threshold is None else threshold
    return score >= (usual if example.threshold is None else example.threshold) - 1e-9


__all__ = ["SCORERS", "THRESHOLDS", "Scorer", "is_right"]
