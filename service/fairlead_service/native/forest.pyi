"""Tree ensembles, expit and sparse products, in C. Arrays are C-contiguous unless said otherwise; every function raises
ValueError for an array of another shape, dtype or order, before it touches it."""

from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

BEYOND_FLOAT32: Final[int]
HAS_NAN: Final[int]
SINGLE: Final[int]
MEAN: Final[int]
SUM: Final[int]

@final
class Forest:
    """An ensemble, copied from a Trees record's arrays and checked: every walk stays inside them and ends."""

    def __new__(
        cls,
        nodes: NDArray[Any],
        leaves: NDArray[np.float64],
        roots: NDArray[np.int32],
        base: NDArray[np.float64] | None,
        n_features: int,
        width: int,
        combine: int,
        float32: bool,
    ) -> Forest:
        """Shapes and dtypes as in program.Trees; combine is SINGLE, MEAN or SUM; base is None but for SUM."""

    def evaluate(self, matrix: NDArray[np.float64], raw: NDArray[np.float64]) -> int:
        """Writes the raw values of matrix, shape (n, n_features), to raw, shape (n, width). Any thread may call it.

        Returns bits: BEYOND_FLOAT32, if a value is infinite as float32 (raw is then not complete), HAS_NAN, if one that
        was looked at is NaN.
        """

def expit(values: NDArray[np.float64]) -> None:
    """In place, shape (n,): 1 / (1 + exp(-x)), as scipy.special.expit computes it for float64."""

def sparse_dot(matrix: NDArray[np.float64], coef: NDArray[np.float64], raw: NDArray[np.float64]) -> None:
    """raw[i, k] += matrix[i, j] * coef[k, j] for each matrix[i, j] that is not 0, column after column, as SciPy's
    product of a CSR matrix does. Shapes (n, p), (width, p) in any memory order, (n, width)."""
