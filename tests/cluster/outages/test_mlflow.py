"""MLflow goes away and comes back: what serves is not touched, and pods start from their bundle cache."""

import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.disruptions import without_mlflow
from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace, new_namespace
from tools.cluster import Cluster

CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
CACHE = {"persistentVolumeClaim": {"claimName": "bundles"}}


@dataclass(frozen=True)
class Outage:
    """What was seen during one outage and after it."""

    unresolved: Any
    """The condition ModelResolved of the model that was changed meanwhile."""
    pods_before: set[str]
    pods_during: set[str]
    ready: set[str]
    """All values that the condition Ready had, to the end."""
    served_after: str
    wanted: str
    restarted: tuple[Any, Any]
    """A pod with a cache before and after it was deleted during the outage."""
    loader_messages: list[str]


@pytest.fixture(scope="module")
def outage(cluster: Cluster, models: Models) -> Iterator[Outage]:
    with new_namespace(cluster, f"t-{secrets.token_hex(4)}") as namespace:
        namespace.apply(CLAIM | {"metadata": {"name": "bundles", "namespace": namespace.name}})
        namespace.deploy("kept", models.good, cache=CACHE)
        namespace.deploy("alone", models.good, replicas=2)
        wanted = str(models.train("logistic_regression")["run_id"])  # one that the operator has never resolved
        for name in ("kept", "alone"):
            namespace.await_(name, "UpToDate")
        (first,) = namespace.pods("kept")
        before = namespace.serving_uids("alone", models.good)
        with namespace.watch("alone") as recording:
            with without_mlflow(cluster):
                namespace.deploy("alone", wanted, replicas=2)
                namespace.kubectl("delete", "pod", first["metadata"]["name"])
                namespace.await_("alone", "ModelResolved=Unknown")
                unresolved = namespace.condition("alone", "ModelResolved")
                namespace.kubectl("rollout", "status", "deployment/kept", "--timeout=120s")
                during = namespace.serving_uids("alone", models.good)
                (second,) = [pod for pod in namespace.pods("kept") if "deletionTimestamp" not in pod["metadata"]]
                namespace.await_("kept", "Ready")
            namespace.await_("alone", f"{{.status.serving.runID}}={wanted}")
        yield Outage(
            unresolved,
            before,
            during,
            recording.ready(),
            namespace.get("alone")["status"]["serving"]["runID"],
            wanted,
            (first, second),
            loader_messages(namespace, second["metadata"]["name"]),
        )


def loader_messages(namespace: Namespace, pod: str) -> list[str]:
    lines = namespace.kubectl("logs", pod, "--container=loader").splitlines()
    return [str(json.loads(line).get("message", "")) for line in lines]


def test_pods_that_serve_are_not_touched(outage: Outage) -> None:
    assert len(outage.pods_before) == 2
    assert outage.pods_during == outage.pods_before
    assert outage.ready == {"True"}


def test_the_resource_names_the_cause_and_is_resolved_afterwards(outage: Outage) -> None:
    assert outage.unresolved["reason"] == "TrackingServerUnavailable"
    assert outage.served_after == outage.wanted


def test_a_pod_starts_from_the_cache_volume(outage: Outage) -> None:
    first, second = outage.restarted
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert any("cache" in line for line in outage.loader_messages), outage.loader_messages
