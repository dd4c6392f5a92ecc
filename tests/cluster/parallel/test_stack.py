"""Prometheus, KEDA and Jaeger beside Fairlead: each sees what it is there for."""

import json
import secrets
import time
from typing import Any

import httpx
import pytest

from tests.cluster.models import Data, Models
from tests.cluster.namespaces import Namespace
from tests.cluster.queries import Span, eventually, jaeger, prometheus
from tools.cluster import Cluster, CommandError
from tools.up import MODEL, MODELS, MONITORING, NAMESPACE, PROMETHEUS

OF_MODEL = f'namespace="{MODELS}",model_deployment="{MODEL}"'
WITH_JAEGER = pytest.mark.xdist_group("ports-and-jaeger")
PREDICTORS = "app.kubernetes.io/name=fairlead-predictor"


def traceparent(*, sampled: bool) -> tuple[str, dict[str, str]]:
    """A fresh trace id, and the header that carries it and the caller's decision."""
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-{int(sampled):02}"}


def predict(url: str, body: str, **headers: str) -> None:
    httpx.post(f"{url}/predict", content=body, headers=headers, timeout=30).raise_for_status()


@pytest.mark.parametrize(
    ("pools", "namespace", "selector", "count"),
    [
        (f"serviceMonitor/{NAMESPACE}/", NAMESPACE, "app.kubernetes.io/component in (api,operator,mlflow)", 3),
        (f"podMonitor/{NAMESPACE}/", MODELS, PREDICTORS, 2),
    ],
)
def test_prometheus_scrapes_every_pod_of_fairlead(
    cluster: Cluster, pools: str, namespace: str, selector: str, count: int
) -> None:
    pods = {pod["metadata"]["name"] for pod in cluster.list("pods", namespace, selector)}
    assert len(pods) == count
    with prometheus(cluster) as asked:

        def up() -> set[str]:
            targets = [one for one in asked.targets(pools) if one["labels"]["namespace"] == namespace]
            return {one["labels"]["pod"] for one in targets if one["health"] == "up"}

        eventually(up, lambda found: found == pods)


def test_a_models_requests_are_counted_under_its_name_and_pods(cluster: Cluster, example_body: str) -> None:
    counted = f'http_requests_total{{{OF_MODEL},path="/predict",status="200"}}'
    with prometheus(cluster) as asked, cluster.port_forward(MODELS, f"service/{MODEL}") as url:
        before = asked.value(f"sum({counted})")
        for _ in range(7):
            predict(url, example_body)
        eventually(lambda: asked.value(f"sum({counted})"), lambda found: found >= before + 7)
        pods = {series["metric"]["pod"] for series in asked.get("query", query=counted)["result"]}

    assert pods <= {pod["metadata"]["name"] for pod in cluster.list("pods", MODELS)}


@WITH_JAEGER
def test_a_sampled_request_is_a_trace_in_jaeger_and_an_exemplar_in_prometheus(
    cluster: Cluster, example_body: str
) -> None:
    left_out, unsampled = traceparent(sampled=False)
    trace_id, sampled = traceparent(sampled=True)
    began = time.time()
    with (
        jaeger(cluster) as traces,
        prometheus(cluster) as asked,
        cluster.port_forward(MODELS, f"service/{MODEL}") as url,
    ):
        predict(url, example_body, **unsampled)
        predict(url, example_body, **sampled)
        spans = eventually(lambda: traces.spans(trace_id))
        assert not traces.spans(left_out), "the caller said no, and this one was sent before the other"

        def exemplars() -> list[Any]:
            query = f"http_request_duration_seconds_bucket{{{OF_MODEL}}}"
            found = asked.get("query_exemplars", query=query, start=began - 60, end=time.time() + 60)
            return [one for series in found for one in series["exemplars"] if one["labels"]["trace_id"] == trace_id]

        eventually(exemplars)

    (server,) = [span for span in spans if span.name == "POST /predict"]
    assert (server.trace_id, server.parent_id) == (trace_id, sampled["traceparent"].split("-")[2])
    assert server.attributes["http.response.status_code"] == "200"


