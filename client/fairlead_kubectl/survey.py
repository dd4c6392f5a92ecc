"""Asks the cluster what `doctor` judges. What may not be asked, or is not there, is `Unknown`."""

import json
from collections.abc import Callable
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from fairlead_kubectl import expected
from fairlead_kubectl.cluster import OPERATOR, RESOURCE, AbsentError, Cluster, ClusterError, ForbiddenError
from fairlead_kubectl.doctor import Right, Survey, Unknown
from fairlead_kubectl.reading import GROUP, Json

T = TypeVar("T")
_MLFLOW: Final = "app.kubernetes.io/part-of=fairlead,app.kubernetes.io/component=mlflow"
_MONITORS: Final = "app.kubernetes.io/part-of=fairlead"
_SCRAPED: Final = 'count by (namespace) (up{model_deployment!=""} == 1)'
OWN: Final = (
    (GROUP, "modeldeployments", "get"),
    (GROUP, "modeldeployments", "patch"),
    ("", "pods", "list"),
    ("", "pods/log", "get"),
    ("", "pods/portforward", "create"),
    ("", "events", "list"),
)
"""What the commands of this plug-in need."""


def survey(cluster: Cluster) -> Survey:
    """Raises ClusterError only if the cluster does not answer at all."""
    server = json.loads(cluster.run(cluster.command("version", "--output", "json")))["serverVersion"]["gitVersion"]
    versions = cluster.run(cluster.command("api-versions")).split()
    groups = frozenset(version.rpartition("/")[0] for version in versions)
    operators = _ask(lambda: tuple(cluster.listed("deployments.apps", "--selector", OPERATOR, everywhere=True)))
    operator = operators[0] if not isinstance(operators, Unknown) and operators else None
    return Survey(
        server=server,
        crd=_ask(lambda: _object(cluster, "customresourcedefinitions.apiextensions.k8s.io", RESOURCE)),
        operators=operators,
        operator_rights=_ask(lambda: _operator_rights(cluster, operator)),
        own_rights=_ask(lambda: _own_rights(cluster)),
        metrics=_ask(lambda: _operator_metrics(cluster, operator)),
        mlflow=_ask(lambda: tuple(cluster.listed("deployments.apps", "--selector", _MLFLOW, everywhere=True))),
        prometheus=_ask(lambda: _scraped(cluster, _setting(operator, "FAIRLEAD_OPERATOR_PROMETHEUS_URL"))),
        monitors=_monitors(cluster, groups),
        api_services=_ask(lambda: _api_services(cluster)),
        groups=groups,
        resources=_ask(lambda: tuple(cluster.listed(RESOURCE, everywhere=True))),
    )


def _ask(question: Callable[[], T]) -> T | Unknown:
    try:
        return question()
    except ForbiddenError as error:
        return Unknown(f"you may not see it ({error})")
    except AbsentError as error:
        return Unknown(str(error), absent=True)
    except ClusterError as error:
        return Unknown(str(error))
    except (ValueError, KeyError) as error:  # a proxy's page, or another version's form
        return Unknown(f"the answer is not understood: {error!r}")


def _object(cluster: Cluster, kind: str, name: str) -> Json:
    found: Json = cluster.read(cluster.command("get", kind, name))
    return found


def _monitors(cluster: Cluster, groups: frozenset[str]) -> tuple[Json, ...] | Unknown:
    if "monitoring.coreos.com" not in groups:
        return ()
    kind = "podmonitors.monitoring.coreos.com"
    return _ask(lambda: tuple(cluster.listed(kind, "--selector", _MONITORS, everywhere=True)))


def _setting(operator: Json | None, name: str) -> str:
    if operator is None:
        return ""
    (container, *_) = operator["spec"]["template"]["spec"]["containers"]
    return str(next((one.get("value", "") for one in container.get("env") or [] if one["name"] == name), ""))


