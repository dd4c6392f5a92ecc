"""Takes arrays of a program for a record: a bundle may come from a store that others can write to, so every array is
checked once, when the backend is built, before anything indexes with it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends.native.program import ProgramError
from fairlead_service.models.backends.native.record import ArrayName, Arrays


def floats(arrays: Arrays, name: ArrayName, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """A float64 array of exactly this shape. Raises ProgramError."""
    array = _typed(arrays, name, np.float64)
    if array.shape != shape:
        raise ProgramError(f"array {name} has shape {array.shape}, not {shape}")
    return array


def indices(arrays: Arrays, name: ArrayName, stop: int) -> NDArray[np.int64]:
    """An int64 array, shape (k,), of numbers from 0 to stop - 1. Raises ProgramError."""
    array = _typed(arrays, name, np.int64)
    if array.ndim != 1 or (array.size and not (array.min() >= 0 and array.max() < stop)):
        raise ProgramError(f"array {name} is not a list of indices below {stop}")
    return array


def categories(
    arrays: Arrays, name: ArrayName, offsets_name: ArrayName, width: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The categories of all columns, float64, shape (c,), and for each the column it belongs to, int64, shape (c,).

    Raises ProgramError unless each of the `width` columns has at least one, and a column's are in ascending order,
    without duplicates, NaN last.
    """
    values = _typed(arrays, name, np.float64)
    offsets = _typed(arrays, offsets_name, np.int64)
    if values.ndim != 1 or offsets.shape != (width + 1,) or offsets[0] != 0 or offsets[-1] != len(values):
        raise ProgramError(f"array {offsets_name} does not divide {name} among {width} columns")
    if not (offsets[1:] > offsets[:-1]).all():
        raise ProgramError(f"array {offsets_name} leaves a column of {name} without categories")
    columns = np.repeat(np.arange(width), np.diff(offsets))
    ascending = (values[:-1] < values[1:]) | (~np.isnan(values[:-1]) & np.isnan(values[1:]))
    if not (ascending | (columns[:-1] != columns[1:])).all():
        raise ProgramError(f"array {name} has a column whose categories do not ascend")
    return values, columns


def _typed(arrays: Arrays, name: ArrayName, dtype: type[np.generic]) -> NDArray[Any]:
    array = arrays.get(name)
    if array is None or array.dtype != dtype:
        raise ProgramError(f"array {name} is missing or not of {dtype.__name__}")
    return array
