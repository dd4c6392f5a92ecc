"""What every cluster of ours has in it: DNS and a default storage class."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

DNS_ADDRESS = "10.96.0.10"
DNS_PORT = 1053  # above 1024, so that CoreDNS needs no capability


def corefile(name_servers: Sequence[str]) -> str:
    """CoreDNS' configuration. Without name servers on the machine, only the cluster's own names are known."""
    forward = "\n    forward . /etc/resolv.conf" if name_servers else ""
    return f""".:{DNS_PORT} {{
    errors
    health :8080
    ready :8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 5
    }}{forward}
    cache 5
    reload
}}
"""


def manifests(coredns_image: str, name_servers: Sequence[str]) -> str:
    """One List, as JSON, for `kubectl apply`. `name_servers` are those of the machine."""
    return as_list([_storage_class(), *_dns(coredns_image, corefile(name_servers))])


def as_list(items: Iterable[dict[str, Any]]) -> str:
    """One List, as JSON, for `kubectl apply`, which takes the items in their order."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(items)})


def _storage_class() -> dict[str, Any]:
    """Volumes that the controller manager makes as directories of this machine."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/host-path",
        "reclaimPolicy": "Delete",
    }


def _object(api: str, kind: str, name: str, **rest: Any) -> dict[str, Any]:
    namespace = {} if kind.startswith("Cluster") else {"namespace": "kube-system"}
    metadata = {"name": name, **namespace, "labels": {"k8s-app": "kube-dns"}}
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def _dns(image: str, configuration: str) -> list[dict[str, Any]]:
    rules = [
        {"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"}
    subject = {"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}
    ports = [
        {"name": name, "protocol": protocol, "port": 53, "targetPort": DNS_PORT}
        for name, protocol in (("dns", "UDP"), ("dns-tcp", "TCP"))
    ]
    return [
        _object("v1", "ServiceAccount", "coredns"),
        _object("rbac.authorization.k8s.io/v1", "ClusterRole", "system:coredns", rules=rules),
        _object(
            "rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "system:coredns", roleRef=role, subjects=[subject]
        ),
        _object("v1", "ConfigMap", "coredns", data={"Corefile": configuration}),
        _object(
            "v1",
            "Service",
            "kube-dns",  # the name that others look for
            spec={"clusterIP": DNS_ADDRESS, "selector": {"k8s-app": "kube-dns"}, "ports": ports},
        ),
        _object("apps/v1", "Deployment", "coredns", spec=_deployment(image)),
    ]


def _deployment(image: str) -> dict[str, Any]:
    container = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [{"containerPort": DNS_PORT, "protocol": "UDP"}, {"containerPort": DNS_PORT, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5},
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    pod = {
        "serviceAccountName": "coredns",
        "priorityClassName": "system-cluster-critical",
        "dnsPolicy": "Default",  # its upstream is the machine's resolver, not itself
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [{"operator": "Exists"}],
        "containers": [container],
        "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
    }
    labels = {"k8s-app": "kube-dns"}
    return {
        "replicas": 1,
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
