"""Models that select their columns by name, asked with matrices.

scikit-learn gives them to DataFrames only. Compiled they need none, so here they get one, of the columns they were
fitted on, in that order.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Matrix = np.ndarray[Any, np.dtype[np.float64]]


class Framed:
    """A fitted pipeline as one that takes matrices, shape (n, n_features); anything else of it is as it was."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def predict(self, x: "Matrix") -> Any:
        return self._estimator.predict(self._frame(x))

    def predict_proba(self, x: "Matrix") -> Any:
        return self._estimator.predict_proba(self._frame(x))

    def decision_function(self, x: "Matrix") -> Any:
        return self._estimator.decision_function(self._frame(x))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._estimator, name)

    def _frame(self, x: "Matrix") -> Any:
        import pandas

        return pandas.DataFrame(x, columns=self._estimator.feature_names_in_)


def takes_matrices(estimator: Any) -> Any:
    """The estimator, or a `Framed` one if it needs names that it has."""
    from fairlead_service.loading.compile.pipeline import selects_by_name

    needed = hasattr(estimator, "feature_names_in_") and selects_by_name(estimator)
    return Framed(estimator) if needed else estimator
