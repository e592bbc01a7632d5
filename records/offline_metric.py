"""Metrics that only a benchmark measures, because they need right answers or a rate of questions."""

from typing import Literal, get_args

THROUGHPUT = "throughput"
"""Answers an hour."""

ClassMeasure = Literal["recall", "precision", "false_positive_rate"]
CLASS_MEASURES: tuple[ClassMeasure, ...] = get_args(ClassMeasure)


def class_measure(name: str) -> tuple[ClassMeasure, str] | None:
    """("recall", "fraud") for `recall:fraud`; None for another metric, and without a class."""
    stem, _, of = name.partition(":")
    return next(((measure, of.strip()) for measure in CLASS_MEASURES if measure == stem and of.strip()), None)


def is_offline(name: str) -> bool:
    """True for a metric that only a benchmark measures."""
    return name == THROUGHPUT or class_measure(name) is not None
