"""Models scaled by KEDA on what the real Prometheus sees, and told so where that is not possible."""

import json
from typing import Any

from tests.cluster import spoilt
from tests.cluster.observed import eventually
from tests.cluster.steps import Data, Models, Namespace

SCALED = {"minReplicas": 1, "maxReplicas": 3, "inFlightRequestsPerPod": 1}


def replicas(namespace: Namespace, name: str) -> int:
    deployment: Any = namespace.cluster.get("deployment", name, namespace.name)
    return int(deployment["spec"]["replicas"])


def test_pods_come_with_the_load_and_go_with_it(namespace: Namespace, models: Models, data: Data) -> None:
    run_id = models.logged(spoilt.slow)
    bodies = [json.dumps({"features": [row]}) for row in data[0][:20]]
    model = {"runID": run_id, "allowPickle": True}
    namespace.deploy("scaled", run_id, model=model, autoscaling=SCALED, replicas=None)
    namespace.await_("scaled", "UpToDate")
    assert replicas(namespace, "scaled") == 1

    with namespace.load("scaled", "none", *bodies, rate=40, limit_seconds=300) as load:
        grown = eventually(lambda: replicas(namespace, "scaled"), lambda found: found >= 2, seconds=180)
        namespace.kubectl("rollout", "status", "deployment/scaled", "--timeout=120s")
        result = load.stop()

    assert grown <= SCALED["maxReplicas"]
    assert result["failures"] == 0, result["examples"]
    eventually(lambda: replicas(namespace, "scaled"), lambda found: found == 1, seconds=300)
    resource = namespace.get("scaled")
    assert "replicas" not in resource["spec"]
    assert resource["status"]["serving"]["runID"] == run_id


def test_a_cluster_without_the_adapter_is_told_how_to_get_it_and_serves(namespace: Namespace, models: Models) -> None:
    scaled = SCALED | {"engine": "HPA"}
    namespace.deploy("adapted", models.good, autoscaling=scaled, replicas=None)
    namespace.await_("adapted", "Ready")
    conditions = eventually(
        lambda: [found for found in namespace.get("adapted")["status"]["conditions"]],
        lambda found: any(one["reason"] == "AutoscalerMissing" for one in found),
    )
    message = next(one["message"] for one in conditions if one["reason"] == "AutoscalerMissing")
    assert "prometheus-adapter" in message
    assert "helm" in message
