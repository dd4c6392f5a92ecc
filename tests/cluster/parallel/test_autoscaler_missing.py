"""Autoscaling on a cluster that lacks what it needs."""

import pytest

from tests.cluster.models import Models
from tests.cluster.namespaces import Namespace
from tests.cluster.queries import eventually


@pytest.mark.xdist_group("installation")
def test_without_the_adapter_the_resource_says_how_to_get_it_and_serves(namespace: Namespace, models: Models) -> None:
    scaled = {"minReplicas": 1, "maxReplicas": 4, "inFlightRequestsPerPod": 1, "engine": "HPA"}
    namespace.deploy("adapted", models.good, autoscaling=scaled, replicas=None)
    namespace.await_("adapted", "Ready")
    conditions = eventually(
        lambda: [found for found in namespace.get("adapted")["status"]["conditions"]],
        lambda found: any(one["reason"] == "AutoscalerMissing" for one in found),
    )
    message = next(one["message"] for one in conditions if one["reason"] == "AutoscalerMissing")
    assert "prometheus-adapter" in message
    assert "helm" in message
    namespace.kubectl("delete", "modeldeployment", "adapted")  # `kubectl fairlead doctor` would find it
