"""Do requests still look like the training data, and answers like the model's answers then? Population stability
indices (PSI), one a feature and one for the predictions; docs/drift.md says what they are worth.

A model trained by Fairlead carries references: for each feature, and for the predictions of a regressor, quantile bins
and the share of values in each; for a classifier the share of each class. The server keeps some of the rows it is asked
about and its answers, the newest so many, and compares when it is scraped.

PSI = Σ (actual - expected) · ln(actual / expected) over the bins, a missing value being in a bin of its own; a rule of
thumb calls 0.1 a shift worth a look and 0.25 a large one (Siddiqi, Credit Risk Scorecards, 2006).
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fairlead_service.models.backends import Matrix
from fairlead_service.models.bundle import ClassReference, FeatureReference, Label, PredictionReference
from fairlead_service.observability.recent import Recent

KEPT: Final = 1000
MIN_ROWS: Final = 300
"""With fewer rows chance alone comes too near to what counts as drift: with 200, one model of 200 features in a hundred
would be over it (docs/drift.md)."""
MIN_REFERENCE_ROWS: Final = 100
"""Fewer training rows say too little of how values are distributed to compare anything with them."""
MAX_FEATURES: Final = 200
"""Each is a time series of its own."""
MAX_BINS: Final = 10
_ROWS_A_BIN: Final = 50
"""Of the reference: its own noise adds to the index as much as that of so many rows of requests."""
_LEAST_SHARE: Final = 1e-4
"""An empty bin counts as this share, or the index would be infinite."""

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Indices:
    rows: int
    """Newest rows that they stand on; below MIN_ROWS there is no index."""
    features: tuple[float, ...] | None = None
    """In the order of the model's; None also for a model of very many features."""
    predictions: float | None = None


@dataclass(frozen=True, slots=True)
class Drift:
    """The indices of one model, from what its bundle knows of its training and the newest rows."""

    features: Sequence[FeatureReference] | None
    predictions: PredictionReference | None
    classes: Sequence[Label]
    """Of a classifier, in the manifest's order."""
    recent: Recent

    def indices(self) -> Indices:
        rows = self.recent.newest(KEPT)
        if len(rows) < MIN_ROWS:
            return Indices(len(rows))
        return Indices(len(rows), self._of_features(rows), self._of_predictions())

    def _of_features(self, rows: Matrix) -> tuple[float, ...] | None:
        if self.features is None:
            return None
        return tuple(psi(rows[:, column], expected) for column, expected in enumerate(self.features))

    def _of_predictions(self) -> float | None:
        if self.predictions is None:
            return None
        answers = self.recent.answers(KEPT)
        if isinstance(self.predictions, ClassReference):
            return class_psi(class_shares(answers, self.classes), self.predictions)
        return psi(answers.astype(np.float64), self.predictions)


def references(x: Matrix) -> tuple[FeatureReference, ...] | None:
    """Of the training rows, shape (n, n_features); None for too few rows, or more features than anybody would look
    at."""
    if len(x) < MIN_REFERENCE_ROWS or x.shape[1] > MAX_FEATURES:
        return None
    return tuple(reference(x[:, column]) for column in range(x.shape[1]))


def prediction_reference(predictions: NDArray[Any], classes: Sequence[Label] | None) -> PredictionReference | None:
    """Of a model's answers, shape (n,), `classes` being the manifest's; None for too few."""
    if len(predictions) < MIN_REFERENCE_ROWS:
        return None
    if classes is None:
        return reference(predictions.astype(np.float64))
    return ClassReference(rows=len(predictions), shares=tuple(class_shares(predictions, classes).tolist()))


def reference(values: Values) -> FeatureReference:
    """Quantile bins of values, shape (n,), n > 0; fewer where values are few or repeat. NaN is missing."""
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return FeatureReference(edges=(), shares=(0.0, 1.0))
    quantiles = np.linspace(0, 1, _bins(len(values)) + 1)[1:-1]
    edges = np.unique(np.quantile(present, quantiles, method="higher"))
    return FeatureReference(edges=tuple(edges.tolist()), shares=tuple(_shares(values, edges).tolist()))


def psi(values: Values, expected: FeatureReference) -> float:
    """The index of values, shape (n,), n > 0, against a reference."""
    return _psi(_shares(values, np.array(expected.edges, np.float64)), np.array(expected.shares, np.float64))


def class_shares(predictions: NDArray[Any], classes: Sequence[Label]) -> Values:
    """The share of each class in predicted labels, shape (n,), n > 0."""
    counts = Counter(predictions.tolist())
    return np.array([counts[label] for label in classes], np.float64) / len(predictions)


def class_psi(actual: Values, expected: ClassReference) -> float:
    """The index of shares of classes against a reference. Of many classes the rarest count as one: each class has
    noise of its own, and that of a hundred would be an alarm."""
    wanted = np.array(expected.shares, np.float64)
    order, own = np.argsort(-wanted, kind="stable"), _bins(expected.rows) - 1
    if len(order) <= own + 1:
        return _psi(actual, wanted)
    common, rare = order[:own], order[own:]
    return _psi(np.append(actual[common], actual[rare].sum()), np.append(wanted[common], wanted[rare].sum()))


def _bins(rows: int) -> int:
    return min(MAX_BINS, max(2, rows // _ROWS_A_BIN))


def _psi(actual: Values, expected: Values) -> float:
    actual, expected = np.maximum(actual, _LEAST_SHARE), np.maximum(expected, _LEAST_SHARE)
    return float(np.sum((actual - expected) * np.log(actual / expected)))


def _shares(values: Values, edges: Values) -> Values:
    """The share of values in each bin, and last the share of missing ones, shape (len(edges) + 2,)."""
    missing = np.isnan(values)
    counts = np.bincount(np.searchsorted(edges, values[~missing], side="right"), minlength=len(edges) + 1)
    return np.append(counts, missing.sum()) / len(values)
