"""Prometheus metrics of the operator and the port that serves them, with the health page beside them.

No label names an object: with 1,000 resources each such label would be 1,000 series. Served by a thread of its own, so
that the page can say that the event loop is stuck.
"""

from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import Counter, Gauge, Histogram, exposition, make_wsgi_app

RECONCILES = Counter("fairlead_reconciles", "Reconciles, by how they ended.", ["result"])
RECONCILE_SECONDS = Histogram(
    "fairlead_reconcile_duration_seconds",
    "Time of one reconcile, calls to Kubernetes and MLflow included.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
WRITES = Counter("fairlead_kubernetes_writes", "Writes to the Kubernetes API.", ["kind"])
REGISTRY_CALLS = Counter("fairlead_registry_calls", "Questions to MLflow, by their outcome.", ["outcome"])
VERDICTS = Counter("fairlead_registry_verdicts", "Verdicts for MLflow, by what became of them.", ["outcome"])
WEBHOOKS = Counter("fairlead_webhooks", "Webhooks that arrived, by what became of them.", ["outcome"])
REGISTRY_UP = Gauge("fairlead_registry_up", "0 since MLflow did not answer the last question, else 1.")
QUEUE_DEPTH = Gauge("fairlead_queue_depth", "Resources that wait to be reconciled.")
RESOURCES = Gauge("fairlead_modeldeployments", "ModelDeployments known.")

for _result in ("ok", "error"):
    RECONCILES.labels(_result)
for _outcome in ("found", "missing", "unavailable"):
    REGISTRY_CALLS.labels(_outcome)
for _outcome in ("taken", "ignored", "refused"):
    WEBHOOKS.labels(_outcome)
for _outcome in ("told", "dropped", "failed"):
    VERDICTS.labels(_outcome)
REGISTRY_UP.set(1)

Health = Callable[[], str | None]
"""Why the operator is not healthy, or None. Called from another thread."""


class MetricsServer:
    """`GET /metrics` and `GET /healthz` (200, or 503 with the reason)."""

    def __init__(self, port: int, health: Health, host: str = "0.0.0.0") -> None:
        self._metrics = make_wsgi_app()
        self._health = health
        self._server, self._thread = exposition.start_wsgi_server(port, host)
        self._server.set_app(self._answer)

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _answer(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz":
            answer: Any = self._metrics(environ, start_response)
            return list(answer)
        problem = self._health()
        status = "503 Service Unavailable" if problem else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{problem or 'ok'}\n".encode()]
