"""KEDA: operator, metrics API server and admission webhooks, as its chart names them.

The operator makes the certificates of all three, writes the authority into the webhooks' configuration and the
APIService, and starts anew once. Neither carries a `caBundle` here, so that applying them again leaves it alone.
"""

from typing import Any

from tools.localcluster.stack import NAMESPACE
from tools.localcluster.stack.objects import (
    Object,
    account,
    api_service,
    binding,
    container,
    deployment,
    labels,
    metadata,
    metrics_api_rights,
    probe,
    role,
    rule,
    service,
)

OPERATOR = "keda-operator"
ADAPTER = "keda-operator-metrics-apiserver"
WEBHOOKS = "keda-admission-webhooks"
API_SERVICE = "v1beta1.external.metrics.k8s.io"
VALIDATION = "keda-admission"
SECRET = "kedaorg-certs"
CERTIFICATES = "/certs"
MARKS = labels("keda", "keda")
VALIDATED = (
    ("keda.sh", "scaledobject"),
    ("keda.sh", "scaledjob"),
    ("keda.sh", "triggerauthentication"),
    ("keda.sh", "clustertriggerauthentication"),
    ("eventing.keda.sh", "cloudeventsource"),
    ("eventing.keda.sh", "clustercloudeventsource"),
)


def manifests(operator_image: str, adapter_image: str, webhooks_image: str) -> list[Object]:
    """All of it. The CRDs must be there already."""
    return [
        account(OPERATOR, MARKS),
        *_rights(),
        *_operator(operator_image),
        *_adapter(adapter_image),
        *_webhooks(webhooks_image),
    ]


def _rights() -> list[Object]:
    """One account for the three, as in its chart."""
    return [
        role(OPERATOR, MARKS, _rules()),
        binding(OPERATOR, MARKS, OPERATOR),
        role(f"{OPERATOR}-certs", MARKS, _own_rules(), cluster=False),
        binding(
            f"{OPERATOR}-certs", MARKS, f"{OPERATOR}-certs", subject=OPERATOR, namespace=NAMESPACE, role_kind="Role"
        ),
        *metrics_api_rights(
            OPERATOR,
            MARKS,
            API_SERVICE.partition(".")[2],
            reader="keda-operator-external-metrics-reader",
            hpa="keda-operator-hpa-controller-external-metrics",
        ),
    ]


def _rules() -> list[Object]:
    see, change = "get list watch", "get list patch update watch"
    own = "scaledobjects scaledjobs triggerauthentications clustertriggerauthentications"
    events = "cloudeventsources clustercloudeventsources"
    return [
        rule("core", "configmaps configmaps/status external pods secrets services", see),
        rule("core", "limitranges serviceaccounts", "list watch"),
        rule("core events.k8s.io", "events", "create patch"),
        rule("*", "*", "get"),  # whatever a ScaledObject names as its target
        rule("*", "*/scale", change),
        rule("admissionregistration.k8s.io", "validatingwebhookconfigurations", change),
        rule("apiregistration.k8s.io", "apiservices", change),
        rule("apps", "deployments replicasets statefulsets", "list watch"),
        rule("autoscaling", "horizontalpodautoscalers", f"{change} create delete"),
        rule("batch", "jobs", f"{change} create delete"),
        rule("discovery.k8s.io", "endpointslices", see),
        rule("keda.sh", " ".join(f"{kind} {kind}/finalizers {kind}/status" for kind in own.split()), change),
        rule("eventing.keda.sh", " ".join(f"{kind} {kind}/status" for kind in events.split()), change),
    ]


def _own_rules() -> list[Object]:
    verbs = "get list watch create update patch delete"
    return [rule("core", "secrets", verbs), rule("coordination.k8s.io", "leases", verbs)]


