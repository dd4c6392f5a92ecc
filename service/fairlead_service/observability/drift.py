"""Do requests still look like the training data? The population stability index (PSI) of each feature.

A model trained by Fairlead carries, for each feature, the edges of quantile bins and the share of the training rows in
each. The server keeps some of the rows it is asked about, the newest so many, and compares when it is scraped.

PSI = Σ (actual - expected) · ln(actual / expected) over the bins, a missing value being in a bin of its own; a rule of
thumb calls 0.1 a shift worth a look and 0.25 a large one (Siddiqi, Credit Risk Scorecards, 2006).
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from fairlead_service.models.backends import Matrix
from fairlead_service.models.bundle import FeatureReference
from fairlead_service.observability.recent import Recent

KEPT: Final = 1000
MIN_ROWS: Final = 200
"""With fewer rows the index is mostly noise: its mean without any shift is about bins / rows."""
MAX_FEATURES: Final = 200
"""Each is a time series of its own."""
_LEAST_SHARE: Final = 1e-4
"""An empty bin counts as this share, or the index would be infinite."""


class Drift:
    """The indices of one model, from its reference and the newest rows."""

    def __init__(self, references: Sequence[FeatureReference], recent: Recent) -> None:
        self._references = references
        self._recent = recent

    def psi(self) -> list[float] | None:
        """One index a feature; None while there are too few rows."""
        rows = self._recent.newest(KEPT)
        if len(rows) < MIN_ROWS:
            return None
        return [psi(rows[:, column], reference) for column, reference in enumerate(self._references)]


class DriftCollector:
    """Exports the serving model's indices, under its features' names or numbers."""

    def __init__(self) -> None:
        self._drift: Drift | None = None
        self._names: tuple[str, ...] = ()

    def serve(self, drift: Drift | None, names: tuple[str, ...]) -> None:
        """From now on these; None for a model without a reference."""
        self._drift, self._names = drift, names

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "feature_drift_psi",
            "Population stability index of a feature, the newest rows against the training data",
            labels=("feature",),
        )
        values = self._drift.psi() if self._drift is not None else None
        for name, value in zip(self._names, values or (), strict=False):
            family.add_metric((name,), value)
        yield family


def references(x: Matrix) -> tuple[FeatureReference, ...] | None:
    """Of the training rows, shape (n, n_features); None for more features than anybody would look at."""
    if x.shape[1] > MAX_FEATURES:
        return None
    return tuple(reference(x[:, column]) for column in range(x.shape[1]))


def reference(values: NDArray[np.float64], bins: int = 10) -> FeatureReference:
    """Quantile bins of a feature's training values, shape (n,); fewer where values repeat. NaN is missing."""
    present = values[~np.isnan(values)]
    if len(present) == 0:
        return FeatureReference(edges=(), shares=(0.0, 1.0))
    edges = np.unique(np.quantile(present, np.linspace(0, 1, bins + 1)[1:-1], method="higher"))
    return FeatureReference(edges=tuple(edges.tolist()), shares=tuple(_shares(values, edges).tolist()))


def psi(values: NDArray[np.float64], expected: FeatureReference) -> float:
    """The index of values, shape (n,), n > 0, against a reference."""
    actual = np.maximum(_shares(values, np.array(expected.edges, np.float64)), _LEAST_SHARE)
    wanted = np.maximum(np.array(expected.shares, np.float64), _LEAST_SHARE)
    return float(np.sum((actual - wanted) * np.log(actual / wanted)))


def _shares(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The share of values in each bin, and last the share of missing ones, shape (len(edges) + 2,)."""
    missing = np.isnan(values)
    counts = np.bincount(np.searchsorted(edges, values[~missing], side="right"), minlength=len(edges) + 1)
    return np.append(counts, missing.sum()) / len(values)
