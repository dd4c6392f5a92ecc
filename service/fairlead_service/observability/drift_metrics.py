"""The serving model's drift, for Prometheus and for people."""

from collections.abc import Iterator
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from fairlead_service import contract
from fairlead_service.observability.drift import MIN_ROWS, Drift, Indices

SHOWN: Final = 10
"""Features in a summary, those that drifted most."""
NO_REFERENCE: Final = (
    "the model's bundle does not say how its training data were distributed: it was not trained by Fairlead, or on too "
    "few rows, or has too many features"
)
NO_MODEL: Final = "no model is loaded"


class DriftCollector:
    """Exports the serving model's indices, under its features' names or numbers."""

    def __init__(self) -> None:
        self._drift: Drift | None = None
        self._names: tuple[str, ...] = ()
        self._why_none = NO_MODEL

    def serve(self, drift: Drift | None, names: tuple[str, ...]) -> None:
        """From now on these; None for a model without a reference."""
        self._drift, self._names, self._why_none = drift, names, NO_REFERENCE

    def collect(self) -> Iterator[Metric]:
        rows = GaugeMetricFamily(contract.METRIC_DRIFT_ROWS, "Newest rows that the drift indices stand on")
        features = GaugeMetricFamily(
            contract.METRIC_FEATURE_DRIFT,
            "Population stability index of a feature, the newest rows against the training data",
            labels=("feature",),
        )
        predictions = GaugeMetricFamily(
            contract.METRIC_PREDICTION_DRIFT,
            "Population stability index of the predictions, the newest rows' against those at the training",
        )
        if self._drift is not None:
            found = self._drift.indices()
            rows.add_metric((), found.rows)
            for name, value in zip(self._names, found.features or (), strict=False):
                features.add_metric((name,), value)
            if found.predictions is not None:
                predictions.add_metric((), found.predictions)
        yield from (features, predictions, rows)

    def summary(self) -> dict[str, Any]:
        """The fields of `schemas.DriftSummary`."""
        found = self._drift.indices() if self._drift is not None else Indices(0)
        ordered = sorted(zip(self._names, found.features or (), strict=False), key=lambda pair: -pair[1])
        return {
            "sample_rows": found.rows,
            "threshold": contract.DRIFT_PSI_THRESHOLD,
            "predictions": found.predictions,
            "features": [{"feature": name, "psi": value} for name, value in ordered[:SHOWN]],
            "why_none": self._why(found),
        }

    def _why(self, found: Indices) -> str | None:
        if self._drift is None:
            return self._why_none
        if found.rows < MIN_ROWS:
            return f"{found.rows} rows are kept by now, {MIN_ROWS} are needed; one row in four is kept"
        return None
