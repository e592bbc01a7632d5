"""The array types and the interval type of the statistics."""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Texts: TypeAlias = npt.NDArray[Any]
"""Arrays of numpy's fixed-width str."""


class NotComputed(ArithmeticError):
    """Values of which no statistic can be made; the message says what is wrong with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """low ≤ estimate ≤ high in one unit; an unbounded end is ±inf."""

    low: float
    estimate: float
    high: float

    def shifted(self, by: float) -> "Interval":
        return Interval(low=self.low + by, estimate=self.estimate + by, high=self.high + by)

    def scaled(self, by: float) -> "Interval":
        """The interval of `by` times the quantity; a negative factor swaps the ends."""
        ends = sorted((self.low * by, self.high * by))
        return Interval(low=ends[0], estimate=self.estimate * by, high=ends[1])

    def known(self) -> "Interval":
        """This interval. Raises NotComputed where an end is no number, which every comparison would take for
        the wrong side or the right one."""
        if any(map(math.isnan, (self.low, self.estimate, self.high))):
            raise NotComputed("their interval is not a number")
        return self