def _operator_metrics(cluster: Cluster, operator: Json | None) -> str:
    """Through the API server's proxy: the operator has no other door to the outside."""
    if operator is None:
        raise AbsentError("there is no operator")
    namespace = operator["metadata"]["namespace"]
    labels = operator["spec"]["selector"]["matchLabels"]
    selector = ",".join(f"{key}={value}" for key, value in labels.items())
    pods: list[Json] = cluster.read(cluster.command("get", "pods", "--namespace", namespace, "--selector", selector))[
        "items"
    ]
    running = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
    if not running:
        raise ClusterError("no pod of the operator runs")
    return cluster.raw(f"/api/v1/namespaces/{namespace}/pods/{running[0]['metadata']['name']}:8080/proxy/metrics")


def _scraped(cluster: Cluster, url: str) -> dict[str, float]:
    """Asks Prometheus through the API server's proxy, where its address is a Service's."""
    if not url:
        raise ClusterError("no address is known")
    parts = urlsplit(url)
    name, *rest = (parts.hostname or "").split(".")
    if len(rest) < 2 or rest[1] != "svc":
        raise ClusterError("it is not a Service of this cluster, so it cannot be asked from here")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    service = f"{'https:' if parts.scheme == 'https' else ''}{name}:{port}"
    path = f"{parts.path.rstrip('/')}/api/v1/query?query={quote(_SCRAPED)}"
    answer = json.loads(cluster.raw(f"/api/v1/namespaces/{rest[0]}/services/{service}/proxy{path}"))
    series = answer["data"]["result"]
    return {one["metric"].get("namespace", ""): float(one["value"][1]) for one in series}


def _api_services(cluster: Cluster) -> dict[str, bool]:
    found: dict[str, bool] = {}
    for one in cluster.read(cluster.command("get", "apiservices.apiregistration.k8s.io"))["items"]:
        conditions = (one.get("status") or {}).get("conditions") or []
        available = any(each["type"] == "Available" and each["status"] == "True" for each in conditions)
        found[one["spec"].get("group", "")] = available
    return found


def _own_rights(cluster: Cluster) -> tuple[Right, ...]:
    return _reviewed(cluster, [_review(*asked, cluster.current_namespace()) for asked in OWN])


def _operator_rights(cluster: Cluster, operator: Json | None) -> tuple[Right, ...]:
    if operator is None:
        raise AbsentError("there is no operator")
    account = operator["spec"]["template"]["spec"].get("serviceAccountName", "default")
    user = f"system:serviceaccount:{operator['metadata']['namespace']}:{account}"
    watched = _setting(operator, "FAIRLEAD_OPERATOR_WATCH_NAMESPACES").split(",")
    reviews = [_review(*asked, namespace.strip(), user) for namespace in watched for asked in expected.rights()]
    return _reviewed(cluster, reviews)


def _review(group: str, resource: str, verb: str, namespace: str, user: str = "") -> Json:
    """A SubjectAccessReview, or of the user's own rights a SelfSubjectAccessReview."""
    kind, _, subresource = resource.partition("/")
    asks = {"group": group, "resource": kind, "subresource": subresource, "verb": verb, "namespace": namespace}
    about: dict[str, Any] = {"resourceAttributes": {key: value for key, value in asks.items() if value}}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview" if user else "SelfSubjectAccessReview",
        "spec": about | ({"user": user} if user else {}),
    }


def _reviewed(cluster: Cluster, reviews: list[Json]) -> tuple[Right, ...]:
    """All in one call of kubectl."""
    body = json.dumps({"apiVersion": "v1", "kind": "List", "items": reviews})
    found = _objects(cluster.run(cluster.command("create", "--filename", "-", "--output", "json"), body))
    rights = []
    for one in found:
        asked, status = one["spec"]["resourceAttributes"], one.get("status") or {}
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        rights.append(Right(asked["verb"], resource, bool(status.get("allowed")), str(status.get("reason", ""))))
    return tuple(rights)


def _objects(text: str) -> list[Json]:
    """kubectl prints what it made one by one, or as a List."""
    decoder, text = json.JSONDecoder(), text.strip()
    found: list[Json] = []
    while text:
        one, end = decoder.raw_decode(text)
        found += one["items"] if one.get("kind") == "List" else [one]
        text = text[end:].lstrip()
    return found
