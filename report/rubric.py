"""The rubric as it was fixed before the run: criteria, their bounds, and its hash."""

import re
from dataclasses import dataclass
from typing import Literal

Comparison = Literal["<", "<=", ">", ">="]

_ABSOLUTE = re.compile(r"^\s*(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)\s*(%|ms|s|x)?\s*$")


class BadBound(ValueError):
    """A bound's text that cannot be read; the message says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """`metric comparison value`, or with `relative` set `metric comparison factor·baseline + offset`.

    Values are in the metric's own unit: shares in [0, 1], seconds, dollars, rating points. `text` is what the
    person wrote.
    """

    comparison: Comparison
    text: str
    value: float = 0.0
    relative: bool = False
    factor: float = 1.0
    offset: float = 0.0

    @property
    def higher_is_better(self) -> bool:
        return self.comparison in (">", ">=")


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One row of the rubric. `weight` ranks and summarises; it never outvotes a failed gate."""

    metric: str
    acceptable: Bound
    ideal: Bound
    weight: float
    question: str