@WITH_JAEGER
def test_a_training_is_one_trace_from_the_client_to_mlflow(cluster: Cluster, data: Data) -> None:
    trace_id, sampled = traceparent(sampled=True)
    body = {"data": data[0][:100], "target": data[1][:100], "algorithm": "logistic_regression", "load": False}
    with jaeger(cluster) as traces, cluster.port_forward(NAMESPACE, "service/fairlead-api") as url:
        httpx.post(f"{url}/train", json=body, headers=sampled, timeout=120).raise_for_status()
        spans = eventually(
            lambda: traces.spans(trace_id),
            lambda found: {"fairlead-api", "fairlead-trainer"} <= {span.service for span in found},
        )
    assert {"POST /train", "train"} <= {span.name for span in spans}
    ids = {span.span_id for span in spans} | {sampled["traceparent"].split("-")[2]}
    assert all(span.parent_id in ids for span in spans), "a parent is missing"
    assert len([span for span in spans if span.is_call]) > 3, "of the trainer to MLflow"


@WITH_JAEGER
def test_a_reconcile_is_a_trace_with_its_calls(cluster: Cluster, namespace: Namespace, models: Models) -> None:
    namespace.deploy("traced", models.good)
    namespace.await_("traced", "Ready")

    def of_this(spans: list[Span]) -> list[Span]:
        ours = {span.trace_id for span in spans if namespace.name in span.attributes.values()}
        return [span for span in spans if span.trace_id in ours]

    with jaeger(cluster) as asked:
        found = eventually(lambda: of_this(asked.traces("fairlead-operator", "reconcile")))
    names = {span.name for span in found}
    assert any("apply" in name.lower() for name in names), names


def scaled(name: str, target: str) -> dict[str, Any]:
    """A ScaledObject: as many pods as the sample model has that Prometheus can scrape."""
    trigger = {
        "serverAddress": f"http://{PROMETHEUS}.{MONITORING}:9090",
        "query": f"sum(up{{{OF_MODEL}}})",
        "threshold": "1",
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": target},
            "pollingInterval": 2,
            "minReplicaCount": 1,
            "maxReplicaCount": 4,
            "triggers": [{"type": "prometheus", "metricType": "AverageValue", "metadata": trigger}],
        },
    }


@pytest.fixture
def idle(cluster: Cluster, namespace: Namespace) -> str:
    """A Deployment whose pods do nothing."""
    api = cluster.get("deployment", "fairlead-api", NAMESPACE)["spec"]["template"]["spec"]
    container = {
        "name": "idle",
        "image": api["containers"][0]["image"],
        "command": ["python", "-c", "import signal; signal.pause()"],
        "securityContext": api["containers"][0]["securityContext"],
    }
    labels = {"app": "idle"}
    pod = {
        "securityContext": api["securityContext"],
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    namespace.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "idle", "namespace": namespace.name},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        }
    )
    namespace.kubectl("rollout", "status", "deployment/idle", "--timeout=60s")
    return "idle"


def test_keda_scales_on_what_prometheus_says(cluster: Cluster, namespace: Namespace, idle: str) -> None:
    cluster.kubectl("wait", "--for=condition=Available", "apiservice/v1beta1.external.metrics.k8s.io", "--timeout=30s")
    pods = len(cluster.list("pods", MODELS, PREDICTORS))
    assert pods > 1

    namespace.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(scaled("by-pods", idle)))

    namespace.kubectl("wait", "--for=condition=Ready", "scaledobject/by-pods", "--timeout=60s")
    namespace.kubectl("wait", f"--for=jsonpath={{.status.readyReplicas}}={pods}", f"deployment/{idle}", "--timeout=90s")
    settled = "{.status.currentMetrics[0].external.current.averageValue}=1"
    for sign in (f"jsonpath={settled}", "condition=ScalingActive"):
        namespace.kubectl("wait", f"--for={sign}", "hpa/keda-hpa-by-pods", "--timeout=60s")


def test_a_second_autoscaler_of_one_workload_is_refused(namespace: Namespace, idle: str) -> None:
    """Two would fight, and the HPA of both would stand still."""
    namespace.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(scaled("first", idle)))
    with pytest.raises(CommandError, match="already managed"):
        namespace.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(scaled("second", idle)))
