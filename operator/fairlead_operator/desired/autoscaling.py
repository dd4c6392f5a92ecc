"""The autoscaler: KEDA's ScaledObject, or a HorizontalPodAutoscaler on custom metrics. One of them, never both.

Requests in flight per pod are the signal: they grow with the load and shrink with every pod that is added. Latency is
the guard, because more pods do not always lower it (a slow model is slow on ten pods, too).
"""

from typing import Any, Final

from fairlead_operator.api import Manifest, ModelDeployment
from fairlead_operator.desired import naming, signals
from fairlead_operator.desired.surroundings import Engine, Surroundings
from fairlead_operator.spec import Autoscaling

SCALED_OBJECT: Final = "ScaledObject"
HORIZONTAL: Final = "HorizontalPodAutoscaler"
IN_FLIGHT: Final = "inference_requests_in_flight"
"""Custom metric of pods; charts/fairlead-stack has the adapter's rules for both."""
LATENCY: Final = "http_request_duration_p95_milliseconds"
"""Custom metric of Services."""
UP_PERIOD_SECONDS: Final = 30
"""Pods may double, or grow by four, in so long."""

INSTALL: Final = {
    "keda.sh": (
        "spec.autoscaling needs KEDA, which this cluster does not have: helm install keda keda "
        "--repo https://kedacore.github.io/charts --version 2.20.2 --namespace keda --create-namespace"
    ),
    "custom.metrics.k8s.io": (
        "spec.autoscaling with the engine HPA needs custom metrics, which this cluster does not have: helm upgrade "
        "--install monitoring charts/fairlead-stack --namespace monitoring --reuse-values "
        "--set prometheus-adapter.enabled=true"
    ),
}
"""API group that is missing → what to do."""
NO_PROMETHEUS: Final = (
    "spec.autoscaling needs to know where Prometheus is: set operator.prometheus.url in the chart "
    "(FAIRLEAD_OPERATOR_PROMETHEUS_URL), such as http://prometheus-operated.monitoring.svc:9090."
)


def engine(scaling: Autoscaling, around: Surroundings) -> Engine:
    return scaling.engine or around.autoscaling_engine


def build(md: ModelDeployment, scaling: Autoscaling, around: Surroundings) -> Manifest | None:
    """The autoscaler of the stable pods; None where the engine cannot be told what it has to know."""
    if engine(scaling, around) == "HPA":
        return _horizontal(md, scaling, around)
    return _scaled_object(md, scaling, around, around.prometheus_url) if around.prometheus_url else None


def _scaled_object(md: ModelDeployment, scaling: Autoscaling, around: Surroundings, prometheus: str) -> Manifest:
    window = around.scaling_window_seconds
    per_pod = scaling.in_flight_requests_per_pod
    triggers = [_trigger("in-flight", prometheus, signals.in_flight(md, window), "AverageValue", per_pod)]
    if md.spec.slo and md.spec.slo.latency_milliseconds:
        query, limit = signals.p95_milliseconds(md, window), md.spec.slo.latency_milliseconds
        triggers.append(_trigger("latency", prometheus, query, "Value", limit))
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": SCALED_OBJECT,
        "metadata": naming.metadata(md),
        "spec": {
            "scaleTargetRef": _target(md),
            "minReplicaCount": scaling.min_replicas,
            "maxReplicaCount": scaling.max_replicas,
            "pollingInterval": around.scaling_poll_seconds,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": _behavior(around)}},
            "triggers": triggers,
        },
    }


def _trigger(name: str, prometheus: str, query: str, kind: str, threshold: int) -> Manifest:
    return {
        "type": "prometheus",
        "name": name,
        "metricType": kind,
        "metadata": {"serverAddress": prometheus, "query": query, "threshold": str(threshold)},
    }


def _horizontal(md: ModelDeployment, scaling: Autoscaling, around: Surroundings) -> Manifest:
    per_pod: Any = {"type": "AverageValue", "averageValue": str(scaling.in_flight_requests_per_pod)}
    metrics: list[Manifest] = [{"type": "Pods", "pods": {"metric": {"name": IN_FLIGHT}, "target": per_pod}}]
    if md.spec.slo and md.spec.slo.latency_milliseconds:
        described = {"apiVersion": "v1", "kind": "Service", "name": naming.child_name(md.metadata.name)}
        limit = {"type": "Value", "value": str(md.spec.slo.latency_milliseconds)}
        measured = {"describedObject": described, "metric": {"name": LATENCY}, "target": limit}
        metrics.append({"type": "Object", "object": measured})
    return {
        "apiVersion": "autoscaling/v2",
        "kind": HORIZONTAL,
        "metadata": naming.metadata(md),
        "spec": {
            "scaleTargetRef": _target(md),
            "minReplicas": scaling.min_replicas,
            "maxReplicas": scaling.max_replicas,
            "metrics": metrics,
            "behavior": _behavior(around),
        },
    }


def _target(md: ModelDeployment) -> Manifest:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": naming.child_name(md.metadata.name)}


def _behavior(around: Surroundings) -> Manifest:
    """Up at once, since users wait; down late and by halves, since a new pod has a model to load first."""
    down = {"type": "Percent", "value": 50, "periodSeconds": around.scale_down_period_seconds}
    return {
        "scaleUp": {
            "stabilizationWindowSeconds": around.scale_up_window_seconds,
            "selectPolicy": "Max",
            "policies": [
                {"type": "Percent", "value": 100, "periodSeconds": UP_PERIOD_SECONDS},
                {"type": "Pods", "value": 4, "periodSeconds": UP_PERIOD_SECONDS},
            ],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": around.scale_down_window_seconds,
            "selectPolicy": "Max",
            "policies": [down],
        },
    }
