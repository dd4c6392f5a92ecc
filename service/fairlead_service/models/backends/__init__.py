"""What can serve a model. A backend is built from a bundle and answers for it; it never changes afterwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.bundle import Bundle, Placement

Matrix = NDArray[np.float64]
"""Rows to predict, shape (n, n_features), float64, C-contiguous. NaN stands for a missing value."""


class Want(NamedTuple):
    """What is asked of a backend beside predictions."""

    probabilities: bool = False
    scores: bool = False


@dataclass(slots=True, eq=False)
class Outputs:
    """What a model answers for n rows; optional parts are there when they were wanted."""

    predictions: NDArray[Any]
    """Labels or values, shape (n,)."""
    probabilities: NDArray[np.float64] | None = None
    """Shape (n, n_classes), columns in the order of the manifest's classes."""
    scores: NDArray[np.float64] | None = None
    """`decision_function`: shape (n,) for two classes, (n, n_classes) for more."""

    def rows(self, start: int, stop: int) -> "Outputs":
        """The answers for some of the rows, without copies."""
        return Outputs(
            self.predictions[start:stop],
            None if self.probabilities is None else self.probabilities[start:stop],
            None if self.scores is None else self.scores[start:stop],
        )


class Backend(Protocol):
    """Called from the event loop's thread and from worker threads, by several at once."""

    @property
    def name(self) -> str:
        """`native` or `sklearn`."""

    def evaluate(self, matrix: Matrix, want: Want, ends: Sequence[int] = ()) -> Outputs:
        """All that is wanted, in one call. Raises ValueError, in scikit-learn's words, for input that the model does
        not take. The manifest says which parts the model has; a part that it does not have must not be asked for.

        `ends`: where each request's rows end, if the rows are of several; only for models whose proof says that each
        is then answered as it is alone."""


def place(matrix: Matrix, placement: Placement | None) -> Matrix:
    """The matrix in all columns that the model was fitted on, with 0 in those that it drops."""
    if placement is None:
        return matrix
    wide = np.zeros((len(matrix), placement.width))
    wide[:, placement.places] = matrix
    return wide


class Placed:
    """A backend that takes the features alone, around one that takes all columns that the model was fitted on."""

    def __init__(self, backend: Backend, placement: Placement) -> None:
        self.name = backend.name
        self._backend = backend
        self._placement = placement

    def evaluate(self, matrix: Matrix, want: Want, ends: Sequence[int] = ()) -> Outputs:
        return self._backend.evaluate(place(matrix, self._placement), want, ends)


def build(bundle: Bundle) -> Backend:
    """The backend that the manifest names, with the model in memory. Slow: call it in a thread."""
    placement, backend = bundle.manifest.placement, _build(bundle)
    return backend if placement is None else Placed(backend, placement)


def _build(bundle: Bundle) -> Backend:
    if bundle.manifest.backend == "native":
        from fairlead_service.models.backends.native.backend import NativeBackend

        return NativeBackend(bundle)
    from fairlead_service.models.backends.sklearn import SklearnBackend

    return SklearnBackend(bundle)
