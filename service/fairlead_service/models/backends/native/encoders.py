"""Evaluates OneHotEncoder and OrdinalEncoder on numbers.

scikit-learn searches each column's categories; here all columns are compared with all categories at once, which has the
same outcome (-0.0 is 0.0 to both) in a few numpy calls for a row.
"""

from collections.abc import Callable
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends.native import arrays as take
from fairlead_service.models.backends.native.record import Arrays
from fairlead_service.models.backends.native.steps import OneHot, Ordinal

Matrix = NDArray[np.float64]
Transform = Callable[[Matrix], Matrix]

_COMPARISONS = 1 << 20
"""At most so many at once, which bounds the memory; more rows go in several turns."""


def build_one_hot(record: OneHot, arrays: Arrays, width: int) -> tuple[Transform, int]:
    """Raises ProgramError."""
    table = _Table(arrays, record.categories, record.offsets, width)
    keep = None if record.keep is None else take.indices(arrays, record.keep, len(table.values))

    def evaluate(matrix: Matrix) -> Matrix:
        hits = table.hits(matrix)
        if record.unknown == "error" and np.count_nonzero(hits) != matrix.size:
            table.refuse(matrix)
        return (hits if keep is None else hits.take(keep, axis=1)).astype(np.float64, order="C")

    return evaluate, len(table.values) if keep is None else len(keep)


def build_ordinal(record: Ordinal, arrays: Arrays, width: int) -> tuple[Transform, int]:
    """Raises ProgramError."""
    table = _Table(arrays, record.categories, record.offsets, width)
    codes = np.arange(len(table.values)) - np.searchsorted(table.columns, table.columns)
    codes = np.where(np.isnan(table.values), record.missing, codes.astype(np.float64))
    turn = max(1, _COMPARISONS // len(table.values))

    def evaluate(matrix: Matrix) -> Matrix:
        out = np.full(matrix.shape, 0.0 if record.unknown is None else record.unknown)
        known = 0
        for start in range(0, len(matrix), turn):
            rows, categories = table.hits(matrix[start : start + turn]).nonzero()
            out[start + rows, table.columns[categories]] = codes[categories]
            known += len(rows)
        if record.unknown is None and known != matrix.size:
            table.refuse(matrix)
        return out

    return evaluate, width


class _Table:
    """The categories of all columns, side by side."""

    def __init__(self, arrays: Arrays, categories: str, offsets: str, width: int) -> None:
        self.values, self.columns = take.categories(arrays, categories, offsets, width)
        self._nan = np.flatnonzero(np.isnan(self.values))
        self._width = width

    def hits(self, matrix: Matrix) -> NDArray[np.bool_]:
        """Shape (n, c), C order: whether a row has that category in the category's column; at most one a column."""
        hits: NDArray[np.bool_] = matrix.take(self.columns, axis=1) == self.values
        if len(self._nan):
            hits[:, self._nan] = np.isnan(matrix[:, self.columns[self._nan]])
        return hits

    def refuse(self, matrix: Matrix) -> NoReturn:
        """Raises scikit-learn's ValueError for the first column with an unknown category."""
        for column in range(self._width):
            known = self.values[self.columns == column]
            found = np.unique(matrix[:, column], equal_nan=False)
            unknown = found[~np.isin(found, known)]
            if np.isnan(known[-1]):
                unknown = unknown[~np.isnan(unknown)]
            if len(unknown):
                raise ValueError(f"Found unknown categories {list(unknown)} in column {column} during transform")
        raise AssertionError("there is an unknown category")
