"""Some of the newest rows that the serving model was asked about, with its answers: for drift, and for those who replay
the rows.

The path of a prediction only counts rows and copies one in four. Used by the event loop's thread only.
"""

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends import Matrix

EVERY: Final = 4
"""One row in so many is kept."""


class Recent:
    """At most `capacity` rows of `width` features; newer ones replace the oldest."""

    def __init__(self, width: int, capacity: int) -> None:
        self._rows: Matrix = np.empty((capacity, width))
        self._answers: NDArray[Any] = np.empty(capacity, object)
        self._capacity = capacity
        self._seen = 0
        """Rows kept so far, also those that newer ones have replaced."""
        self._skip = 0

    def __len__(self) -> int:
        return min(self._seen, self._capacity)

    def offer(self, matrix: Matrix, predictions: NDArray[Any]) -> None:
        """Keeps some of the rows, shape (n, width), and what the model predicted for them, shape (n,)."""
        n = len(matrix)
        if self._skip >= n:
            self._skip -= n
            return
        taken = slice(self._skip, None, EVERY)
        rows = matrix[taken][-self._capacity :]
        self._skip = (self._skip - n) % EVERY
        start = self._seen % self._capacity
        self._seen += len(rows)
        places: slice | NDArray[np.intp] = slice(start, start + len(rows))
        if start + len(rows) > self._capacity:
            places = np.arange(start, start + len(rows)) % self._capacity
        self._rows[places] = rows
        self._answers[places] = predictions[taken][-self._capacity :]

    def newest(self, at_most: int) -> Matrix:
        """A copy of the newest rows, the oldest of them first, shape (n, width)."""
        return self._rows[self._newest(at_most)]

    def blocks(self, at_most: int, rows: int) -> Iterator[Matrix]:
        """`newest` in several copies of at most so many rows, for who gives the event loop its turn in between. Rows
        that have been replaced by then are the newer ones."""
        chosen = self._newest(at_most)
        for start in range(0, len(chosen), rows):
            yield self._rows[chosen[start : start + rows]]

    def answers(self, at_most: int) -> NDArray[Any]:
        """What was predicted for the rows of `newest`, as Python objects, shape (n,)."""
        return self._answers[self._newest(at_most)]

    def _newest(self, at_most: int) -> NDArray[np.intp]:
        return np.arange(self._seen - min(at_most, len(self)), self._seen) % self._capacity
