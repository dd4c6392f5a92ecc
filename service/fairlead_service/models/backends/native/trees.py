"""Evaluates tree ensembles: gives the kernel its arrays once, and rows after that."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends.native.program import NODE, ProgramError, Trees
from fairlead_service.models.backends.native.record import ArrayName, Arrays
from fairlead_service.native import forest

BEYOND_FLOAT32: Final = "Input X contains infinity or a value too large for dtype('float32')."
"""What scikit-learn says, and how: its trees work on float32."""

_COMBINE: Final = {"single": forest.SINGLE, "mean": forest.MEAN, "sum": forest.SUM}


def build_trees(record: Trees, arrays: Arrays, n_features: int) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Makes the function from a matrix, shape (n, n_features), float64, to raw values, shape (n, width).

    The function raises ValueError, in scikit-learn's words, for numbers beyond float32 if the trees round to it.
    The kernel checks every node while it copies the arrays: a bundle may come from anywhere, and must not lead a walk
    outside them or round in circles. Raises ProgramError for what it finds.
    """
    width = record.width
    base = None if record.base is None else _array(arrays, record.base, np.dtype(np.float64), 1)
    if (base is None) != (record.combine != "sum"):
        raise ProgramError(f"trees combined by {record.combine} have {'no base' if base is None else 'a base'}")
    try:
        trees = forest.Forest(
            nodes=_array(arrays, record.nodes, NODE, 1),
            leaves=_array(arrays, record.leaves, np.dtype(np.float64), 2),
            roots=_array(arrays, record.roots, np.dtype(np.int32), 1),
            base=base,
            n_features=n_features,
            width=width,
            combine=_COMBINE[record.combine],
            float32=record.cast == "float32",
        )
    except (ValueError, OverflowError) as error:
        raise ProgramError(f"the trees in array {record.nodes} are not whole: {error}") from error

    def evaluate(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        raw = np.empty((len(matrix), width))
        if trees.evaluate(np.ascontiguousarray(matrix), raw) & forest.BEYOND_FLOAT32:
            raise ValueError(BEYOND_FLOAT32)
        return raw

    if record.cast == "float32" or width == 1:
        return evaluate
    # HistGradientBoosting* keeps raw values column by column, and numpy's sums follow the order in memory.
    return lambda matrix: np.asfortranarray(evaluate(matrix))


def _array(arrays: Arrays, name: ArrayName, dtype: np.dtype[Any], ndim: int) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None or array.dtype != dtype or array.ndim != ndim:
        raise ProgramError(f"array {name} is missing, or not {ndim}-dimensional of {dtype}")
    return np.ascontiguousarray(array)
