"""Some of the newest rows that the serving model was asked about: for drift, and for those who replay them.

The path of a prediction only counts rows and copies one in four. Used by the event loop's thread only.
"""

from typing import Final

import numpy as np

from fairlead_service.models.backends import Matrix

EVERY: Final = 4
"""One row in so many is kept."""


class Recent:
    """At most `capacity` rows of `width` features; newer ones replace the oldest."""

    def __init__(self, width: int, capacity: int) -> None:
        self._rows: Matrix = np.empty((capacity, width))
        self._capacity = capacity
        self._seen = 0
        """Rows kept so far, also those that newer ones have replaced."""
        self._skip = 0

    def __len__(self) -> int:
        return min(self._seen, self._capacity)

    def offer(self, matrix: Matrix) -> None:
        """Keeps some of the rows, shape (n, width)."""
        n = len(matrix)
        if self._skip >= n:
            self._skip -= n
            return
        taken = matrix[self._skip :: EVERY][-self._capacity :]
        self._skip = (self._skip - n) % EVERY
        places = np.arange(self._seen, self._seen + len(taken)) % self._capacity
        self._rows[places] = taken
        self._seen += len(taken)

    def newest(self, at_most: int) -> Matrix:
        """A copy of the newest rows, the oldest of them first, shape (n, width)."""
        count = min(at_most, len(self))
        return self._rows[np.arange(self._seen - count, self._seen) % self._capacity]
