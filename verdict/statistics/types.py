"""The array types of the statistics, and their error."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class NotComputed(ArithmeticError):
    """Values of which no statistic can be made; the message says what is wrong with them."""
