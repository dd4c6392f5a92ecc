"""Models that load and answer, and are yet worse than what serves: slow, failing now and then, or wrong.

They are pickled by value, so that the pods that load them need not have this module.
"""

import time
from typing import Any

import cloudpickle
import numpy as np
from sklearn.linear_model import LogisticRegression

from tests.cluster import spoilt

cloudpickle.register_pickle_by_value(spoilt)


class Slow(LogisticRegression):
    """Takes half a second a call."""

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        time.sleep(0.5)  # it is what is wrong with it
        return super().predict(X)


class Failing(LogisticRegression):
    """Has a fault that one row in twenty meets: those with the largest first feature."""

    limit: float = float("inf")

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Failing":  # noqa: N803 - scikit-learn's name
        super().fit(X, y, sample_weight)
        self.limit = float(np.quantile(np.asarray(X)[:, 0], 0.95))
        return self

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        if (np.asarray(X)[:, 0] > self.limit).any():
            raise RuntimeError("a fault of the model's own")
        return super().predict(X)


class Wrong(LogisticRegression):
    """Takes one class for the other."""

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        first, second = self.classes_
        return np.where(super().predict(X) == first, second, first)
