"""The array types of the statistics, and their error."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    _Columns = TypeVar("_Columns", bound=DataclassInstance)


def picked(columns: "_Columns", rows: Ints | Bools) -> "_Columns":
    """A value whose arrays are all columns of the same rows, with these rows alone."""
    whole = ((each.name, getattr(columns, each.name)) for each in fields(columns))
    return replace(columns, **{name: each[rows] for name, each in whole if isinstance(each, np.ndarray)})


NO_NUMBER = "they are too large, or not numbers"
"""What is wrong with values that overflow."""


class NotComputed(ArithmeticError):
    """Values of which no statistic can be made; the message says what is wrong with them."""
