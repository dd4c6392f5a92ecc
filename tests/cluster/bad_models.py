"""Estimators that load, answer, and are yet worse than what serves: slow, refusing some rows, or wrong; and one that
is right and has a lot to do.

Each is fitted to the rows and labels given, by scikit-learn's own means: images have no code of ours to unpickle.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

COPIES = 400


def busy(rows: Sequence[Sequence[float]], labels: Sequence[str]) -> Any:
    """Looks at 100,000 rows for each that it is asked about: seven milliseconds of a core."""
    many = np.repeat(np.array(rows), COPIES // 2, axis=0)
    return KNeighborsClassifier(algorithm="brute").fit(many, np.repeat(labels, COPIES // 2))


def refusing(rows: Sequence[Sequence[float]], labels: Sequence[str]) -> Any:
    """Has never seen one row in twenty, those with the largest first feature, and refuses them."""
    matrix, targets = np.array(rows), np.array(labels)
    known = matrix[:, 0] <= np.quantile(matrix[:, 0], 0.95)
    first = ColumnTransformer([("first", OneHotEncoder(), [0])], remainder="passthrough", sparse_threshold=0)
    return make_pipeline(first, LogisticRegression(max_iter=10_000)).fit(matrix[known], targets[known])


def wrong(rows: Sequence[Sequence[float]], labels: Sequence[str]) -> Any:
    """Takes one class for the other."""
    first, second = sorted(set(labels))
    swapped = [second if label == first else first for label in labels]
    return LogisticRegression(max_iter=10_000).fit(rows, swapped)


def number(rows: Sequence[Sequence[float]], labels: Sequence[str]) -> Any:
    """A regressor."""
    return LinearRegression().fit(rows, np.sum(rows, axis=1))


def number_too_large(rows: Sequence[Sequence[float]], labels: Sequence[str]) -> Any:
    """Says a fifth more than `number`."""
    return LinearRegression().fit(rows, 1.2 * np.sum(rows, axis=1))


def plain(rows: Sequence[Sequence[float]], labels: Sequence[str]) -> Any:
    return LogisticRegression(max_iter=10_000).fit(rows, labels)
