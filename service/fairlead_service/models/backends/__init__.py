"""What can serve a model. A backend is built from a bundle and answers for it; it never changes afterwards."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.bundle import Bundle


class Backend(Protocol):
    """Called from worker threads, by several at once."""

    @property
    def name(self) -> str: ...

    def predict(self, matrix: NDArray[np.float64]) -> NDArray[Any]:
        """Labels or values, shape (n,). Raises ValueError for input the model does not take."""

    def predict_proba(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """Class probabilities, shape (n, n_classes), columns in the order of the manifest's classes."""


def build(bundle: Bundle) -> Backend:
    """The backend that the manifest names, with the model in memory. Slow: call it in a thread."""
    from fairlead_service.models.backends.sklearn import SklearnBackend

    return SklearnBackend(bundle)
