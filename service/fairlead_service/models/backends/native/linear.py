"""Evaluates linear models: one matrix product and one addition, as `sklearn.linear_model` does them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends.native.program import Linear, ProgramError
from fairlead_service.models.backends.native.record import Arrays
from fairlead_service.native import forest

Raw = NDArray[np.float64]
"""Shape (n, width)."""
Estimate = Callable[[NDArray[np.float64], Sequence[int]], Raw]


def build_linear(record: Linear, arrays: Arrays, n_features: int) -> Estimate:
    """Makes the function from a matrix, shape (n, n_features), float64, and where its requests' rows end (as in
    `Backend.evaluate`) to raw values, shape (n, width), C order.

    The product has the operands, shapes and memory orders that it has in scikit-learn: numpy and BLAS choose by them
    how to add up. So it is one product a request; everything else is done for all rows at once.

    Raises ProgramError if the arrays are not those that the record promises.
    """
    coef, intercept = _array(arrays, record.coef), _array(arrays, record.intercept)
    expected = (n_features,) if coef.ndim == 1 and record.width == 1 else (record.width, n_features)
    if coef.shape != expected:
        raise ProgramError(f"array {record.coef} has shape {coef.shape}, not {expected}")
    if intercept.shape not in ((), (record.width,)):
        raise ProgramError(f"array {record.intercept} has shape {intercept.shape}, not ({record.width},)")
    return _sparse(coef, intercept, record.width) if record.product == "sparse" else _dense(coef, intercept)


def _dense(coef: NDArray[np.float64], intercept: NDArray[np.float64]) -> Estimate:
    transposed = coef.T
    shape = coef.shape[:-1]

    def evaluate(matrix: NDArray[np.float64], ends: Sequence[int]) -> Raw:
        raw = np.empty((len(matrix), *shape))
        with np.errstate(all="ignore"):
            if ends:
                _products(matrix, ends, transposed, raw)
            else:
                np.matmul(matrix, transposed, raw)
            raw += intercept
        return raw if shape else raw.reshape(-1, 1)

    return evaluate


def _products(matrix: NDArray[np.float64], ends: Sequence[int], transposed: NDArray[np.float64], raw: Raw) -> None:
    """Each request's product. Its rows lie in the memory order that they would have alone, if need be in a copy."""
    whole = matrix.flags.c_contiguous
    start = 0
    for stop in ends:
        rows = matrix[start:stop]
        np.matmul(rows if whole else rows.copy(order="K"), transposed, raw[start:stop])
        start = stop


def _sparse(coef: NDArray[np.float64], intercept: NDArray[np.float64], width: int) -> Estimate:
    rows = np.ascontiguousarray(coef.reshape(width, -1))

    def evaluate(matrix: NDArray[np.float64], ends: Sequence[int]) -> Raw:
        raw = np.zeros((len(matrix), width))
        forest.sparse_dot(np.ascontiguousarray(matrix), rows, raw)  # row by row
        with np.errstate(all="ignore"):
            raw += intercept
        return raw

    return evaluate


def _array(arrays: Arrays, name: str) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None or array.dtype != np.float64:
        raise ProgramError(f"array {name} is missing or not of float64")
    return array
