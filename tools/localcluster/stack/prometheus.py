"""prometheus-operator, and a Prometheus that it runs: what kube-prometheus-stack makes of release `monitoring`."""

from typing import Any

from tools.localcluster.stack import NAMESPACE
from tools.localcluster.stack.objects import (
    Object,
    account,
    binding,
    container,
    deployment,
    labels,
    metadata,
    pod_security,
    probe,
    role,
    rule,
    service,
)

OPERATOR = "monitoring-kube-prometheus-operator"
NAME = "monitoring-kube-prometheus-prometheus"
PORT = 9090
STATEFUL_SET = f"prometheus-{NAME}"
VERSION = "v3.15.0"
INTERVAL = "2s"
"""Of scrapes and rules without one of their own: a test cluster's roll-outs take seconds."""
SELECTED = ("serviceMonitor", "podMonitor", "probe", "rule", "scrapeConfig")


def manifests(operator_image: str, reloader_image: str, prometheus_image: str) -> list[Object]:
    """Both, with their rights. The CRDs must be there already."""
    return [*_operator(operator_image, reloader_image), *_prometheus(prometheus_image)]


def _operator(image: str, reloader_image: str) -> list[Object]:
    marks = labels("prometheus-operator", "prometheus-operator")
    selector = {"app": "kube-prometheus-stack-operator", "release": NAMESPACE}
    everything = "get list watch create update patch delete deletecollection"
    kinds = "alertmanagers prometheuses prometheusagents thanosrulers servicemonitors"
    rules = [
        rule(
            "monitoring.coreos.com",
            " ".join(f"{kind} {kind}/finalizers {kind}/status" for kind in kinds.split())
            + " alertmanagerconfigs podmonitors probes prometheusrules scrapeconfigs",
            everything,
        ),
        rule("apps", "statefulsets", everything),
        rule("core", "configmaps secrets", everything),
        rule("core", "pods", "list delete"),
        rule("core", "services services/finalizers endpoints", "get create update delete"),
        rule("core", "nodes", "list watch"),
        rule("core", "namespaces", "get list watch"),
        rule("core events.k8s.io", "events", "create patch"),
        rule("networking.k8s.io", "ingresses", "get list watch"),
        rule("storage.k8s.io", "storageclasses", "get"),
    ]
    box = container(
        image,
        OPERATOR,
        {"http": 8080},
        ("48Mi", "256Mi"),
        args=[
            f"--prometheus-config-reloader={reloader_image}",
            "--config-reloader-cpu-limit=0",
            "--config-reloader-memory-limit=64Mi",
            "--kubelet-endpoints=false",
        ],
        readinessProbe=probe(8080, "/healthz"),
        livenessProbe=probe(8080, "/healthz", period=10),
    )
    return [
        account(OPERATOR, marks),
        role(OPERATOR, marks, rules),
        binding(OPERATOR, marks, OPERATOR),
        deployment(marks, selector, box, service_account=OPERATOR),
    ]


def _prometheus(image: str) -> list[Object]:
    marks = labels("prometheus", "prometheus")
    rules = [
        rule("core", "nodes nodes/metrics services endpoints pods", "get list watch"),
        rule("core", "configmaps", "get"),
        rule("discovery.k8s.io", "endpointslices", "get list watch"),
        rule("networking.k8s.io", "ingresses", "get list watch"),
        {"nonResourceURLs": ["/metrics", "/metrics/cadvisor"], "verbs": ["get"]},
    ]
    selector = {"app.kubernetes.io/name": "prometheus", "operator.prometheus.io/name": NAME}
    return [
        account(NAME, marks),
        role(NAME, marks, rules),
        binding(NAME, marks, NAME),
        service(NAME, marks, selector, [("http-web", PORT, PORT)]),
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "Prometheus",
            "metadata": metadata(NAME, marks),
            "spec": _spec(image),
        },
    ]


def _spec(image: str) -> dict[str, Any]:
    """The selectors are those that `…SelectorNilUsesHelmValues: false` gives: everything, in every namespace."""
    selectors: dict[str, Any] = {f"{kind}{what}": {} for kind in SELECTED for what in ("Selector", "NamespaceSelector")}
    return {
        "image": image,
        "imagePullPolicy": "Never",
        "version": VERSION,
        "replicas": 1,
        "portName": "http-web",
        "serviceAccountName": NAME,
        "serviceDiscoveryRole": "EndpointSlice",
        "externalUrl": f"http://{NAME}.{NAMESPACE}:{PORT}",
        "scrapeInterval": INTERVAL,
        "evaluationInterval": INTERVAL,
        "retention": "1d",
        "enableFeatures": ["exemplar-storage"],
        "resources": {"requests": {"cpu": "50m", "memory": "192Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": pod_security(1000, 2000),
        **selectors,
    }
