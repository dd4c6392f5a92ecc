"""Prometheus metrics of the operator and the port that serves them, with the health page beside them.

No label names an object that is well: with 1,000 resources each such label would be 1,000 series. Served by a thread of
its own, so that the page can say that the event loop is stuck.
"""

import contextlib
import importlib.metadata
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, exposition, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from fairlead_operator.census import WRONG, Place, Problem
from fairlead_operator.events import OUTCOMES

NAMED_PROBLEMS: Final = 500
"""Series that name a resource; when everything is wrong, they are enough to begin with."""

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
QUEUE_OLDEST = Gauge("fairlead_queue_oldest_seconds", "How long the first of them has waited; 0 if none does.")
RESOURCES = Gauge("fairlead_modeldeployments", "ModelDeployments known.")
CANDIDATES = Gauge("fairlead_candidates", "ModelDeployments with a roll-out in progress.")
ROLLOUTS = Counter("fairlead_rollouts", "Roll-outs that ended, by how.", ["verdict"])
PREDICTOR_PODS = Gauge("fairlead_predictor_pods", "Pods of ModelDeployments whose containers are ready.")
REQUESTS = Counter(
    "fairlead_kubernetes_requests",
    "Requests to the Kubernetes API, by the class of their answer (2xx; none: there was none). Kopf's watch of "
    "ModelDeployments is not among them.",
    ["verb", "code"],
)
LEADER = Gauge("fairlead_leader", "1 in the replica that leads, 0 in those that wait; 1 without leader election.")
BUILD = Gauge("fairlead_build_info", "1; the label says which version runs.", ["version"])

for _result in ("ok", "error"):
    RECONCILES.labels(_result)
for _outcome in ("found", "missing", "unavailable"):
    REGISTRY_CALLS.labels(_outcome)
for _outcome in ("taken", "ignored", "refused"):
    WEBHOOKS.labels(_outcome)
for _outcome in ("told", "dropped", "failed"):
    VERDICTS.labels(_outcome)
for _verdict in OUTCOMES:
    ROLLOUTS.labels(_verdict)
for _verb in ("GET", "POST", "PATCH", "DELETE"):
    for _code in ("2xx", "4xx", "5xx", "none"):
        REQUESTS.labels(_verb, _code)
REGISTRY_UP.set(1)
with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # run from a checkout, without being installed
    BUILD.labels(importlib.metadata.version("fairlead")).set(1)

Problems = Mapping[Place, tuple[Problem, ...]]


class ProblemCollector:
    """What is wrong with whom: at rest, with healthy resources, no series names one."""

    def __init__(self) -> None:
        self._problems: Callable[[], Problems] = dict

    def set_function(self, problems: Callable[[], Problems]) -> None:
        """`problems` is called from another thread, and what it returns must not change."""
        self._problems = problems

    def collect(self) -> Iterator[Metric]:
        named = GaugeMetricFamily(
            "fairlead_modeldeployment_problem",
            f"1 for a ModelDeployment with something wrong, the first {NAMED_PROBLEMS} of them.",
            labels=("namespace", "name", "condition", "reason"),
        )
        total = GaugeMetricFamily(
            "fairlead_modeldeployment_problems",
            "ModelDeployments with something wrong, all of them, by the condition that says so.",
            labels=("condition",),
        )
        found = [(place, problem) for place, wrong in sorted(self._problems().items()) for problem in wrong]
        for place, problem in found[:NAMED_PROBLEMS]:
            named.add_metric((*place, *problem), 1)
        counted = Tally(problem.condition for _, problem in found)
        for condition in WRONG:
            total.add_metric((condition,), counted[condition])
        yield from (named, total)


PROBLEMS: Final = ProblemCollector()
REGISTRY.register(PROBLEMS)

Health = Callable[[], str | None]
"""Why the operator is not healthy, or not ready, or None. Called from another thread."""


class MetricsServer:
    """`GET /metrics`, and `GET /healthz` and `GET /readyz` (200, or 503 with the reason)."""

    def __init__(self, port: int, health: Health, ready: Health = lambda: None, host: str = "0.0.0.0") -> None:
        self._metrics = make_wsgi_app()
        self._checks = {"/healthz": health, "/readyz": ready}
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
        check = self._checks.get(environ["PATH_INFO"])
        if check is None:
            answer: Any = self._metrics(environ, start_response)
            return list(answer)
        problem = check()
        status = "503 Service Unavailable" if problem else "200 OK"
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{problem or 'ok'}\n".encode()]
