"""Bundles on a volume, from which pods start while MLflow is down; and a model that is too large for its pod."""

import json

from tests.cluster.steps import Models, Namespace, without_mlflow
from tools.cluster import Cluster

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "bundles"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
CACHE = {"persistentVolumeClaim": {"claimName": "bundles"}}


def said(namespace: Namespace, pod: str) -> list[str]:
    """Messages of a loader."""
    lines = namespace.kubectl("logs", pod, "--container=loader").splitlines()
    return [str(json.loads(line).get("message", "")) for line in lines]


def test_a_pod_starts_from_the_volume_while_mlflow_is_down(
    cluster: Cluster, namespace: Namespace, models: Models
) -> None:
    namespace.apply(CLAIM | {"metadata": {"name": "bundles", "namespace": namespace.name}})
    namespace.deploy("kept", models.good, cache=CACHE, replicas=1)
    namespace.await_("kept", "UpToDate")
    (first,) = namespace.pods("kept")
    with without_mlflow(cluster):
        namespace.kubectl("delete", "pod", first["metadata"]["name"])
        namespace.kubectl("rollout", "status", "deployment/kept", "--timeout=120s")
    (second,) = [pod for pod in namespace.pods("kept") if "deletionTimestamp" not in pod["metadata"]]
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    namespace.await_("kept", "Ready")
    lines = said(namespace, second["metadata"]["name"])
    assert any("cache" in line for line in lines), lines


def test_a_model_that_its_pod_cannot_hold_is_refused_before_it_is_killed(namespace: Namespace, models: Models) -> None:
    """One that scikit-learn has to be loaded for; the same model, compiled, would fit."""
    model = {"runID": models.pickled(), "allowPickle": True}
    namespace.deploy("tight", "", model=model, resources={"limits": {"memory": "100Mi"}}, replicas=1)
    namespace.await_("tight", '{.status.conditions[?(@.type=="UpToDate")].reason}=ModelRefused', timeout=180)
    message = namespace.condition("tight", "UpToDate")["message"]
    assert "this container may use 100Mi" in message
    assert "spec.resources" in message
