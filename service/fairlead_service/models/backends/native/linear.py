"""Evaluates linear models: one matrix product and one addition, as `sklearn.linear_model` does them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends.native.program import Linear, ProgramError
from fairlead_service.models.backends.native.record import Arrays
from fairlead_service.native import forest

Raw = NDArray[np.float64]
"""Shape (n, width)."""


def build_linear(record: Linear, arrays: Arrays, n_features: int) -> Callable[[NDArray[np.float64]], Raw]:
    """Makes the function from a matrix, shape (n, n_features), float64, to raw values, shape (n, width).

    The product has the operands, shapes and memory orders that it has in scikit-learn: numpy and BLAS choose by them
    how to add up.

    Raises ProgramError if the arrays are not those that the record promises.
    """
    coef, intercept = _array(arrays, record.coef), _array(arrays, record.intercept)
    expected = (n_features,) if coef.ndim == 1 and record.width == 1 else (record.width, n_features)
    if coef.shape != expected:
        raise ProgramError(f"array {record.coef} has shape {coef.shape}, not {expected}")
    if intercept.shape not in ((), (record.width,)):
        raise ProgramError(f"array {record.intercept} has shape {intercept.shape}, not ({record.width},)")
    return _sparse(coef, intercept, record.width) if record.product == "sparse" else _dense(coef, intercept)


def _dense(coef: NDArray[np.float64], intercept: NDArray[np.float64]) -> Callable[[NDArray[np.float64]], Raw]:
    transposed = coef.T
    if coef.ndim == 2:

        def evaluate(matrix: NDArray[np.float64]) -> Raw:
            with np.errstate(all="ignore"):
                raw: Raw = matrix @ transposed
                raw += intercept
            return raw

        return evaluate

    def evaluate_flat(matrix: NDArray[np.float64]) -> Raw:
        with np.errstate(all="ignore"):
            raw = matrix @ transposed
            raw += intercept
        return raw.reshape(-1, 1)

    return evaluate_flat


def _sparse(
    coef: NDArray[np.float64], intercept: NDArray[np.float64], width: int
) -> Callable[[NDArray[np.float64]], Raw]:
    rows = np.ascontiguousarray(coef.reshape(width, -1))

    def evaluate(matrix: NDArray[np.float64]) -> Raw:
        raw = np.zeros((len(matrix), width))
        forest.sparse_dot(np.ascontiguousarray(matrix), rows, raw)
        with np.errstate(all="ignore"):
            raw += intercept
        return raw

    return evaluate


def _array(arrays: Arrays, name: str) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None or array.dtype != np.float64:
        raise ProgramError(f"array {name} is missing or not of float64")
    return array
