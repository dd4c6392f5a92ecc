"""Kubernetes objects as the stack's parts need them: one container in a pod that the restricted standard admits."""

from collections.abc import Iterable, Mapping
from typing import Any

from tools.localcluster.stack import NAMESPACE

Object = dict[str, Any]
USER = 65532
RBAC = "rbac.authorization.k8s.io"


def namespace() -> Object:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def labels(name: str, component: str) -> dict[str, str]:
    """The recommended labels of one part."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/instance": NAMESPACE,
        "app.kubernetes.io/part-of": "fairlead-stack",
    }


def metadata(name: str, marks: Mapping[str, str], *, namespaced: bool = True) -> Object:
    place = {"namespace": NAMESPACE} if namespaced else {}
    return {"name": name, **place, "labels": dict(marks)}


def account(name: str, marks: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(name, marks)}


def rule(groups: str, resources: str, verbs: str) -> Object:
    """Words separated by spaces; the core group is `core`."""
    api_groups = ["" if group == "core" else group for group in groups.split()]
    return {"apiGroups": api_groups, "resources": resources.split(), "verbs": verbs.split()}


def role(name: str, marks: Mapping[str, str], rules: Iterable[Object], *, cluster: bool = True) -> Object:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "ClusterRole" if cluster else "Role",
        "metadata": metadata(name, marks, namespaced=not cluster),
        "rules": list(rules),
    }


def binding(
    name: str,
    marks: Mapping[str, str],
    bound: str,
    *,
    subject: str = "",
    subject_namespace: str = NAMESPACE,
    namespace: str = "",
    role_kind: str = "ClusterRole",
) -> Object:
    """Bind a role to a ServiceAccount (`subject`, else of the binding's name), everywhere or in one namespace."""
    place = {"namespace": namespace} if namespace else {}
    account = {"kind": "ServiceAccount", "name": subject or name, "namespace": subject_namespace}
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": {"name": name, **place, "labels": dict(marks)},
        "roleRef": {"apiGroup": RBAC, "kind": role_kind, "name": bound},
        "subjects": [account],
    }


def metrics_api_rights(subject: str, marks: Mapping[str, str], group: str, reader: str, hpa: str) -> list[Object]:
    """What an aggregated metrics API takes: its account asks the API server who calls, and the HPA controller reads the
    group's metrics. `reader` and `hpa` are the names of that role and its binding."""
    return [
        binding(f"{subject}-system-auth-delegator", marks, "system:auth-delegator", subject=subject),
        binding(
            f"{subject}-auth-reader",
            marks,
            "extension-apiserver-authentication-reader",
            subject=subject,
            namespace="kube-system",
            role_kind="Role",
        ),
        role(reader, marks, [rule(group, "*", "*")]),
        binding(hpa, marks, reader, subject="horizontal-pod-autoscaler", subject_namespace="kube-system"),
    ]


def service(
    name: str, marks: Mapping[str, str], selector: Mapping[str, str], ports: Iterable[tuple[str, int, int | str]]
) -> Object:
    """`ports` are (name, port, target port)."""
    listed = [{"name": label, "port": port, "targetPort": target} for label, port, target in ports]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(name, marks),
        "spec": {"selector": dict(selector), "ports": listed},
    }


def api_service(name: str, marks: Mapping[str, str], behind: str, **more: Any) -> Object:
    """An aggregated API, `version.group`, that a Service of ours answers for on port 443."""
    version, _, group = name.partition(".")
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": metadata(name, marks, namespaced=False),
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "service": {"name": behind, "namespace": NAMESPACE, "port": 443},
            **more,
        },
    }


def probe(port: int, path: str, *, scheme: str = "HTTP", period: int = 1, failures: int = 3) -> Object:
    return {
        "httpGet": {"path": path, "port": port, "scheme": scheme},
        "periodSeconds": period,
        "failureThreshold": failures,
    }


def container(image: str, name: str, ports: Mapping[str, int], memory: tuple[str, str], **more: Any) -> Object:
    """One that restricted Pod Security admits. `memory` is (request, limit)."""
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": "Never",  # it was loaded, and no registry has it
        "ports": [{"name": label, "containerPort": port} for label, port in ports.items()],
        "resources": {"requests": {"cpu": "20m", "memory": memory[0]}, "limits": {"memory": memory[1]}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        **more,
    }


def pod_security(user: int = USER, group: int = USER) -> Object:
    """The images have no user of their own."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": group,
        "fsGroup": group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def deployment(
    marks: Mapping[str, str], selector: Mapping[str, str], box: Object, *, service_account: str = "", **pod: Any
) -> Object:
    """One replica of one container, named after it. Without an account, no token is mounted."""
    whose = {"serviceAccountName": service_account} if service_account else {"automountServiceAccountToken": False}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(box["name"], marks),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": dict(selector)},
            "template": {
                "metadata": {"labels": {**marks, **selector}},
                "spec": {**whose, "securityContext": pod_security(), "containers": [box], **pod},
            },
        },
    }
