"""Prometheus metrics, one registry an application. Label values come from closed sets: route templates, known methods,
status codes, names of registered algorithms; nothing a client sends becomes a label."""

from collections.abc import Iterable
from functools import partial
from typing import Any, Final, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from fairlead_service import contract
from fairlead_service.circuit import Circuit, Dependency
from fairlead_service.inference.admission import LIMITS, Limit
from fairlead_service.models.slot import Serving
from fairlead_service.observability import summary
from fairlead_service.observability.drift_metrics import DriftCollector
from fairlead_service.observability.observations import Histograms, Series
from fairlead_service.wire import CacheOutcome

OUTCOMES: Final = ("succeeded", "failed")
CACHE_OUTCOMES: Final = (*get_args(CacheOutcome), "rejected")
UNMATCHED: Final = "unmatched"
"""The path label of requests that no route takes."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LATENCY: Final = tuple(value / 1000 for value in contract.LATENCY_MILLISECONDS)
_PREDICTION: Final = (0.00005, 0.0001, 0.00025, *_LATENCY)
_STALL: Final = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_TRAINING: Final = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_LOADING: Final = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_ROWS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0)


class Metrics:
    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        self._requests = Histograms(
            "http_request_duration_seconds",
            "From the request's first byte handled to the answer's last byte written",
            ("method", "path", "status"),
            _LATENCY,
            counter=("http_requests", "HTTP requests answered"),
        )
        self._predictions = Histograms("prediction_time_seconds", "Time of one model call", (), _PREDICTION)
        self._batches = Histograms("prediction_batch_size", "Rows of one model call", (), _ROWS)
        self._stalls = Histograms(
            "event_loop_stall_seconds",
            "How late the server's event loop was for a timer, 20 times a second; meanwhile no request is answered",
            (),
            _STALL,
        )
        for histograms in (self._requests, self._predictions, self._batches, self._stalls):
            registry.register(histograms)
        self._prediction, self._rows = self._predictions.labels(), self._batches.labels()
        self.stall = self._stalls.labels().observe
        self._shed = Counter(
            "predictions_shed",
            "Predictions refused with 429; limit is in_flight (FAIRLEAD_MAX_IN_FLIGHT requests are worked on) or "
            "waiting_rows (FAIRLEAD_MAX_WAITING_ROWS rows wait for the model)",
            ("limit",),
            registry=registry,
        )
        for limit in LIMITS:
            self._shed.labels(limit)
        self._extra = Counter(
            "predictions_with_extra_columns",
            "Predictions whose rows have named columns that the model does not have; those are ignored",
            registry=registry,
        )
        self.in_progress = 0
        """Requests in flight; a plain number, written by the event loop's thread alone and read at scrapes."""
        Gauge(
            "http_requests_in_progress", "Requests in flight, without probes and scrapes", registry=registry
        ).set_function(lambda: self.in_progress)
        self._training = Histogram(
            "training_time_seconds",
            "From the start of a training process to its end",
            ("algorithm", "outcome"),
            buckets=_TRAINING,
            registry=registry,
        )
        self._load = Histogram(
            "model_load_seconds",
            "From the start of a load to the model serving, or failing to",
            ("outcome",),
            buckets=_LOADING,
            registry=registry,
        )
        for outcome in OUTCOMES:
            self._load.labels(outcome)
        self._cache = Counter(
            "bundle_cache_requests",
            "What became of loads' requests to the bundle cache: hit, miss, stored, corrupt, error, unavailable (it "
            "did not answer) or rejected (not asked, because it did not answer lately)",
            ("outcome",),
            registry=registry,
        )
        for outcome in CACHE_OUTCOMES:
            self._cache.labels(outcome)
        self._model = Gauge(
            "model_info", "1 for the model that serves", ("run_id", "model", "version", "backend"), registry=registry
        )
        self._drift = DriftCollector()
        registry.register(self._drift)
        self._proof = Gauge(
            "model_proof_rows",
            "Rows on which the serving model was checked at its load; verdict is identical (to scikit-learn, in every "
            "bit), loaded or untested",
            ("verdict",),
            registry=registry,
        )
        self._mlflow = Counter(
            "mlflow_calls",
            "What the server itself asked MLflow; rejected: not asked, because MLflow did not answer lately",
            ("outcome",),
            registry=registry,
        )
        for outcome in ("answered", "refused", "unavailable", "rejected"):
            self._mlflow.labels(outcome)
        self._circuits = Gauge(
            "circuit_open",
            "1 since a dependency did not answer several times in a row and until it answers again, else 0; meanwhile "
            "it is asked only now and then",
            ("dependency",),
            registry=registry,
        )
        for dependency in get_args(Dependency):
            self._circuits.labels(dependency)
        self._children: dict[tuple[str, str, int], Series] = {}

    def request(self, method: str, path: str, status: int, seconds: float, trace_id: str | None) -> None:
        """Counts one answered request; `path` is a route template or UNMATCHED, `trace_id` that of its span, if any."""
        key = (method if method in _METHODS else "other", path, status)
        series = self._children.get(key)
        if series is None:
            series = self._children[key] = self._requests.labels(key[0], path, str(status))
        series.observe(seconds, trace_id)

    def prediction(self, rows: int, seconds: float, trace_id: str | None) -> None:
        """Counts one model call; `trace_id` is that of one of its requests that has a span."""
        self._prediction.observe(seconds, trace_id)
        self._rows.observe(rows)

    def expect_trainings(self, algorithms: Iterable[str]) -> None:
        """Begins their series at 0: one that begins at 1 shows Prometheus no increase."""
        for algorithm in algorithms:
            for outcome in OUTCOMES:
                self._training.labels(algorithm, outcome)

    def extra_columns(self) -> None:
        self._extra.inc()

    def shed(self, limit: Limit) -> None:
        self._shed.labels(limit).inc()

    def training(self, algorithm: str, outcome: str, seconds: float) -> None:
        self._training.labels(algorithm, outcome).observe(seconds)

    def load(self, outcome: str, seconds: float) -> None:
        self._load.labels(outcome).observe(seconds)

    def mlflow_call(self, outcome: str) -> None:
        self._mlflow.labels(outcome).inc()

    def watch(self, *circuits: Circuit) -> None:
        """Shows whether they are open, from now on."""
        for circuit in circuits:
            self._circuits.labels(circuit.name).set_function(partial(Circuit.is_open, circuit))

    def cache(self, outcome: str) -> None:
        self._cache.labels(outcome).inc()

    def serving(self, model: Serving) -> None:
        """Makes `model` the only one in `model_info` and `model_proof_rows`."""
        identity, proof = model.manifest.identity, model.manifest.proof
        self._proof.clear()
        self._proof.labels(proof.verdict).set(proof.rows)
        names = model.manifest.feature_names or tuple(map(str, range(model.manifest.n_features)))
        self._drift.serve(model.drift, names)
        self._model.clear()
        self._model.labels(identity.run_id, identity.name or "", identity.version or "", model.backend.name).set(1)

    def summary(self) -> dict[str, Any]:
        """Fields of `schemas.MetricsSummary`, read from the same counters that `/metrics` shows."""
        samples = {
            family.name: family.samples
            for metric in (self._requests, self._predictions, self._batches, self._training, self._load)
            for family in metric.collect()
        }
        return summary.figures(samples) | {"in_flight": self.in_progress, "drift": self._drift.summary()}
