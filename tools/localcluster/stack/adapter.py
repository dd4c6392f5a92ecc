"""prometheus-adapter: custom metrics for the engine HPA, as its chart names it, with the rules of `fairlead-stack`.

Not part of every stack, as it is not in the chart's: a workload has KEDA or this, never both.
"""

from typing import Any

from tools.localcluster.paths import CHECKOUT
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

NAME = "monitoring-prometheus-adapter"
API_SERVICE = "v1beta1.custom.metrics.k8s.io"
MARKS = labels("prometheus-adapter", "metrics")
PORT = 6443


WINDOW = "15s"
"""Of the rules' averages, instead of a minute: Prometheus scrapes every two seconds here (`tools.up`)."""
RELIST = "5s"
"""How often the adapter looks which metrics there are, instead of every half minute."""


def values() -> dict[str, Any]:
    """What the stack's chart sets for it, but for the times."""
    import yaml  # of .venv: everything else in tools.localcluster works without

    text = (CHECKOUT / "charts/fairlead-stack/values.yaml").read_text().replace("[60s]", f"[{WINDOW}]")
    found: dict[str, Any] = yaml.safe_load(text)["prometheus-adapter"]
    return found | {"metricsRelistInterval": RELIST}


def manifests(image: str) -> list[Object]:
    """All of it. It signs its own certificate, and the API server does not look."""
    import yaml

    chosen = values()
    configuration = yaml.safe_dump({"rules": chosen["rules"]["custom"]}, width=10_000)
    return [
        account(NAME, MARKS),
        *_rights(API_SERVICE.partition(".")[2]),
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(NAME, MARKS),
            "data": {"config.yaml": configuration},
        },
        service(NAME, MARKS, {"app": NAME}, [("https", 443, "https")]),
        _adapter(
            image, f"{chosen['prometheus']['url']}:{chosen['prometheus']['port']}", chosen["metricsRelistInterval"]
        ),
        api_service(API_SERVICE, MARKS, NAME, insecureSkipTLSVerify=True),
    ]


def _rights(group: str) -> list[Object]:
    reader = f"{NAME}-resource-reader"
    return [
        role(reader, MARKS, [rule("core", "namespaces pods services configmaps", "get list watch")]),
        binding(reader, MARKS, reader, subject=NAME),
        *metrics_api_rights(NAME, MARKS, group, reader=f"{NAME}-server-resources", hpa=f"{NAME}-hpa-controller"),
    ]


def _adapter(image: str, prometheus: str, relist: str) -> Object:
    """Its Deployment."""
    health = [probe(PORT, path, scheme="HTTPS", period=seconds) for path, seconds in (("/readyz", 1), ("/livez", 10))]
    box = container(
        image,
        NAME,
        {"https": PORT},
        ("48Mi", "256Mi"),
        args=[
            f"--secure-port={PORT}",
            "--cert-dir=/tmp/cert",
            f"--prometheus-url={prometheus}",
            f"--metrics-relist-interval={relist}",
            "--config=/etc/adapter/config.yaml",
        ],
        volumeMounts=[
            {"name": "config", "mountPath": "/etc/adapter", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        readinessProbe=health[0],
        livenessProbe=health[1],
    )
    volumes = [{"name": "config", "configMap": {"name": NAME}}, {"name": "tmp", "emptyDir": {}}]
    return deployment(MARKS, {"app": NAME}, box, service_account=NAME, volumes=volumes)