def _part(name: str, image: str, ports: dict[str, int], arguments: list[str], health: Object, **pod: Any) -> Object:
    """A Deployment with the certificates mounted; `health` is the probe, but for its path."""
    selector = {"app": name}
    probes = {
        f"{kind}Probe": health | {"httpGet": health["httpGet"] | {"path": path}, "periodSeconds": seconds}
        for kind, path, seconds in (("readiness", "/readyz", 1), ("liveness", "/healthz", 10))
    }
    own_namespace = {"fieldRef": {"fieldPath": "metadata.namespace"}}
    box = container(
        image,
        name,
        ports,
        ("64Mi", "512Mi"),
        args=arguments,
        env=[
            {"name": "WATCH_NAMESPACE", "value": ""},
            {"name": "POD_NAMESPACE", "valueFrom": own_namespace},
            {"name": "KEDA_HTTP_DEFAULT_TIMEOUT", "value": "3000"},
        ],
        volumeMounts=[
            {"name": "certificates", "mountPath": CERTIFICATES, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        **probes,
    )
    volumes = [
        {"name": "certificates", "secret": {"secretName": SECRET, **pod}},
        {"name": "tmp", "emptyDir": {}},
    ]
    return deployment(MARKS, selector, box, service_account=OPERATOR, volumes=volumes)


def _operator(image: str) -> list[Object]:
    arguments = [  # no --leader-elect: its second start would wait 15 s for the lease of the first to expire
        "--zap-log-level=info",
        "--zap-encoder=console",
        "--zap-time-encoding=rfc3339",
        f"--cert-dir={CERTIFICATES}",
        "--enable-cert-rotation=true",
        f"--cert-secret-name={SECRET}",
        f"--operator-service-name={OPERATOR}",
        f"--metrics-server-service-name={ADAPTER}",
        f"--webhooks-service-name={WEBHOOKS}",
        f"--validating-webhook-name={VALIDATION}",
    ]
    ports = {"http": 8080, "metricsservice": 9666}
    listed = [("metricsservice", 9666, 9666), ("metrics", 8080, 8080)]
    return [
        service(OPERATOR, MARKS, {"app": OPERATOR}, listed),
        _part(OPERATOR, image, ports, arguments, probe(8081, ""), optional=True),
    ]


def _adapter(image: str) -> list[Object]:
    arguments = [
        "--port=8080",
        "--secure-port=6443",
        "--zap-log-level=error",
        f"--metrics-service-address={OPERATOR}.{NAMESPACE}.svc.cluster.local:9666",
        f"--client-ca-file={CERTIFICATES}/ca.crt",
        f"--tls-cert-file={CERTIFICATES}/tls.crt",
        f"--tls-private-key-file={CERTIFICATES}/tls.key",
        f"--cert-dir={CERTIFICATES}",
    ]
    return [
        service(ADAPTER, MARKS, {"app": ADAPTER}, [("https", 443, 6443), ("metrics", 8080, 8080)]),
        _part(ADAPTER, image, {"https": 6443, "http": 8080}, arguments, probe(6443, "", scheme="HTTPS")),
        api_service(API_SERVICE, MARKS, ADAPTER),
    ]


def _webhooks(image: str) -> list[Object]:
    arguments = [
        "--zap-log-level=info",
        "--zap-encoder=console",
        "--zap-time-encoding=rfc3339",
        f"--cert-dir={CERTIFICATES}",
    ]
    return [
        service(WEBHOOKS, MARKS, {"app": WEBHOOKS}, [("https", 443, 9443), ("metrics", 8080, 8080)]),
        _part(WEBHOOKS, image, {"https": 9443, "metrics": 8080}, arguments, probe(8081, "")),
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": metadata(VALIDATION, MARKS, namespaced=False),
            "webhooks": [_webhook(group, kind) for group, kind in VALIDATED],
        },
    ]


def _webhook(group: str, kind: str) -> Object:
    path = f"/validate-{group.replace('.', '-')}-v1alpha1-{kind}"
    return {
        "name": f"v{kind}.kb.io",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": WEBHOOKS, "namespace": NAMESPACE, "path": path}},
        "failurePolicy": "Ignore",
        "matchPolicy": "Equivalent",
        "rules": [
            {
                "apiGroups": [group],
                "apiVersions": ["v1alpha1"],
                "operations": ["CREATE", "UPDATE"],
                "resources": [f"{kind}s"],
            }
        ],
        "sideEffects": "None",
        "timeoutSeconds": 10,
    }
